"""Speed of the stage upsert on Milvus Lite in a run that changes every price, against a bare pymilvus loop.

Both sides start with a database that holds all rows, and end when the same rows with other prices are flushed. The loop
has its rows ready as dictionaries, with their vectors, and sends them in requests of the stage's size.

    python -m benchmarks.payload_speed                                # 20,000 rows, three rounds in turn
    python -m benchmarks.payload_speed --rows 2000 --rounds 1         # a quick look
"""

import shutil
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.upsert_speed import (
    DATE,
    build_parser,
    deliver,
    fill_lake,
    make_payload,
    make_rows,
    summarise_runs,
    time_stage,
    write_result,
)
from jobs.lake.store import open_lake
from jobs.milvus.client import connect
from jobs.serving.row_writer import split_requests
from jobs.settings import Settings
from jobs.spark.session import open_spark_session
from jobs.stages.runner import run_stage
from jobs.state.model_registry import ModelChoice, describe_checkpoint
from jobs.state.run_context import RunContext
from schemas.collection import SCALAR_FIELDS, VECTOR_FIELD

NEXT_DATE = "2026-03-02"
MAX_RATIO = 1.18


def main() -> int:
    """Measure, write ``benchmarks/results/payload_speed.json`` and ``.md``, and return 1 if the stage is too slow."""
    options = build_parser("payload_speed", __doc__).parse_args()
    model = describe_checkpoint(None, None)
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(_env_file=None, lake=f"{folder}/lake", milvus=f"{folder}/first.db", lite_max_rows=10**6)
        rows = list(make_rows(model, options.rows))
        with open_spark_session(settings, "benchmark") as spark:
            context = RunContext(spark, open_lake(settings), settings, DATE)
            fill_lake(context.lake, model, rows)
            run_stage(context, "plan")
            run_stage(context, "upsert")
            rows = [{**row, **make_payload(number, day=2)} for number, row in enumerate(rows)]
            deliver(context.lake, rows, NEXT_DATE)
            runs = [_measure_round(context, model, rows, number) for number in range(options.rounds)]
    result = summarise_runs(
        "payload_speed", runs, median(run["stage upsert"] / run["bare loop"] for run in runs), options
    )
    wanted = (
        f"{result['rows']:,} rows that are there already, {result['rounds']} rounds in turn, medians. Wanted: at most "
    )
    head = ["# New prices of all rows in Milvus Lite", "", f"{wanted}{MAX_RATIO} times the bare loop."]
    verdict = f"The stage takes **{result['ratio']:.2f}** times as long as the bare loop."
    write_result("payload_speed", result, head, verdict)
    return 0 if result["ratio"] <= MAX_RATIO else 1


def _measure_round(
    context: RunContext, model: ModelChoice, rows: list[dict[str, Any]], number: int
) -> dict[str, float]:
    """Return the seconds of both sides, each with a copy of the database; every other round begins with the stage."""
    sides = [
        ("bare loop", lambda: _time_bare_loop(context.settings, model, rows, number)),
        ("stage upsert", lambda: _time_stage(context, number)),
    ]
    return {name: measure() for name, measure in (sides if number % 2 else reversed(sides))}


def _copy_database(settings: Settings, name: str) -> Settings:
    path = str(Path(settings.milvus).with_name(name))
    shutil.copytree(settings.milvus, path)
    return settings.replace(milvus=path)


def _time_bare_loop(settings: Settings, model: ModelChoice, rows: list[dict[str, Any]], number: int) -> float:
    entities = [{name: row[name] for name in (*SCALAR_FIELDS, VECTOR_FIELD)} for row in rows]
    requests = list(split_requests(entities, settings.upsert_batch_bytes))
    with connect(_copy_database(settings, f"bare-{number}.db")) as client:
        began = time.monotonic()
        client.load_collection(model.collection)
        for request in requests:
            client.upsert(model.collection, request)
        client.flush(model.collection)
        return time.monotonic() - began


def _time_stage(context: RunContext, number: int) -> float:
    settings = _copy_database(context.settings, f"stage-{number}.db")
    return time_stage(replace(context, date=NEXT_DATE), settings, number)


if __name__ == "__main__":
    sys.exit(main())
