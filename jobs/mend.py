"""Mends a collection that is not what the ledger says: after a writer died, or rows were changed behind our back.

Two ways to find what differs. After an unfinished run (a lease was taken since the ledger was last written): rows with
an epoch newer than the ledger's, and products that a plan of that ledger would have deleted; cheap however large the
collection is. Otherwise every row's id, hash and epoch is compared with what should be there.

Mending writes rows exactly as the ledger has them, epoch and snapshot date included. It needs no commit of its own and
may itself be interrupted.
"""

import logging
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.changes import DELETED
from jobs.errors import NightStoppedError
from jobs.lake import Lake
from jobs.ledger import ledger_epoch, vectors_of
from jobs.milvus import scan
from jobs.row_writer import RowWriter
from jobs.serving_rows import KEY, check_rows, joined
from schemas.collection import ID

if TYPE_CHECKING:
    from pymilvus import MilvusClient

log = logging.getLogger(__name__)

SCRATCH = "_scratch"
"""Folder under the lake's root for what a run spills; `moon maintain` sweeps leftovers."""

HELD = pa.schema([pa.field(ID, pa.string()), pa.field("content_hash", pa.string()), pa.field("epoch", pa.int64())])


@dataclass(frozen=True)
class Mender:
    """What mending needs.

    Attributes:
        spark, lake: where the lake's state is read.
        client, writer: where the collection is written, under a lease.
        model_version, dimension: of the collection.
    """

    spark: SparkSession
    lake: Lake
    client: "MilvusClient"
    writer: RowWriter
    model_version: str
    dimension: int

    def after_unfinished_run(self, ledger: DataFrame, ours: DataFrame, ledger_version: int) -> int:
        """Bring back what runs that never wrote the ledger have touched, except what this run writes anyway.

        Args:
            ledger: what the collection should hold (`jobs.ledger.ledger_state`).
            ours: product_id that this run upserts or deletes.
            ledger_version: of the ledger that those runs and this one started from.

        Returns:
            How many rows were written or deleted.
        """
        name = self.writer.collection
        newer = f"epoch > {ledger_epoch(self.lake, name)}"
        with spilled(self.spark, self.lake, scan(self.client, name, ["content_hash", "epoch"], newer)) as held:
            touched = held.select(ID).unionByName(self._planned_deletes(ledger_version)).distinct()
            touched = touched.join(ours.select(ID), ID, "left_anti")
            return self._bring_back(
                wanted=ledger.join(touched, ID, "left_semi"), surplus=touched.join(ledger, ID, "left_anti")
            )

    def to(self, target: DataFrame) -> int:
        """Make the collection hold exactly the target, comparing every row.

        Args:
            target: product_id, content_hash, snapshot_date, epoch.

        Returns:
            How many rows were written or deleted.
        """
        name = self.writer.collection
        log.warning("%s does not hold what the ledger says: comparing every row", name)
        with spilled(self.spark, self.lake, scan(self.client, name, ["content_hash", "epoch"])) as held:
            same = [ID, "content_hash", "epoch"]
            return self._bring_back(
                wanted=target.join(held.select(*same), same, "left_anti"),
                surplus=held.join(target, ID, "left_anti"),
            )

    def _planned_deletes(self, ledger_version: int) -> DataFrame:
        """Return product_id of every delete that was ever planned from this state of the ledger."""
        plans = self.lake.read_arrow("plans").to_pylist()
        runs = [
            plan["run_id"]
            for plan in plans
            if plan["collection"] == self.writer.collection and plan["ledger_version"] == ledger_version
        ]
        frames = [self.lake.read(self.spark, "changes", {"run_id": run}) for run in sorted(set(runs))]
        ids = self.spark.createDataFrame([], f"{ID} string")
        for frame in frames:
            ids = ids.unionByName(frame.where(F.col("op") == DELETED).select(ID))
        return ids

    def _bring_back(self, wanted: DataFrame, surplus: DataFrame) -> int:
        rows = self._rows(wanted)
        found = check_rows(rows, self.dimension)
        lacking = wanted.join(rows.select(ID), ID, "left_anti").agg(F.count("*"), F.min(ID)).collect()[0]
        if lacking[0]:
            raise NightStoppedError(
                f"{lacking[0]:,} products must be brought back into {self.writer.collection} ({lacking[1]!r}, for "
                "one), but the lake has no vector or no product row of them any more (`moon maintain` keeps both): "
                "restore the tables `vectors` and `products` from a backup, or start a new lake"
            )
        written = self.writer.write(self.client, rows).rows if found else 0
        deleted = self.writer.delete(self.client, surplus)
        if written or deleted:
            log.warning("%s mended: %d rows written, %d deleted", self.writer.collection, written, deleted)
        return written + deleted

    def _rows(self, wanted: DataFrame) -> DataFrame:
        """Return whole rows for what the ledger says, from whichever night's products still tell of them."""
        key = wanted.select(*KEY)
        columns = ["title", "category", "attributes"]
        told = self.lake.read(self.spark, "products").join(key, KEY, "left_semi")
        latest = told.groupBy(*KEY).agg(F.max_by(F.struct(*columns), "date").alias("told"))
        vectors = vectors_of(self.spark, self.lake, self.model_version, key)
        return joined(
            wanted.select(*KEY, "snapshot_date", "epoch"),
            latest.select(*KEY, "told.*"),
            vectors,
            self.model_version,
        )


@contextmanager
def spilled(spark: SparkSession, lake: Lake, pages: Iterable[list[dict[str, Any]]]) -> Iterator[DataFrame]:
    """Yield rows that the driver receives page by page as a DataFrame, kept in a file meanwhile."""
    filesystem, root = lake.storage.open()
    name = f"{SCRATCH}/{uuid.uuid4()}.parquet"
    filesystem.create_dir(f"{root}/{SCRATCH}", recursive=True)
    with pq.ParquetWriter(f"{root}/{name}", HELD, filesystem=filesystem) as file:
        for page in pages:
            file.write_table(pa.Table.from_pylist(page, schema=HELD))
    try:
        yield spark.read.parquet(lake.storage.spark_uri(lake.storage.uri(name)))
    finally:
        filesystem.delete_file(f"{root}/{name}")
