"""Speed of the stage upsert on Milvus Lite, as a share of a bare pymilvus loop with the same rows.

Both sides start with an empty database and end when the rows are flushed. The loop has its rows ready as dictionaries
and sends them in requests of the stage's size; the stage reads them from the lake, checks them, reads some back,
searches, and writes the ledger. The vectors are drawn.

    python -m benchmarks.upsert_speed                                # 20,000 rows, three rounds in turn
    python -m benchmarks.upsert_speed --rows 2000 --rounds 1         # a quick look
"""

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from jobs.lake.store import Lake, open_lake
from jobs.lake.writing import FileSink
from jobs.milvus.capabilities import find_tier
from jobs.milvus.client import connect
from jobs.serving.row_writer import split_requests
from jobs.settings import Settings
from jobs.spark.session import open_spark_session
from jobs.stages.runner import run_stage
from jobs.state.model_registry import ModelChoice, describe_checkpoint
from jobs.state.run_context import RunContext
from schemas.collection import (
    METRIC,
    PAYLOAD_FIELD,
    PAYLOAD_HASH_FIELD,
    SCALAR_FIELDS,
    SEARCH_TEXT_FIELD,
    SPARSE_FIELD,
    SPARSE_INDEX,
    SPARSE_METRIC,
    VECTOR_FIELD,
    build_collection_schema,
    choose_index,
)
from schemas.payload import compute_payload_hash, write_canonical_json

if TYPE_CHECKING:
    from pymilvus import MilvusClient

_RESULTS = Path(__file__).resolve().parent / "results"
DATE = "2026-03-01"
WANTED = 0.85


def main() -> int:
    """Measure, write ``benchmarks/results/upsert_speed.json`` and ``.md``, and return 1 if the stage is too slow."""
    options = build_parser("upsert_speed", __doc__).parse_args()
    model = describe_checkpoint(None, None)
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(_env_file=None, lake=f"{folder}/lake", milvus=f"{folder}/stage.db", lite_max_rows=10**6)
        rows = list(make_rows(model, options.rows))
        with open_spark_session(settings, "benchmark") as spark:
            context = RunContext(spark, open_lake(settings), settings, DATE)
            fill_lake(context.lake, model, rows)
            runs = [_measure_round(context, model, rows, number) for number in range(options.rounds)]
    result = summarise_runs(
        "upsert_speed", runs, median(run["bare loop"] / run["stage upsert"] for run in runs), options
    )
    wanted = (
        f"{result['rows']:,} rows into an empty database, {result['rounds']} rounds in turn, medians. Wanted: at least "
    )
    verdict = f"The stage reaches **{result['ratio']:.2f}** of the bare loop."
    write_result(
        "upsert_speed", result, ["# Upsert into Milvus Lite", "", f"{wanted}{WANTED} of the bare loop."], verdict
    )
    return 0 if result["ratio"] >= WANTED else 1


