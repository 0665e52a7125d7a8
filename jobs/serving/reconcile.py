"""Makes a collection match its ledger again, after a writer died or another program changed rows.

Differences are found in three ways. After an unfinished run (a lease was taken since the ledger was last written), only
rows with an epoch newer than the ledger's are checked, and products that a plan of that ledger would have deleted. The
cost does not depend on the size of the collection. Otherwise id, hash and epoch of every row are compared. A deep
comparison also reads and compares every field and the vector.

Reconciling writes rows exactly as the ledger has them, including epoch and snapshot date. It needs no commit and can be
interrupted and repeated.
"""

import logging
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs import fault_points
from jobs.errors import NightStoppedError
from jobs.lake.reading import read_lake_files
from jobs.lake.storage import SCRATCH_FOLDER
from jobs.lake.store import Lake
from jobs.milvus.client import scan_rows, vector_page_size
from jobs.serving.row_writer import RowWriter, WriteResult
from jobs.serving.rows import check_serving_rows, compute_entity_digest, compute_row_digests, join_rows
from jobs.state.changes import DELETED
from jobs.state.ledger import LedgerHead, get_payload_hash, read_vectors
from jobs.state.plan_record import read_plans
from schemas.collection import GROUP_FIELD, ID_FIELD, PAYLOAD_FIELD, PAYLOAD_HASH_FIELD, VECTOR_FIELD, has_payload
from schemas.tables import CONTENT_KEY

if TYPE_CHECKING:
    from pymilvus import MilvusClient

log = logging.getLogger(__name__)

SCANNED_ROW = pa.schema(
    [
        pa.field(ID_FIELD, pa.string()),
        pa.field("content_hash", pa.string()),
        pa.field(PAYLOAD_HASH_FIELD, pa.string()),
        pa.field("epoch", pa.int64()),
        pa.field("digest", pa.string()),
    ]
)
"""What a scan keeps of a row; the digest (`jobs.serving.rows.compute_entity_digest`) only in a deep look."""

ROW_MISSING, ROW_CHANGED, ROW_SURPLUS = "missing", "changed", "surplus"


@dataclass(frozen=True)
class ReconcileResult:
    """Rows that differed from the ledger; they were corrected unless it was a dry run.

    Attributes:
        missing, changed, surplus: numbers of rows that were missing, had other content, or were not in the ledger.
        sample: a few of the rows written (`WriteResult.sample`).
    """

    missing: int = 0
    changed: int = 0
    surplus: int = 0
    sample: list[dict[str, Any]] = field(default_factory=list)

    @property
    def written(self) -> int:
        """Number of rows that had to be written."""
        return self.missing + self.changed

    @property
    def rows(self) -> int:
        """Number of rows that differed."""
        return self.missing + self.changed + self.surplus


