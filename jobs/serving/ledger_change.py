"""Brings a collection and its ledger to another ledger state, with rows from the lake and without encoding.

`moon restore` sets the state of an earlier date. `moon migrate` fills a collection of another schema version with the
rows of the served one.
"""

from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.serving.collection import flush_collection, verify_collection
from jobs.serving.reconcile import Reconciler
from jobs.serving.row_writer import WriteResult
from jobs.spark.row_counts import count_frames
from jobs.state.ledger import LedgerHead, commit_ledger
from schemas.collection import GROUP_FIELD, ID_FIELD, PAYLOAD_HASH_FIELD


@dataclass(frozen=True)
class LedgerChange:
    """Rows to write and to delete for a change of the ledger state.

    Attributes:
        target: all rows after the change (`jobs.state.ledger.LEDGER_COLUMNS`), with their epoch after it.
        rows_to_write: rows of the target that are written.
        ids_to_delete: product_id of rows to delete.
        epoch: lease epoch of the rows that are written.
        rows, written, deleted: numbers of rows: total, to write, to delete.
    """

    target: DataFrame
    rows_to_write: DataFrame
    ids_to_delete: DataFrame
    epoch: int
    rows: int
    written: int
    deleted: int


def compare_ledgers(now: DataFrame, wanted: DataFrame, epoch: int) -> LedgerChange:
    """Return the difference between two states of a ledger.

    Args:
        now: current rows of the collection's ledger.
        wanted: rows after the change (`jobs.state.ledger.read_ledger`).
        epoch: epoch of the lease on the collection, for rows that are written; they keep their snapshot dates.
    """
    same = [ID_FIELD, "content_hash", "snapshot_date", GROUP_FIELD, PAYLOAD_HASH_FIELD]
    kept = now.join(wanted.select(*same), same, "left_semi")
    changed = wanted.join(now.select(*same), same, "left_anti").withColumn("epoch", F.lit(epoch).cast("long"))
    target = kept.unionByName(changed)
    gone = now.join(wanted, ID_FIELD, "left_anti").select(ID_FIELD)
    counts = count_frames({"rows": target, "written": changed, "deleted": gone})
    return LedgerChange(target, changed, gone, epoch, **counts)


def apply_change(
    reconciler: Reconciler,
    change: LedgerChange,
    *,
    version: int,
    date: str,
    high_water: str,
    history_start: str | None = None,
) -> int:
    """Write the rows to Milvus, verify the collection, then commit its ledger; return the number of rows Milvus lacked.

    Args:
        reconciler: writes the collection, under its lease.
        change: from `compare_ledgers`.
        version: version of the ledger that the change was computed from.
        date: ISO date of the deletes.
        high_water: ISO date that the collection serves afterwards.
        history_start: first ISO date that its ledger can go back to; None leaves it unchanged.

    Raises:
        NightStoppedError: the lake lacks rows that must be written, or Milvus does not hold the expected rows.
    """
    client, name = reconciler.client, reconciler.writer.collection
    reconciled = reconciler.reconcile(change.target)
    flush_collection(client, name)
    sample = reconciled.sample if reconciled.written == change.written else []
    written = WriteResult(reconciled.rows, sample)
    verify_collection(client, name, rows=change.rows, epoch=change.epoch, epoch_rows=change.written, written=written)
    commit_ledger(
        reconciler.lake,
        name,
        change.rows_to_write,
        change.ids_to_delete,
        date=date,
        head=LedgerHead(version, high_water, change.epoch, history_start, change.rows),
        expected_rows=change.written + change.deleted,
        attempt=None,
    )
    return reconciled.rows
