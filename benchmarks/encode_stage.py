"""Speed of the encode stage from JPEG bytes, as a share of the speed of the model alone.

Each round measures:

* two bare loops: the model on ready tensors, in two processes with one thread each;
* the stage on ``local[2]`` in a new Spark session (cold: workers start and load the model), then again (warm);
* a plain Python loop from JPEG bytes in one process.

The results are ratios of medians. ``cpu`` ratios compare processor time per product; a busy machine changes it less
than it changes the elapsed time.

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
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.loops import measure_bare_loops, measure_plain_loop
from benchmarks.processes import measure_cpu_seconds, watch_memory
from benchmarks.workload import copy_workload, make_workload, open_workload_run
from jobs.stages.runner import run_stage
from jobs.state.run_context import RunContext

_RESULTS = Path(__file__).resolve().parent / "results"
WORK_FOLDER = Path(__file__).resolve().parent.parent / "var" / "bench"
REPORTED_PACKAGES = ("torch", "transformers", "onnxruntime", "pyspark", "pyarrow", "numpy", "pillow")
PROCESSES = 2
TARGET_RATIO, REQUIRED_RATIO = 0.85, 0.75
NOTES = "\n## What changes brought\n"
"""Heading of the part of the page that is written by hand and kept when the stage is measured again."""


def main(arguments: list[str] | None = None) -> int:
    """Measure, write ``encode_stage.json`` and ``encode_stage.md``, and return 1 if the warm stage is too slow."""
    options = _build_parser().parse_args(arguments)
    if options.part:
        sys.stdout.write(json.dumps(MEASUREMENTS[options.part](options.folder, options.products)) + "\n")
        return 0
    result = measure_encode_stage(options.work.resolve(), options.products, options.rounds, options.memory)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "encode_stage.json").write_text(json.dumps(result, indent=2) + "\n")
    page = options.out / "encode_stage.md"
    text = render_stage_page(result) + _read_notes(page)
    page.write_text(text)
    sys.stdout.write(text)
    return 0 if result["ratios"]["stage_warm"] >= REQUIRED_RATIO else 1


def measure_encode_stage(work_folder: Path, products: int, rounds: int, memory: list[int]) -> dict[str, Any]:
    """Return all measurements with the machine and the versions they were made on.

    Args:
        work_folder: folder that keeps drawn shops and workloads between runs.
        products: number of products in the speed runs.
        rounds: number of measurements of each kind, in turn.
        memory: numbers of products for which peak memory is measured.
    """
    started = datetime.now(UTC)
    load = [round(value, 1) for value in os.getloadavg()]
    folder = _run_part("workload", work_folder, products)["folder"]
    runs = []
    for number in range(rounds):
        found = {part: _run_part(part, Path(folder), products) for part in ("bare", "stage", "plain")}
        runs.append({"bare": found["bare"], "plain": found["plain"], **found["stage"]})
        speeds = ", ".join(f"{name} {speed['products_per_second']:.1f}/s" for name, speed in runs[-1].items())
        print(f"round {number + 1}: {speeds}", file=sys.stderr, flush=True)
    peaks = {}
    for size in memory:
        folder = _run_part("workload", work_folder, size)["folder"]
        peaks[size] = _run_part("memory", Path(folder), size)
        print(f"{size} products: {peaks[size]}", file=sys.stderr, flush=True)
    return {
        "command": f"python -m benchmarks.encode_stage --products {products} --rounds {rounds} "
        f"--memory {' '.join(map(str, memory))}",
        "started": started.isoformat(timespec="seconds"),
        "machine": {"cpu": _read_cpu_name(), "cores": os.cpu_count(), "load_average_before": load},
        "versions": {"python": platform.python_version(), **{name: version(name) for name in REPORTED_PACKAGES}},
        "products": products,
        "runs": runs,
        "medians": _compute_medians(runs),
        "ratios": _compute_ratios(runs),
        "peak_mib": peaks,
    }


def render_stage_page(result: dict[str, Any]) -> str:
    """Return the result as a Markdown page."""
    ratios = result["ratios"]
    rows = [
        ("two bare loops on ready tensors", "bare", 1.0, 1.0),
        ("stage, warm", "stage_warm", ratios["stage_warm"], ratios["stage_warm_cpu"]),
        ("stage, cold (workers start, model loads)", "stage_cold", ratios["stage_cold"], ratios["stage_cold_cpu"]),
        ("plain Python loop, one process", "plain", ratios["plain"], ratios["plain_cpu"]),
    ]
    lines = [
        "# Encode stage from JPEG bytes", "",
        f"{result['products']} products, {len(result['runs'])} rounds in turn, medians. Aim ≥ {TARGET_RATIO} of "
        f"the bare loops, required ≥ {REQUIRED_RATIO}.", "",
        "| what | products/s | of the bare loops | by CPU time | CPU ms per product |",
        "|---|---:|---:|---:|---:|",
    ]  # fmt: skip
    for words, name, ratio, cpu in rows:
        speed = result["medians"][name]
        lines.append(
            f"| {words} | {speed['products_per_second']:.1f} | {ratio:.2f} | {cpu:.2f} "
            f"| {1000 * speed['cpu_seconds_per_product']:.1f} |"
        )
    lines += ["", "| peak MiB (largest process of its kind) | driver | JVM | worker |", "|---|---:|---:|---:|"]
    for size, peak in result["peak_mib"].items():
        lines.append(f"| {size} products | {peak['driver']} | {peak['jvm']} | {peak['worker']} |")
    machine = result["machine"]
    load = machine["load_average_before"][0]
    versions = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    lines += [
        "", f"{machine['cpu']}, {machine['cores']} cores, load {load} before the start; {versions}.",
        f"`{result['command']}`, {result['started']}.", "",
    ]  # fmt: skip
    return "\n".join(lines)


def _read_notes(page: Path) -> str:
    """Return the part of an earlier page that is written by hand."""
    _, heading, notes = (page.read_text() if page.exists() else "").partition(NOTES)
    return heading + notes


def _measure_stage(folder: Path, products: int) -> dict[str, Any]:
    with open_workload_run(copy_workload(folder, f"{folder.name}-copy")) as context:
        cold = _time_encode(context, products)
        copy_workload(folder, f"{folder.name}-copy")
        return {"stage_cold": cold, "stage_warm": _time_encode(context, products)}


def _time_encode(context: RunContext, products: int) -> dict[str, float]:
    cpu = measure_cpu_seconds()
    start = time.monotonic()
    counts = run_stage(context, "encode").counts
    seconds = time.monotonic() - start
    if counts["encoded"] != products:
        raise RuntimeError(f"{counts['encoded']} products were encoded, not {products}: the workload is wrong")
    return {
        "products_per_second": products / seconds,
        "cpu_seconds_per_product": (measure_cpu_seconds() - cpu) / products,
    }


def _measure_memory(folder: Path, products: int) -> dict[str, float]:
    with open_workload_run(copy_workload(folder, f"{folder.name}-copy")) as context, watch_memory() as peaks:
        _time_encode(context, products)
    return {kind: round(mib) for kind, mib in peaks.mib.items()}


MEASUREMENTS = {
    "workload": lambda work_folder, products: {"folder": str(make_workload(work_folder, products))},
    "bare": lambda folder, products: measure_bare_loops(folder, products, PROCESSES),
    "plain": lambda folder, products: measure_plain_loop(folder, products // PROCESSES),
    "stage": _measure_stage,
    "memory": _measure_memory,
}
"""Parts that run in a process of their own, so that memory and threads of one do not affect the next."""


def _run_part(name: str, folder: Path, products: int) -> dict[str, Any]:
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
    """Return speed and CPU time relative to the bare loops; the plain loop, one process, relative to one bare loop."""
    medians = _compute_medians(runs)
    bare = medians["bare"]
    ratios = {}
    for name in ("stage_warm", "stage_cold", "plain"):
        share = PROCESSES if name == "plain" else 1
        ratios[name] = share * medians[name]["products_per_second"] / bare["products_per_second"]
        ratios[f"{name}_cpu"] = bare["cpu_seconds_per_product"] / medians[name]["cpu_seconds_per_product"]
    return ratios


def _read_cpu_name() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    fields = dict(line.split("\t: ", 1) for line in lines if "\t: " in line)
    return next((fields[name] for name in fields if name.startswith("model name")), platform.processor())


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.prog = "python -m benchmarks.encode_stage"
    parser.add_argument("--products", type=int, default=2000, help="products of the speed runs (default: 2000)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured (default: 3)")
    parser.add_argument("--memory", type=int, nargs="*", default=[500, 5000], help="products of the memory runs")
    parser.add_argument("--work", type=Path, default=WORK_FOLDER, help="where drawn shops and workloads are kept")
    parser.add_argument("--out", type=Path, default=_RESULTS, help="where the results are written")
    parser.add_argument("--part", choices=MEASUREMENTS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
