"""The paper's ablation at a size that two cores finish: what crops, guided experts, negatives and pooling are worth.

Every variant is one change to the full model and trains from the same start, on the same pairs and steps, in two
processes (spatial negatives are the other process's items). The start is moon-tiny's first stage, which saw no
purchase, in fewer dimensions (`benchmarks.ablation_start`). Each is measured on a demo world that training never
saw. Runs that are in the results already are not done again.

    make moon-tiny                                    # its pairs and its first stage are used: var/train
    python -m benchmarks.ablation                     # half an hour on two cores
    python -m benchmarks.ablation --steps 4 --seeds 1 --products 20 --out /tmp/quick
"""

import argparse
import json
import os
import socket
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from torch import multiprocessing

from benchmarks.ablation_plan import ABLATION_VARIANTS, AblationPlan
from benchmarks.ablation_report import read_runs, render_ablation_page

REPOSITORY = Path(__file__).resolve().parent.parent
_RESULTS = REPOSITORY / "benchmarks" / "results"
RANKS = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is missing, then write ``ablation.json`` and ``ablation.md``."""
    options = _options().parse_args(arguments)
    plan = AblationPlan(
        options.pairs.resolve(), tuple(root.resolve() for root in options.image_root), options.start.resolve(),
        options.work.resolve(), options.batches, options.batch_size, options.steps, options.products,
    )  # fmt: skip
    plan.work.mkdir(parents=True, exist_ok=True)
    done = {(run.variant, run.seed) for run in read_runs(plan.runs)}
    wanted = [(name, seed) for seed in range(1, options.seeds + 1) for name in ABLATION_VARIANTS]
    missing = [one for one in wanted if one not in done]
    if missing:
        from benchmarks.ablation_run import run_ablation_process  # noqa: PLC0415  # torch and transformers, for the runs alone

        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        os.environ["OMP_NUM_THREADS"] = "1"  # two processes share the cores; accelerate would give each all of them
        multiprocessing.spawn(run_ablation_process, args=(RANKS, port, plan, missing), nprocs=RANKS)
    runs = [run for run in read_runs(plan.runs) if (run.variant, run.seed) in wanted]
    options.out.mkdir(parents=True, exist_ok=True)
    document = {"plan": asdict(plan), "runs": [asdict(run) for run in runs]}
    text = json.dumps(document, indent=2, default=lambda path: os.path.relpath(path, REPOSITORY))
    (options.out / "ablation.json").write_text(text + "\n")
    text = render_ablation_page(runs, list(ABLATION_VARIANTS), _about(plan))
    (options.out / "ablation.md").write_text(text)
    sys.stdout.write(text)
    return 0


def _about(plan: AblationPlan) -> str:
    pairs = RANKS * plan.batches * plan.batch_size
    return (
        f"{plan.steps} steps of {RANKS} × {plan.batch_size} pairs ({pairs:,} different ones) from moon-tiny's first "
        f"stage in fewer dimensions with a small random decoder, one image a product; measured on demo world "
        f"{plan.world}, {plan.products} products."
    )


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=Path, default=REPOSITORY / "var" / "train" / "pairs")
    roots = [REPOSITORY / "var" / "train", REPOSITORY.parent / "shared" / "data"]
    parser.add_argument("--image-root", type=Path, nargs="+", default=roots, help="folders that the photos lie in")
    start = REPOSITORY / "var" / "train" / "moon-tiny-1" / "model"
    parser.add_argument("--start", type=Path, default=start, help="a model that saw no purchase")
    parser.add_argument("--work", type=Path, default=REPOSITORY / "var" / "ablation", help="features and finished runs")
    parser.add_argument("--out", type=Path, default=_RESULTS)
    parser.add_argument("--seeds", type=int, default=3, help="runs of each variant")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--batches", type=int, default=75, help="different batches of a process")
    parser.add_argument("--batch-size", type=int, default=16, help="pairs a step and process")
    parser.add_argument("--products", type=int, default=200, help="products of the measured world")
    return parser


if __name__ == "__main__":
    sys.exit(main())