def summarise_runs(
    name: str, runs: Sequence[Mapping[str, float]], ratio: float, options: argparse.Namespace
) -> dict[str, Any]:
    """Return the medians of some rounds with machine, load and command.

    Args:
        name: module of the benchmark.
        runs: seconds of each side, by round.
        ratio: what the benchmark judges.
        options: rows and rounds.
    """
    return {
        "rows": options.rows,
        "rounds": options.rounds,
        "seconds": {side: median(run[side] for run in runs) for side in runs[0]},
        "ratio": ratio,
        "load": round(os.getloadavg()[0], 1),
        "machine": f"{os.cpu_count()} CPUs ({platform.machine()}), Python {platform.python_version()}, "
        f"pymilvus {version('pymilvus')}, Milvus Lite {version('milvus-lite')}",
        "command": " ".join([f"python -m benchmarks.{name}", *sys.argv[1:]]),
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def write_result(name: str, result: Mapping[str, Any], head: Sequence[str], verdict: str) -> None:
    """Write ``benchmarks/results/<name>.json`` and ``.md``, and print the page.

    Args:
        name: module of the benchmark.
        result: what `summarise_runs` returned.
        head: title and introduction of the page.
        verdict: sentence below the table.
    """
    lines = [
        *head,
        "",
        "| what | seconds | rows/s |",
        "|---|---:|---:|",
        *(f"| {side} | {value:.1f} | {result['rows'] / value:,.0f} |" for side, value in result["seconds"].items()),
        "",
        verdict,
        "",
        f"{result['machine']}; load average {result['load']}. `{result['command']}`, {result['measured_at']}.",
        "",
    ]
    (_RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
    (_RESULTS / f"{name}.md").write_text(page := "\n".join(lines))
    sys.stdout.write(page)


def make_rows(model: ModelChoice, count: int) -> Iterator[dict[str, Any]]:
    """Yield rows of the collection with drawn unit vectors."""
    random = np.random.default_rng(0)
    for number in range(count):
        vector = random.normal(size=model.dimension)
        levels = ["Home", "Kitchen", f"Mugs {number % 97}"]
        product_id, brand = f"product-{number:07}", f"Brand {number % 31}"
        title = f"Striped mug number {number}, glazed by hand"
        yield {
            "product_id": product_id,
            "group_id": product_id,
            "title": title,
            "category": "/".join(levels),
            **{f"category_{level}": name for level, name in enumerate(levels, 1)},
            "brand": brand,
            "snapshot_date": DATE,
            "content_hash": f"{number:064x}",
            "model_version": model.model_version,
            "epoch": 1,
            **make_payload(number, day=1),
            SEARCH_TEXT_FIELD: f"{title}\n{brand}\n{levels[-1]}\nbrand {brand}\n{product_id}",
            VECTOR_FIELD: (vector / np.linalg.norm(vector)).astype(np.float32),
        }


def make_payload(number: int, *, day: int) -> dict[str, str]:
    """Return the payload of a product on a day, as JSON text, and its hash."""
    text = write_canonical_json({"currency": "EUR", "price": number + day / 100, "stock": (number * day) % 50})
    return {PAYLOAD_FIELD: text, PAYLOAD_HASH_FIELD: compute_payload_hash(text)}


def fill_lake(lake: Lake, model: ModelChoice, rows: list[dict[str, Any]]) -> None:
    """Write the tables that a run has when its vectors are computed, except its plan."""
    day = {"date": DATE}
    vectors = FileSink(lake.storage, "vectors", {"model_version": model.model_version, **day})
    for row in rows:
        key = {"product_id": row["product_id"], "content_hash": row["content_hash"]}
        vectors.write_rows([{**key, "vector": row[VECTOR_FIELD], "partial": False}])
    deliver(lake, rows, DATE)
    partition = {"model_version": model.model_version, **day}
    lake.commit("vectors", vectors.close(), attempt="benchmark/vectors", partition=partition)


def deliver(lake: Lake, rows: list[dict[str, Any]], date: str) -> None:
    """Write the products of a date."""
    day = {"date": date}
    snapshots, products = FileSink(lake.storage, "snapshots", day), FileSink(lake.storage, "products", day)
    for number, row in enumerate(rows):
        snapshots.write_rows([{"source_row": number, "product_id": row["product_id"]}])
        kept = {name: row[name] for name in ("product_id", "content_hash", "title", PAYLOAD_FIELD, PAYLOAD_HASH_FIELD)}
        fields = {"category": row["category"].split("/"), "images": [], "attributes": [("brand", row["brand"])]}
        products.write_rows([{**kept, **fields, "source_row": number}])
    for name, sink in (("snapshots", snapshots), ("products", products)):
        lake.commit(name, sink.close(), attempt=f"benchmark/{name}/{date}", partition=day)


def _measure_round(
    context: RunContext, model: ModelChoice, rows: list[dict[str, Any]], number: int
) -> dict[str, float]:
    """Return the seconds of both sides, each with a database of its own; every other round begins with the stage."""
    sides = [
        ("bare loop", lambda: _time_bare_loop(context.settings, model, rows, number)),
        ("stage upsert", lambda: _time_stage(context, number)),
    ]
    return {name: measure() for name, measure in (sides if number % 2 else reversed(sides))}


def _time_bare_loop(settings: Settings, model: ModelChoice, rows: list[dict[str, Any]], number: int) -> float:
    fields = [*SCALAR_FIELDS, VECTOR_FIELD]
    entities = [{name: row[name] for name in fields} for row in rows]
    requests = list(split_requests(entities, settings.upsert_batch_bytes))
    settings = settings.replace(milvus=str(Path(settings.milvus).with_name(f"bare-{number}.db")))
    with connect(settings) as client:
        began = time.monotonic()
        create_collection(client, settings, model, len(rows))
        for request in requests:
            client.upsert(model.collection, request)
        client.flush(model.collection)
        return time.monotonic() - began


def create_collection(client: "MilvusClient", settings: Settings, model: ModelChoice, rows: int) -> None:
    """Create a collection as the stage does."""
    index = choose_index("lite", rows, settings.index)
    parameters = client.prepare_index_params()
    parameters.add_index(VECTOR_FIELD, index_type=index.type, metric_type=METRIC, params=dict(index.build_params))
    parameters.add_index(SPARSE_FIELD, index_type=SPARSE_INDEX, metric_type=SPARSE_METRIC)
    schema = build_collection_schema(model.dimension, features=find_tier(client).features)
    client.create_collection(model.collection, schema=schema, index_params=parameters)


def _time_stage(context: RunContext, number: int) -> float:
    """Return the seconds of the stage on an empty database, with an empty ledger: each round is an alias of its own."""
    path = str(Path(context.settings.milvus).with_name(f"stage-{number}.db"))
    return time_stage(context, context.settings.replace(milvus=path), number)


def time_stage(context: RunContext, settings: Settings, number: int) -> float:
    """Return the seconds of the stage upsert on a copy of the lake.

    Args:
        context: the run; its lake is copied.
        settings: of the database to write.
        number: number of the round, for the copy's name.
    """
    lake = f"{context.settings.lake}-{number}"
    shutil.copytree(context.settings.lake, lake)
    settings = settings.replace(lake=lake)
    ours = replace(context, settings=settings, lake=open_lake(settings))
    run_stage(ours, "plan")
    began = time.monotonic()
    result = run_stage(ours, "upsert")
    seconds = time.monotonic() - began
    assert result.counts["upserted"] == ours.lake.count("products", ours.partition), result  # noqa: S101
    return seconds


def build_parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """Return the command line of a benchmark of rows and rounds."""
    parser = argparse.ArgumentParser(
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        prog=f"python -m benchmarks.{name}",
    )
    parser.add_argument("--rows", type=int, default=20_000, help="rows of both sides (default: 20,000)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured (default: 3)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
