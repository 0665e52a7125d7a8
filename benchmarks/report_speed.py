"""Time, memory and size of the report of a large run.

The run has drawn vectors, drawn small photos and a Milvus Lite collection; one row in fifty is refused. Only the stage
report is measured, in a process of its own: the accounting of all rows, the pictures, the plots and the page.

    python -m benchmarks.report_speed                  # 100,000 rows
    python -m benchmarks.report_speed --rows 5000      # a quick look
"""

import argparse
import json
import multiprocessing
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.processes import watch_memory
from benchmarks.upsert_speed import DATE, make_rows
from jobs.lake.store import Lake, open_lake
from jobs.lake.writing import FileSink
from jobs.settings import Settings
from jobs.spark.session import open_spark_session
from jobs.stages.runner import run_stage
from jobs.state.model_registry import ModelChoice, describe_checkpoint
from jobs.state.run_context import RunContext
from schemas.collection import VECTOR_FIELD
from schemas.uri import folder_uri

_RESULTS = Path(__file__).resolve().parent / "results"
PHOTOS = 500
PHOTO_SIDE = 96
REFUSED_EVERY = 50
WANTED = {"seconds": 60.0, "memory_mib": 1024.0, "page_mib": 5.0}
"""Limits; the memory is that of driver, JVM and the largest Python worker together."""