@dataclass(frozen=True)
class Reconciler:
    """Compares a collection with its ledger and corrects the rows that differ.

    Attributes:
        spark, lake: session and lake from which rows are read.
        client, writer: Milvus client, and the writer of the collection, which checks the lease.
        model_version, dimension: model version and vector dimension of the collection.
    """

    spark: SparkSession
    lake: Lake
    client: "MilvusClient"
    writer: RowWriter
    model_version: str
    dimension: int

    def reconcile_after_crash(self, ledger: DataFrame, ours: DataFrame, head: LedgerHead) -> int:
        """Undo the changes of runs that did not write the ledger, except for rows that this run writes anyway.

        Args:
            ledger: rows that the collection should hold (`jobs.state.ledger.read_ledger`).
            ours: product_id of rows that this run upserts or deletes.
            head: numbers of the ledger that those runs and this one started from.

        Returns:
            The number of rows written or deleted.
        """
        name = self.writer.collection
        newer = f"epoch > {head.epoch}"
        with spill_rows(self.spark, self.lake, scan_rows(self.client, name, ["content_hash", "epoch"], newer)) as held:
            touched = held.select(ID_FIELD).unionByName(self._read_planned_deletes(head.version)).distinct()
            touched = touched.join(ours.select(ID_FIELD), ID_FIELD, "left_anti")
            surplus = touched.join(ledger, ID_FIELD, "left_anti")
            return self._bring_back(wanted=ledger.join(touched, ID_FIELD, "left_semi"), surplus=surplus).rows

    def reconcile(self, target: DataFrame, *, deep: bool = False, dry_run: bool = False) -> ReconcileResult:
        """Compare every row with the target and correct the differences; return what differed.

        Args:
            target: product_id, content_hash, payload_hash, group_id, snapshot_date, epoch.
            deep: compare all fields and the vector instead of the hashes and epoch alone.
            dry_run: write nothing.
        """
        with spill_rows(self.spark, self.lake, self._read_collection(deep)) as held:
            judged = self._classify_rows(target, held, deep)
            found = {row.kind: row["count"] for row in judged.groupBy("kind").count().collect()}
            result = ReconcileResult(**found)
            if dry_run or not result.rows:
                return result
            log.warning("%s does not hold what it must: %s", self.writer.collection, found)
            wanted = target.join(judged.where(F.col("kind") != ROW_SURPLUS).select(ID_FIELD), ID_FIELD, "left_semi")
            sample = self._bring_back(wanted=wanted, surplus=judged.where(F.col("kind") == ROW_SURPLUS)).sample
            return replace(result, sample=sample)

    def _read_collection(self, deep: bool) -> Iterator[list[dict[str, Any]]]:
        """Yield the rows of the collection, page by page (`SCANNED_ROW`)."""
        known = has_payload(self.writer.collection)
        plain = ["content_hash", *([PAYLOAD_HASH_FIELD] if known else []), "epoch"]
        if not deep:
            yield from scan_rows(self.client, self.writer.collection, plain)
            return
        fields = [*(name for name in self.writer.read_fields(self.client) if name != ID_FIELD), VECTOR_FIELD]
        for page in scan_rows(self.client, self.writer.collection, fields, page_rows=vector_page_size(self.dimension)):
            keys = [ID_FIELD, *plain]
            yield [{**{key: row[key] for key in keys}, "digest": compute_entity_digest(row)} for row in page]

    def _classify_rows(self, target: DataFrame, held: DataFrame, deep: bool) -> DataFrame:
        """Return product_id and kind of every row that differs."""
        wanted = target.select(ID_FIELD, "content_hash", PAYLOAD_HASH_FIELD, "epoch")
        if deep:
            wanted = wanted.join(
                compute_row_digests(self._rows(target), self.writer.read_fields(self.client)), ID_FIELD, "left"
            )
        there = held.select(
            ID_FIELD, *(F.col(name).alias(f"held_{name}") for name in SCANNED_ROW.names if name != ID_FIELD)
        )
        both = wanted.join(there, ID_FIELD, "full_outer")
        same = (F.col("content_hash") == F.col("held_content_hash")) & (F.col("epoch") == F.col("held_epoch"))
        if has_payload(self.writer.collection):
            same &= F.col(PAYLOAD_HASH_FIELD) == F.col(f"held_{PAYLOAD_HASH_FIELD}")
        if deep:
            same &= F.coalesce(F.col("digest") == F.col("held_digest"), F.lit(True))  # null: no row to compare with
        kind = F.when(F.col("held_epoch").isNull(), ROW_MISSING).when(F.col("epoch").isNull(), ROW_SURPLUS)
        return both.withColumn("kind", kind.when(~same, ROW_CHANGED)).where("kind is not null").select(ID_FIELD, "kind")

    def _read_planned_deletes(self, ledger_version: int) -> DataFrame:
        """Return product_id of every delete that was planned from this version of the ledger."""
        name = self.writer.collection
        plans = [plan for plan in read_plans(self.lake) if plan.collection == name]
        runs = {plan.run_id for plan in plans if plan.ledger_version == ledger_version}
        frames = [self.lake.read(self.spark, "changes", {"run_id": run}) for run in sorted(runs)]
        ids = self.spark.createDataFrame([], f"{ID_FIELD} string")
        for frame in frames:
            ids = ids.unionByName(frame.where(F.col("op") == DELETED).select(ID_FIELD))
        return ids

    def _bring_back(self, wanted: DataFrame, surplus: DataFrame) -> WriteResult:
        """Write missing rows and delete surplus ones; return their number, with a sample of those written."""
        rows = self._rows(wanted)
        found = check_serving_rows(rows, self.dimension)
        lacking = (
            wanted.join(rows.select(ID_FIELD), ID_FIELD, "left_anti").agg(F.count("*"), F.min(ID_FIELD)).collect()[0]
        )
        if lacking[0]:
            raise NightStoppedError(
                f"{lacking[0]:,} products must be brought back into {self.writer.collection} ({lacking[1]!r}, for "
                "one), but the lake has no vector or no product row of them any more (`moon maintain` keeps both): "
                "restore the tables `vectors` and `products` from a backup, or start a new lake"
            )
        written = self.writer.write(self.client, rows) if found else WriteResult()
        deleted = self.writer.delete(self.client, surplus)
        if written.rows or deleted:
            log.warning("%s reconciled: %d rows written, %d deleted", self.writer.collection, written.rows, deleted)
        return WriteResult(written.rows + deleted, written.sample)

    def _rows(self, wanted: DataFrame) -> DataFrame:
        """Return complete rows for rows of the ledger, built from the products of any date that still has them."""
        key = wanted.select(*CONTENT_KEY)
        columns = ["title", "category", "attributes", PAYLOAD_FIELD, PAYLOAD_HASH_FIELD]
        products = self.lake.read(self.spark, "products").join(
            wanted.select(*CONTENT_KEY, F.col(PAYLOAD_HASH_FIELD).alias("wanted_payload")), CONTENT_KEY
        )
        # The served payload is that of another date than the latest one where a later date was not served.
        order = F.struct(get_payload_hash() == F.col("wanted_payload"), "date")
        latest = products.groupBy(*CONTENT_KEY).agg(F.max_by(F.struct(*columns), order).alias("row"))
        vectors = read_vectors(self.spark, self.lake, self.model_version, key)
        return join_rows(
            wanted.select(*CONTENT_KEY, GROUP_FIELD, "snapshot_date", "epoch"),
            latest.select(*CONTENT_KEY, "row.*"),
            vectors,
            self.model_version,
        )


@contextmanager
def spill_rows(spark: SparkSession, lake: Lake, pages: Iterable[list[dict[str, Any]]]) -> Iterator[DataFrame]:
    """Yield rows that the driver receives page by page as a DataFrame, over a temporary file in the lake."""
    filesystem, root = lake.storage.open()
    name = f"{SCRATCH_FOLDER}/{uuid.uuid4()}.parquet"
    filesystem.create_dir(f"{root}/{SCRATCH_FOLDER}", recursive=True)
    with (
        fault_points.surround("write.scratch"),
        pq.ParquetWriter(f"{root}/{name}", SCANNED_ROW, filesystem=filesystem) as file,
    ):
        for page in pages:
            file.write_table(pa.Table.from_pylist(page, schema=SCANNED_ROW))
    try:
        uri, base = lake.storage.uri(name), lake.storage.uri(SCRATCH_FOLDER)
        yield read_lake_files(spark, lake.storage, [uri], SCANNED_ROW, base)
    finally:
        filesystem.delete_file(f"{root}/{name}")
