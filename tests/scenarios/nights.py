"""Runs whole dates as a user does, and reads the results in the lake and in Milvus."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pyspark.sql import DataFrame, SparkSession

from jobs.lake.store import open_lake
from jobs.milvus.client import connect
from jobs.settings import Settings
from jobs.stages.runner import NIGHTLY_STAGES, RunOutcome, run_stages
from jobs.state.ledger import read_ledger
from jobs.state.run_context import RunContext
from schemas.collection import collection_name

Row = tuple[Any, ...]


BFLOAT16_COSINE = 0.999
"""Minimum cosine of a product's vectors when it is encoded in another batch (in float32 they differ by 1e-5)."""


@dataclass
class State:
    """The result of a run: row sets of the lake and of the collection, without run ids and file names."""

    products: set[Row] = field(default_factory=set)
    quarantine: set[Row] = field(default_factory=set)
    regions: set[Row] = field(default_factory=set)
    vector_rows: int = 0
    served: set[Row] = field(default_factory=set)
    collection: dict[str, Row] = field(default_factory=dict)
    vectors: dict[Row, Sequence[float]] = field(default_factory=dict, compare=False)
    embeddings: dict[Row, Sequence[float]] = field(default_factory=dict, compare=False)


def assert_same(one: State, other: State) -> None:
    """Check that row sets are equal, and vectors too, up to the error of bfloat16 in other batches."""
    assert one == other
    for mine, theirs in ((one.vectors, other.vectors), (one.embeddings, other.embeddings)):
        assert mine.keys() == theirs.keys()
        cosines = [float(np.dot(mine[key], theirs[key])) for key in mine]
        assert min(cosines, default=1.0) >= BFLOAT16_COSINE


def settings_in(folder: Path, shop: Path) -> Settings:
    """Return settings with lake and Milvus Lite in a folder, for a demo shop with a folder for each date."""
    return Settings(
        _env_file=None,
        lake=str(folder / "lake"),
        milvus=str(folder / "milvus.db"),
        catalog=str(shop / "{date}" / "catalog.jsonl"),
        mapping=str(shop / "mapping.toml"),
        max_refusals=0.9,
    )


def run_night(spark: SparkSession, settings: Settings, date: str, **options: Any) -> RunOutcome:
    """Run every stage of a date in this process."""
    lake = open_lake(settings)
    return run_stages(RunContext(spark, lake, settings, date, **options), NIGHTLY_STAGES)


def rows_of(frame: DataFrame) -> set[Row]:
    """Return the rows as a set of tuples of plain values."""
    return {tuple(json.dumps(value, sort_keys=True, default=str) for value in row) for row in frame.collect()}


def state_of(spark: SparkSession, settings: Settings, model_version: str) -> State:
    """Read what a lake and a collection hold now."""
    lake = open_lake(settings)
    collection = collection_name(model_version)
    vectors = lake.read(spark, "vectors").select("product_id", "content_hash", "date", "partial", "vector").collect()
    found = served_rows(settings, collection)
    return State(
        products=rows_of(lake.read(spark, "products").drop("source_row")),
        quarantine=rows_of(lake.read(spark, "quarantine").drop("detail")),
        regions=rows_of(lake.read(spark, "regions")),
        vector_rows=len(vectors),
        served=rows_of(
            read_ledger(spark, lake, collection).select("product_id", "content_hash", "snapshot_date", "partial")
        ),
        collection={name: row[:2] for name, row in found.items()},
        vectors={tuple(row[:4]): row.vector for row in vectors},
        embeddings={(name,): row[2] for name, row in found.items()},
    )


def served_rows(settings: Settings, collection: str) -> dict[str, Row]:
    """Return what Milvus holds: id → (content hash, snapshot date, vector)."""
    with connect(settings) as client:
        client.load_collection(collection)  # after Milvus Lite opens, no collection is loaded
        found = client.query(
            collection,
            filter='product_id != ""',
            output_fields=["content_hash", "snapshot_date", "vector"],
            limit=16_000,
            consistency_level="Strong",
        )
    return {
        row["product_id"]: (
            row["content_hash"],
            row["snapshot_date"],
            tuple(float(value) for value in row["vector"]),
        )
        for row in found
    }


class NightProcess:
    """``moon nightly`` in a process of its own, with its log watched so that it can be killed in a stage.

    Args:
        settings: lake, Milvus, catalogue and mapping.
        date: the ISO date.
        module: the module that runs the command line, such as one that changes a constant first.
    """

    def __init__(self, settings: Settings, date: str, module: str = "jobs.cli") -> None:
        command = [sys.executable, "-m", module, "nightly", "--date", date, "--json"]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MOON_")}
        environment |= {
            "MOON_LAKE": settings.lake,
            "MOON_MILVUS": settings.milvus,
            "MOON_CATALOG": settings.catalog or "",
            "MOON_MAPPING": settings.mapping or "",
        }
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            start_new_session=True,
        )
        self.log: list[str] = []
        self._seen = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._seen:
                self.log.append(line)
                self._seen.notify_all()
        with self._seen:
            self._seen.notify_all()

    def wait_for(self, text: str, seconds: float = 1200) -> None:
        """Wait until the log shows a text; fail with the log when the process ends first."""
        with self._seen:
            found = self._seen.wait_for(
                lambda: any(text in line for line in self.log) or not self._reader.is_alive(), seconds
            )
            assert found and any(text in line for line in self.log), f"no {text!r} in\n" + "".join(self.log[-30:])

    def kill(self) -> None:
        """SIGKILL the process, its JVM and its Python workers."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()

    def document(self, seconds: float = 300) -> dict[str, Any]:
        """Wait for the end and return the one JSON document on stdout."""
        assert self.process.stdout is not None
        output = self.process.stdout.read()
        self.process.wait(seconds)
        self._reader.join()
        assert self.process.returncode == 0, "".join(self.log[-40:])
        document: dict[str, Any] = json.loads(output)
        return document
