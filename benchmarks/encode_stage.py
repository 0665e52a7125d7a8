"""The encode stage from JPEG bytes against the bare model: how much of the machine reaches the encoder.

Rounds interleave two bare loops of the model on ready tensors (two processes, one thread each), the stage on
``local[2]`` in a fresh Spark session (cold: its workers start and load the model) and once more in that session (warm),
and a plain Python loop from JPEG bytes in one process. Quoted are ratios of medians. ``cpu`` ratios compare processor
time a product, which a busy machine disturbs less than the clock.

    python -m benchmarks.encode_stage                                                  # about half an hour
    python -m benchmarks.encode_stage --products 200 --rounds 1 --memory 100 400       # a quick look
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.loops import measure_bare_loops, measure_plain_loop
from benchmarks.processes import measure_cpu_seconds, watch_memory
from benchmarks.workload import copy_workload, make_workload, open_workload_run
from jobs.stages.encode import encode
from jobs.state.run_context import RunContext

_RESULTS = Path(__file__).resolve().parent / "results"
WORK_FOLDER = Path(__file__).resolve().parent.parent / "var" / "bench"
REPORTED_PACKAGES = ("torch", "transformers", "onnxruntime", "pyspark", "pyarrow", "numpy", "pillow")
PROCESSES = 2
TARGET_RATIO, REQUIRED_RATIO = 0.85, 0.75


def main(arguments: list[str] | None = None) -> int:
    """Measure, print and write ``encode_stage.json`` and ``encode_stage.md``; 1 where a warm stage is too slow."""
    options = _options().parse_args(arguments)
    if options.part:
        sys.stdout.write(json.dumps(MEASUREMENTS[options.part](options.folder, options.products)) + "\n")
        return 0
    result = measure_encode_stage(options.work, options.products, options.rounds, options.memory)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "encode_stage.json").write_text(json.dumps(result, indent=2) + "\n")
    text = render_stage_page(result)
    (options.out / "encode_stage.md").write_text(text)
    sys.stdout.write(text)
    return 0 if result["ratios"]["stage_warm"] >= REQUIRED_RATIO else 1


def measure_encode_stage(work_folder: Path, products: int, rounds: int, memory: list[int]) -> dict[str, Any]:
    """Run everything and return the result that is written.

    Args:
        work_folder: keeps the drawn shops and the nights between runs.
        products: of the speed runs.
        rounds: how often each is measured, in turn.
        memory: nights of so many products are run under watch.
    """
    started, load = datetime.now(UTC), os.getloadavg()
    folder = _part("night", work_folder, products)["folder"]
    runs = []
    for number in range(rounds):
        found = {part: _part(part, Path(folder), products) for part in ("bare", "stage", "plain")}
        runs.append({"bare": found["bare"], "plain": found["plain"], **found["stage"]})
        print(f"round {number + 1}: {_words(runs[-1])}", file=sys.stderr, flush=True)
    peaks = {}
    for size in memory:
        night = _part("night", work_folder, size)["folder"]
        peaks[size] = _part("memory", Path(night), size)
        print(f"{size} products: {peaks[size]}", file=sys.stderr, flush=True)
    return {
        "command": f"python -m benchmarks.encode_stage --products {products} --rounds {rounds} "
        f"--memory {' '.join(map(str, memory))}",
        "started": started.isoformat(timespec="seconds"),
        "machine": {"cpu": _cpu(), "cores": os.cpu_count(), "load_average_before": [round(value, 1) for value in load]},
        "versions": {"python": platform.python_version(), **{name: version(name) for name in REPORTED_PACKAGES}},
        "products": products,
        "runs": runs,
        "medians": _compute_medians(runs),
        "ratios": _compute_ratios(runs),
        "peak_mib": peaks,
    }


def render_stage_page(result: dict[str, Any]) -> str:
    """Return the result as a page."""
    ratios, middle = result["ratios"], result["medians"]
    rows = [
        ("two bare loops on ready tensors", "bare", 1.0, 1.0),
        ("stage, warm", "stage_warm", ratios["stage_warm"], ratios["stage_warm_cpu"]),
        ("stage, cold (workers start, model loads)", "stage_cold", ratios["stage_cold"], ratios["stage_cold_cpu"]),
        ("plain Python loop, one process", "plain", ratios["plain"], ratios["plain_cpu"]),
    ]
    lines = [
        "# Encode stage from JPEG bytes",
        "",
        f"{result['products']} products, {len(result['runs'])} rounds in turn, medians. Aim ≥ {TARGET_RATIO} of "
        f"the bare loops, required ≥ {REQUIRED_RATIO}.",
        "",
        "| what | products/s | of the bare loops | by CPU time | CPU ms a product |",
        "|---|---:|---:|---:|---:|",
    ]
    for words, name, ratio, cpu in rows:
        speed = middle[name]
        lines.append(
            f"| {words} | {speed['products_per_second']:.1f} | {ratio:.2f} | {cpu:.2f} "
            f"| {1000 * speed['cpu_seconds_per_product']:.1f} |"
        )
    lines += ["", "| peak MiB (largest process of its kind) | driver | JVM | worker |", "|---|---:|---:|---:|"]
    for size, peak in result["peak_mib"].items():
        lines.append(f"| {size} products | {peak['driver']} | {peak['jvm']} | {peak['worker']} |")
    machine, load = result["machine"], result["machine"]["load_average_before"][0]
    versions = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    lines += [
        "",
        f"{machine['cpu']}, {machine['cores']} cores, load {load} before the start; {versions}.",
        f"`{result['command']}`, {result['started']}.",
        "",
    ]
    return "\n".join(lines)


def _stage(folder: Path, products: int) -> dict[str, Any]:
    with open_workload_run(copy_workload(folder, f"{folder.name}-copy")) as night:
        cold = _timed(night, products)
        copy_workload(folder, f"{folder.name}-copy")
        return {"stage_cold": cold, "stage_warm": _timed(night, products)}


def _timed(night: RunContext, products: int) -> dict[str, float]:
    wall, cpu = time.monotonic(), measure_cpu_seconds()
    counts = encode(night).counts
    seconds = time.monotonic() - wall
    if counts["encoded"] != products:
        raise RuntimeError(f"{counts['encoded']} products were encoded, not {products}")
    return {
        "products_per_second": products / seconds,
        "cpu_seconds_per_product": (measure_cpu_seconds() - cpu) / products,
    }


def _memory(folder: Path, products: int) -> dict[str, float]:
    with open_workload_run(copy_workload(folder, f"{folder.name}-copy")) as night, watch_memory() as peaks:
        _timed(night, products)
    return {kind: round(mib) for kind, mib in peaks.mib.items()}


MEASUREMENTS = {
    "night": lambda work, products: {"folder": str(make_workload(work, products))},
    "bare": lambda folder, products: asdict(measure_bare_loops(folder, products, PROCESSES)),
    "plain": lambda folder, products: asdict(measure_plain_loop(folder, products // PROCESSES)),
    "stage": _stage,
    "memory": _memory,
}
"""What runs in a process of its own, so that no part leaves its memory or its threads to the next."""


def _part(name: str, folder: Path, products: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.encode_stage", "--part", name, "--folder", str(folder)]
    done = subprocess.run(
        [*command, "--products", str(products)], check=True, stdout=subprocess.PIPE, cwd=_RESULTS.parent.parent
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _compute_medians(runs: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    return {
        name: {key: median(run[name][key] for run in runs) for key in runs[0][name]}
        for name in ("bare", "stage_warm", "stage_cold", "plain")
    }


def _compute_ratios(runs: list[dict[str, Any]]) -> dict[str, float]:
    """Return each one's speed over the bare loops' (the plain loop has one process: over one of them)."""
    middle = _compute_medians(runs)
    bare, ratios = middle["bare"], {}
    for name in ("stage_warm", "stage_cold", "plain"):
        share = PROCESSES if name == "plain" else 1
        ratios[name] = share * middle[name]["products_per_second"] / bare["products_per_second"]
        ratios[f"{name}_cpu"] = bare["cpu_seconds_per_product"] / middle[name]["cpu_seconds_per_product"]
    return ratios


def _words(run: dict[str, Any]) -> str:
    return ", ".join(f"{name} {speed['products_per_second']:.1f}/s" for name, speed in run.items())


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    fields = dict(line.split("\t: ", 1) for line in lines if "\t: " in line)
    return next((fields[name] for name in fields if name.startswith("model name")), platform.processor())


def _absolute(text: str) -> Path:
    return Path(text).resolve()


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.encode_stage",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--products", type=int, default=2000, help="products of the speed runs (default: 2000)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured (default: 3)")
    parser.add_argument("--memory", type=int, nargs="*", default=[500, 5000], help="nights watched for memory")
    parser.add_argument("--work", type=_absolute, default=WORK_FOLDER, help="where drawn shops and nights are kept")
    parser.add_argument("--out", type=Path, default=_RESULTS, help="where the results are written")
    parser.add_argument("--part", choices=MEASUREMENTS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=_absolute, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