def main() -> int:
    """Measure, write ``benchmarks/results/report_speed.json`` and ``.md``, and return 1 if a limit is exceeded."""
    options = _build_parser().parse_args()
    with tempfile.TemporaryDirectory() as folder:
        spawn = multiprocessing.get_context("spawn")  # the report's process has not filled the collection
        for work in (serve_rows, measure_report):
            process = spawn.Process(target=work, args=(Path(folder), options.rows))
            process.start()
            process.join()
            if process.exitcode:
                return process.exitcode
        result: dict[str, Any] = json.loads((Path(folder) / "result.json").read_text())
    result |= {
        "load": round(os.getloadavg()[0], 1),
        "machine": f"{os.cpu_count()} CPUs ({platform.machine()}), Python {platform.python_version()}, "
        f"pyspark {version('pyspark')}, Milvus Lite {version('milvus-lite')}",
        "command": " ".join(["python -m benchmarks.report_speed", *sys.argv[1:]]),
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    (_RESULTS / "report_speed.json").write_text(json.dumps(result, indent=1) + "\n")
    page = render_result(result)
    (_RESULTS / "report_speed.md").write_text(page)
    sys.stdout.write(page)
    return 0 if all(result[name] <= limit for name, limit in WANTED.items()) else 1


def serve_rows(folder: Path, count: int) -> None:
    """Fill a lake and a collection with drawn products up to the stage report.

    Args:
        folder: folder for lake, photos and collection.
        count: rows of the delivery.
    """
    settings, model = make_settings(folder), describe_checkpoint(None, None)
    photos = draw_photos(folder / "photos")
    lake = open_lake(settings)
    fill_lake(lake, model, list(make_rows(model, count)), photos)
    with open_spark_session(settings, "benchmark") as spark:
        context = RunContext(spark, lake, settings, DATE)
        for stage in ("plan", "upsert", "publish"):
            run_stage(context, stage)


def measure_report(folder: Path, count: int) -> None:
    """Run the stage report and write ``result.json`` into the folder."""
    settings = make_settings(folder)
    with open_spark_session(settings, "benchmark") as spark:
        context = RunContext(spark, open_lake(settings), settings, DATE)
        with watch_memory() as peaks:
            began = time.monotonic()
            result = run_stage(context, "report")
            seconds = time.monotonic() - began
    page = Path(result.details["page"]).stat().st_size / 2**20
    mib = {kind: round(size) for kind, size in peaks.mib.items()}
    document = {"rows": count, "seconds": seconds, "memory_mib": sum(mib.values()), "page_mib": page, "processes": mib}
    (folder / "result.json").write_text(json.dumps(document))


def make_settings(folder: Path) -> Settings:
    """Return the settings of both processes; the JVM has a small heap, so that it is not filled because it is there."""
    return Settings(
        _env_file=None,
        lake=str(folder / "lake"),
        milvus=str(folder / "milvus.db"),
        allowed_roots=(str(folder / "photos"),),
        lite_max_rows=10**7,
        spark_memory="512m",
    )


def draw_photos(folder: Path) -> list[str]:
    """Write drawn photos and return their URIs."""
    folder.mkdir()
    random, uris = np.random.default_rng(0), []
    for number in range(PHOTOS):
        small = random.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        name = f"{number:04}.jpg"
        Image.fromarray(small).resize((PHOTO_SIDE, PHOTO_SIDE)).save(folder / name)
        uris.append(f"{folder_uri(str(folder))}/{name}")
    return uris


def fill_lake(lake: Lake, model: ModelChoice, rows: Sequence[dict[str, Any]], photos: Sequence[str]) -> None:
    """Write the tables that a run has when its vectors are computed, except its plan."""
    day, vectors_of = {"date": DATE}, {"model_version": model.model_version, "date": DATE}
    good = [number for number in range(len(rows)) if number % REFUSED_EVERY]
    bad = [number for number in range(len(rows)) if not number % REFUSED_EVERY]
    refusal = {"reason": "empty_title", "detail": "no title"}
    region = {"box": [0.1, 0.1, 0.8, 0.9], "score": 0.5, "source": "drawn"}
    tables: dict[str, tuple[dict[str, str], Iterator[dict[str, Any]]]] = {
        "snapshots": (day, ({"source_row": n, "product_id": rows[n]["product_id"]} for n in range(len(rows)))),
        "products": (day, (_make_product(n, rows[n], photos) for n in good)),
        "quarantine": (
            {**day, "purpose": "nightly", "stage": "validate"},
            (
                {"source_row": n, "product_id": rows[n]["product_id"], "reason": "empty_title", "detail": "no title"}
                for n in bad
            ),
        ),
        "vectors": (
            vectors_of,
            ({**_make_key(rows[n]), "vector": rows[n][VECTOR_FIELD], "partial": False} for n in good),
        ),
        "regions": (
            {"detector_version": model.detector_version},
            (
                {
                    "image_sha256": f"{n:064x}",
                    "uri": uri,
                    "version": "1",
                    "box": [0.1, 0.1, 0.8, 0.9],
                    "score": 0.5,
                    "source": "yolo",
                }
                for n, uri in enumerate(photos)
            ),
        ),
    }
    for name, (partition, made) in tables.items():
        sink = FileSink(lake.storage, name, partition)
        for row in made:
            sink.write_rows([row])
        lake.commit(name, sink.close(), attempt=f"benchmark/{name}", partition=partition)


def render_result(result: dict[str, Any]) -> str:
    """Return the result as a page in Markdown."""
    units = {"seconds": "s", "memory_mib": "MiB", "page_mib": "MiB"}
    names = {"seconds": "time of the stage report", "memory_mib": "memory", "page_mib": "size of the page"}
    processes = ", ".join(f"{kind} {size:,} MiB" for kind, size in result["processes"].items())
    lines = [
        "# Report of a large run",
        "",
        f"{result['rows']:,} rows, one photo each, one row in {REFUSED_EVERY} refused, on Milvus Lite.",
        "",
        "| what | measured | limit |",
        "|---|---:|---:|",
        *(f"| {names[key]} | {result[key]:,.1f} {unit} | {WANTED[key]:,.0f} {unit} |" for key, unit in units.items()),
        "",
        f"Memory is the sum of the peaks of {processes}.",
        "",
        f"{result['machine']}; load average {result['load']}. `{result['command']}`, {result['measured_at']}.",
        "",
    ]
    return "\n".join(lines)


def _make_key(row: dict[str, Any]) -> dict[str, Any]:
    return {"product_id": row["product_id"], "content_hash": row["content_hash"]}


def _make_product(number: int, row: dict[str, Any], photos: Sequence[str]) -> dict[str, Any]:
    image = {"uri": photos[number % len(photos)], "version": "1"}
    fields = {"title": row["title"], "category": row["category"].split("/"), "images": [image]}
    return {**_make_key(row), **fields, "source_row": number, "attributes": [("brand", row["brand"])]}


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.prog = "python -m benchmarks.report_speed"
    parser.add_argument("--rows", type=int, default=100_000, help="rows of the run (default: 100,000)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
