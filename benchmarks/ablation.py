"""The paper's ablation at a size for two cores: the effect of crops, guided experts, negatives and pooling.

Every variant differs from the full model in one setting. All variants train from the same start model, on the same
pairs, for the same number of steps, in two processes (spatial negatives are the items of the other process). The start
model is the result of moon-tiny's first stage, which uses no purchases, reduced to fewer dimensions
(`benchmarks.ablation_start`). Every run is evaluated on a demo shop that is not in the training data. Runs that are in
the results are not repeated.

    make moon-tiny                                    # makes the pairs and the first stage in var/train
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
    """Run what is missing, write ``ablation.json`` and ``ablation.md``, and return the exit status."""
    options = _make_parser().parse_args(arguments)
    plan = AblationPlan(
        options.pairs.resolve(), tuple(root.resolve() for root in options.image_root), options.start.resolve(),
        options.work.resolve(), options.batches, options.batch_size, options.steps, options.products,
    )  # fmt: skip
    plan.work.mkdir(parents=True, exist_ok=True)
    done = {(run.variant, run.seed) for run in read_runs(plan.runs_file)}
    wanted = [(name, seed) for seed in range(1, options.seeds + 1) for name in ABLATION_VARIANTS]
    missing = [one for one in wanted if one not in done]
    if missing:
        from benchmarks.ablation_run import run_ablation_process  # noqa: PLC0415  # imports torch and transformers, which the page does not need

        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        os.environ["OMP_NUM_THREADS"] = "1"  # the processes share the cores; accelerate would give all cores to each
        multiprocessing.spawn(run_ablation_process, args=(RANKS, port, plan, missing), nprocs=RANKS)
    runs = [run for run in read_runs(plan.runs_file) if (run.variant, run.seed) in wanted]
    options.out.mkdir(parents=True, exist_ok=True)
    document = {"plan": asdict(plan), "runs": [asdict(run) for run in runs]}
    text = json.dumps(document, indent=2, default=lambda path: os.path.relpath(path, REPOSITORY))
    (options.out / "ablation.json").write_text(text + "\n")
    text = render_ablation_page(runs, list(ABLATION_VARIANTS), _describe_plan(plan))
    (options.out / "ablation.md").write_text(text)
    sys.stdout.write(text)
    return 0


def _describe_plan(plan: AblationPlan) -> str:
    pairs = RANKS * plan.batches * plan.batch_size
    return (
        f"{plan.steps} steps of {RANKS} × {plan.batch_size} pairs ({pairs:,} different ones) from moon-tiny's first "
        f"stage in fewer dimensions with a small random decoder, one image a product; measured on demo world "
        f"{plan.world}, {plan.products} products."
    )


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=Path, default=REPOSITORY / "var" / "train" / "pairs")
    roots = [REPOSITORY / "var" / "train", REPOSITORY.parent / "shared" / "data"]
    parser.add_argument("--image-root", type=Path, nargs="+", default=roots, help="folders of the photos")
    start = REPOSITORY / "var" / "train" / "moon-tiny-1" / "model"
    parser.add_argument("--start", type=Path, default=start, help="a model that has seen no purchases")
    work = REPOSITORY / "var" / "ablation"
    parser.add_argument("--work", type=Path, default=work, help="folder of features and finished runs")
    parser.add_argument("--out", type=Path, default=_RESULTS)
    parser.add_argument("--seeds", type=int, default=3, help="number of runs of each variant")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--batches", type=int, default=75, help="number of different batches of a process")
    parser.add_argument("--batch-size", type=int, default=16, help="pairs per step and process")
    parser.add_argument("--products", type=int, default=200, help="products of the demo shop for evaluation")
    return parser


if __name__ == "__main__":
    sys.exit(main())
