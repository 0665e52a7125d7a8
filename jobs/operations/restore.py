"""restore: brings the served collection and its ledger back to what an earlier date served, and holds the nights.

For a poisoned night: one that passed the gate and the breakers and should not have been served. It is the one way back
under a collection's high-water date (design, "Serving state"). Rows that differ from that date's are written under a
new epoch, with the snapshot dates they had; what came since is deleted. Nothing is encoded.

The hold comes first, so that a restore that was killed is not undone by the next night. Run again, it continues.
"""

import time
from dataclasses import dataclass
from datetime import date as Date

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.errors import NightStoppedError
from jobs.operations.catch_up import served_date
from jobs.operations.operator_session import Bench, at_the_bench, note
from jobs.serving.alias import operator
from jobs.serving.collection import check_held
from jobs.serving.row_writer import Written
from jobs.spark.row_counts import count_rows
from jobs.state.hold import hold
from jobs.state.ledger import (
    DELETE,
    UPSERT,
    epoch_mark,
    highwater_mark,
    history_start,
    ledger_counter,
    ledger_state,
)
from jobs.state.run_context import Night
from schemas.collection import ID_FIELD

STAGE = "restore"


@dataclass(frozen=True)
class Restored:
    """What was brought back, or would be.

    Attributes:
        collection: the served one.
        date: whose state it has now.
        before: the date that was served until then.
        rows: in all.
        brought_back, deleted: rows of another content or missing, and rows that came since.
        dry_run: nothing was changed and nothing is held.
    """

    collection: str
    date: str
    before: str
    rows: int
    brought_back: int
    deleted: int
    dry_run: bool

    def as_dict(self) -> dict[str, object]:
        """Return the fields, for JSON."""
        return dict(vars(self))


@dataclass(frozen=True)
class Way:
    """From what the ledger says to what it is to say.

    Attributes:
        target: every row that is to be held, with the epoch that it has or will have.
        back: those of the target that change.
        gone: product_id of rows that go.
        counts: rows, brought_back, deleted.
    """

    target: DataFrame
    back: DataFrame
    gone: DataFrame
    counts: dict[str, int]


def restore(night: Night, *, dry_run: bool = False) -> Restored:
    """Serve what the night's date served, and hold the nights until `moon release`.

    Args:
        night: the date to go back to, the reason, and the means.
        dry_run: only count.

    Raises:
        NightStoppedError: the collection never served that date, serves it already, or the ledger does not tell of it
            any more; or the lake lacks what must be brought back.
        NothingPublishedError, LeaseBusyError: there is nothing to restore, or a night writes it.
    """
    began = time.monotonic()
    with at_the_bench(night) as bench:
        before = served_date(night.lake, bench.collection)
        _check_date(night, bench.collection, before)
        way = _way(night, bench)
        done = Restored(bench.collection, night.date, before, **way.counts, dry_run=dry_run)
        if dry_run:
            return done
        hold(night.lake, night.date, night.reason, operator())
        mended = bench.mender.to(way.target)
        bench.flush()
        check_held(
            bench.client,
            bench.collection,
            rows=way.counts["rows"],
            epoch=bench.lease.epoch,
            of_epoch=way.counts["brought_back"],
            written=Written(mended.rows, mended.sample if mended.written == way.counts["brought_back"] else []),
        )
        _commit(night, bench, way)
    counts = {**way.counts, "mended": mended.rows}
    details = {"collection": done.collection, "before": before, "reason": night.reason}
    note(night.lake, STAGE, night.date, counts, details, began)
    return done


def _check_date(night: Night, collection: str, before: str) -> None:
    if night.date >= before:
        raise NightStoppedError(
            f"{collection} serves {before}: there is nothing later than {night.date} to undo (`moon repair` mends rows "
            "that were changed behind our back)"
        )
    first = history_start(night.lake, collection)
    if first is not None and Date.fromisoformat(night.date) < first:
        raise NightStoppedError(
            f"the ledger of {collection} tells what was served from {first} on; older dates were compacted (`moon "
            "maintain`, MOON_RETENTION_DAYS). Restore a later date"
        )


def _way(night: Night, bench: Bench) -> Way:
    spark, lake, name = night.spark, night.lake, bench.collection
    now, then = ledger_state(spark, lake, name), ledger_state(spark, lake, name, night.date)
    same = [ID_FIELD, "content_hash", "snapshot_date"]
    kept = now.join(then.select(*same), same, "left_semi")
    back = then.join(now.select(*same), same, "left_anti").withColumn("epoch", F.lit(bench.lease.epoch).cast("long"))
    target = kept.unionByName(back)
    gone = now.join(then, ID_FIELD, "left_anti").select(ID_FIELD)
    counts = count_rows({"rows": target, "brought_back": back, "deleted": gone})
    if not counts["rows"]:
        raise NightStoppedError(f"{name} served nothing on {night.date} yet: name a date from its first night on")
    return Way(target, back, gone, counts)


def _commit(night: Night, bench: Bench, way: Way) -> None:
    """Write what Milvus holds now into the ledger; deletes carry the restored date, as its night would have."""
    name, date = bench.collection, night.date
    deletes = way.gone.select(
        ID_FIELD,
        F.lit(DELETE).alias("op"),
        F.lit(None).cast("string").alias("content_hash"),
        F.lit(date).alias("snapshot_date"),
        F.lit(bench.lease.epoch).cast("long").alias("epoch"),
        F.lit(False).alias("partial"),
    )
    rows = way.back.withColumn("op", F.lit(UPSERT)).unionByName(deletes)
    night.lake.commit(
        "served",
        night.lake.write(rows, "served", {"collection": name}),
        attempt=None,
        partition={"collection": name},
        counter=(ledger_counter(name), bench.ledger_version),
        marks={
            highwater_mark(name): Date.fromisoformat(date).toordinal(),
            epoch_mark(name): bench.lease.epoch,
        },
    )
