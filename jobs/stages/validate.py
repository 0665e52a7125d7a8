"""Stage validate: checks the gate, then sorts every row of a snapshot into `products` or `quarantine`.

If the mapping defines it, rows are first merged into products or left out (`jobs.stages.merged_rows`). The rules are in
`validation`. A date is validated once for each state of its snapshot and of the limits. Both tables are marked with
that state in the commit that writes them; `products` is committed last.
"""

import hashlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from deltalake.schema import Schema as DeltaSchema
from pyspark.sql import functions as F

from jobs.catalog.forecast import read_gate_limits, read_row_limits
from jobs.catalog.source import list_allowed_roots
from jobs.errors import BY_GATE, STOPPED_BY, VERDICT, NightStoppedError
from jobs.lake.store import make_scope
from jobs.lake.writing import AddedFile
from jobs.pages.data_docs import write_data_docs
from jobs.stages.merged_rows import count_roles, merge_rows, read_merge_rules, select_roles
from jobs.state.plan_record import Plan
from jobs.state.run_context import RunContext, StageResult
from schemas.collection import GROUP_FIELD
from schemas.merging import MergeRules
from schemas.product import CANONICALISATION_VERSION, ImageRef, canonicalise_product, compute_content_hash
from schemas.tables import PRODUCTS, QUARANTINE, ROW_ROLES, SNAPSHOTS
from validation.gate import check_gate
from validation.metrics import compute_snapshot_metrics
from validation.rules import RowLimits
from validation.spark_rules import classify_rows

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

STAGE = "validate"
DELIVERED_COLUMNS = ("product_id", "title", "description", "category", "attributes", "images")
"""Columns of a refused row that `quarantine` has as JSON."""


def validate(context: RunContext, _plan: Plan | None = None) -> StageResult:
    """Test the snapshot of the run's date, then commit its refused rows and its products.

    Returns:
        counts: delivered, valid, quarantined, merged and left-out rows; details: the result of the gate and the URI of
        its page.

    Raises:
        NightStoppedError: There is no snapshot, its mapping leaves out every row, it did not pass the gate, or none of
            its rows is valid.
    """
    lake = context.lake
    if not lake.count(SNAPSHOTS.name, context.partition):
        raise NightStoppedError(f"no snapshot of {context.date}: run `moon pull --date {context.date}` first")
    limits = read_row_limits(context.settings, list_allowed_roots(context))
    rules = read_merge_rules(context)
    state = _compute_state(context, limits, rules)
    details = {"gate": "passed before"}
    marked, complete = _read_state(context, state, rules)
    if not (marked and complete):
        snapshot = lake.read(context.spark, SNAPSHOTS.name, context.partition)
        if rules is None:
            details = _classify(context, snapshot, limits, state, marked)
        else:
            merged = merge_rows(snapshot, rules).persist()
            try:
                details = _classify_merged(context, merged, rules, limits, state, marked)
            finally:
                merged.unpersist()
    counts = _count_rows(context)
    if not counts["valid"]:
        raise NightStoppedError(
            f"none of the {counts['delivered']:,} rows delivered for {context.date} is valid; nothing was changed. The "
            f"reasons: `moon quarantine --date {context.date}`. Have the catalogue delivered again, or correct the "
            "mapping (`moon check-source`)"
        )
    return StageResult(counts, details)


def _classify_merged(
    context: RunContext, merged: "DataFrame", rules: MergeRules, limits: RowLimits, state: int, marked: bool
) -> dict[str, str]:
    """Commit the result of `merge_rows`: its products are judged, its other rows go to `row_roles`.

    Raises:
        NightStoppedError: The condition of the mapping leaves out every row, or as for `_classify`.
    """
    products = merged.where(~F.col("is_left_out"))
    if rules.where and products.where(F.col("row_error").isNull()).isEmpty():
        raise NightStoppedError(
            f"the mapping's condition where = {rules.where!r} leaves out every row delivered for {context.date}; "
            "nothing was changed. Correct the condition (`moon check-source` shows what it takes), or have it "
            f"delivered again. If the mapping is newer than the snapshot: `moon pull --date {context.date}` first"
        )
    products = products.select(*SNAPSHOTS.columns.names, GROUP_FIELD)
    write_roles = partial(_write_roles, context, merged)
    return _classify(context, products, limits, state, marked, write_roles=write_roles)


def _classify(
    context: RunContext,
    snapshot: "DataFrame",
    limits: RowLimits,
    state: int,
    marked: bool,
    write_roles: Callable[[], list[AddedFile]] | None = None,
) -> dict[str, str]:
    """Pass the gate and commit the refused rows, the rows that are merged or left out, and the products.

    Args:
        context: Run context.
        snapshot: Rows to judge: of `snapshots`, or the products that they were merged into.
        limits: The limits of the row rules.
        state: From `_compute_state`.
        marked: Whether the tables are marked with the state although rows are missing. Retention removed them then, so
            the mark is ignored and all rows are written again.
        write_roles: Writes the files of `row_roles`; None if rows are not merged.

    Raises:
        NightStoppedError: A metric of the snapshot is outside its limits.
    """
    details = _pass_gate(context, snapshot, limits, is_merged=write_roles is not None)
    classified = classify_rows(snapshot, limits)
    _refresh_table(context, QUARANTINE.name, state, marked, lambda: _write_refused(context, classified))
    # Rows of an earlier mapping are removed if this one merges none.
    if write_roles is not None or context.lake.count(ROW_ROLES.name, context.partition):
        _refresh_table(context, ROW_ROLES.name, state, marked, write_roles or list)
    _refresh_table(context, PRODUCTS.name, state, marked, lambda: _write_products(context, classified))
    return details


def canonicalise_products(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield good rows with the columns of `products`: canonical text, and the hash of what reaches the model."""
    for batch in batches:
        yield pa.RecordBatch.from_pylist([_make_product(row) for row in batch.to_pylist()], schema=PRODUCTS.columns)


def _make_product(row: dict[str, Any]) -> dict[str, object]:
    product = canonicalise_product(
        title=row["title"],
        description=row["description"],
        category=row["category"],
        attributes=dict(row["attributes"] or ()),
        images=[ImageRef(**image) for image in row["images"]],
    )
    return {
        "product_id": row["product_id"],
        "source_row": row["source_row"],
        "title": product.title,
        "description": product.description,
        "category": list(product.category),
        "attributes": list(product.attributes.items()),
        "images": row["images"],
        "content_hash": compute_content_hash(product),
        GROUP_FIELD: row[GROUP_FIELD] or row["product_id"],
    }


def _write_products(context: RunContext, classified: "DataFrame") -> list[AddedFile]:
    group = F.col(GROUP_FIELD) if GROUP_FIELD in classified.columns else F.lit(None).cast("string").alias(GROUP_FIELD)
    good = classified.filter(F.col("reason").isNull()).select("source_row", *DELIVERED_COLUMNS, group)
    return context.lake.write(good, PRODUCTS.name, context.partition, transform=canonicalise_products)


def _write_refused(context: RunContext, classified: "DataFrame") -> list[AddedFile]:
    refused = classified.filter(F.col("reason").isNotNull()).select(
        "source_row",
        "product_id",
        F.lit(None).cast("int").alias("image_index"),
        "reason",
        "detail",
        F.to_json(F.struct(*DELIVERED_COLUMNS)).alias("row"),
    )
    return context.lake.write(refused, QUARANTINE.name, _partition(context, QUARANTINE.name))


def _write_roles(context: RunContext, merged: "DataFrame") -> list[AddedFile]:
    return context.lake.write(select_roles(merged), ROW_ROLES.name, context.partition)


def _partition(context: RunContext, table: str) -> dict[str, str]:
    return context.quarantine_partition(STAGE) if table == QUARANTINE.name else context.partition


def _mark_name(context: RunContext) -> str:
    return f"validated:{context.date}"


def _compute_state(context: RunContext, limits: RowLimits, rules: MergeRules | None) -> int:
    """Return a number that changes when an input of the validation changes."""
    snapshot = context.lake.read_partition_version(SNAPSHOTS.name, context.partition)
    text = f"{snapshot} {limits.compute_digest()} {CANONICALISATION_VERSION}"
    text += f" {rules.as_text()}" if rules is not None else ""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7]) + 1


def _read_state(context: RunContext, state: int, rules: MergeRules | None) -> tuple[bool, bool]:
    """Return whether the tables are marked with this state, and whether their row counts add up to the snapshot's."""
    tables = (QUARANTINE.name, PRODUCTS.name, *([ROW_ROLES.name] if rules is not None else []))
    marked = all(context.lake.read_transaction_version(table, _mark_name(context)) == state for table in tables)
    counts = _count_rows(context)
    return marked, counts.pop("delivered") == sum(counts.values())


def _count_rows(context: RunContext) -> dict[str, int]:
    tables = {"delivered": SNAPSHOTS.name, "valid": PRODUCTS.name, "quarantined": QUARANTINE.name}
    counts = {name: context.lake.count(table, _partition(context, table)) for name, table in tables.items()}
    return {**counts, **count_roles(context)}


def _refresh_table(
    context: RunContext, table: str, state: int, again: bool, write: Callable[[], list[AddedFile]]
) -> None:
    """Overwrite the date's partition of a table and mark the table with the state.

    A table that has the mark is not written unless `again`: a concurrent duplicate run, or an earlier attempt that was
    killed, has written it.
    """
    handle = context.lake.open(table)  # one handle, so that version and mark are from the same table version
    if not again and handle.transaction_version(_mark_name(context)) == state:
        return
    version = handle.transaction_version(make_scope(table, _partition(context, table))) or 0
    files = write()
    committed = context.lake.commit(
        table,
        files,
        attempt=f"{STAGE}/{context.date}/{state}/{version}",
        partition=_partition(context, table),
        mode="overwrite",
        marks={_mark_name(context): state},
    )
    if not committed:
        context.lake.discard(table, files)


def _pass_gate(context: RunContext, snapshot: "DataFrame", limits: RowLimits, *, is_merged: bool) -> dict[str, str]:
    """Test the metrics of the snapshot against the gate's limits; return the result and the URI of its page.

    Args:
        context: Run context.
        snapshot: Rows to judge.
        limits: The limits of the row rules.
        is_merged: Whether these are merged products. An earlier date whose rows were judged one by one is then compared
            by the number of its delivered rows.

    Raises:
        NightStoppedError: A metric is outside its limits.
    """
    lake = context.lake
    earlier_date = _find_earlier_date(context)
    earlier = _read_judged_rows(context, earlier_date) if earlier_date else None
    columns = _list_columns(lake.open(SNAPSHOTS.name).schema())
    metrics = compute_snapshot_metrics(
        snapshot, earlier, limits, date=context.date, columns=columns, earlier_date=earlier_date
    )
    if earlier_date and is_merged != bool(lake.count(ROW_ROLES.name, {"date": earlier_date})):
        delivered = lake.count(SNAPSHOTS.name, context.partition)
        metrics["row_ratio"] = delivered / max(lake.count(SNAPSHOTS.name, {"date": earlier_date}), 1)
    result = check_gate(
        metrics, read_gate_limits(context.settings), _list_columns(DeltaSchema.from_arrow(SNAPSHOTS.schema))
    )
    page = write_data_docs(lake, context.date, result)
    if not result.has_passed:
        failures = "\n".join(f"  - {failure}" for failure in result.failures)
        raise NightStoppedError(
            f"the snapshot of {context.date} did not pass the gate; nothing of it is served:\n{failures}\nThe whole "
            f"table: {page}. Have the catalogue delivered again and run again",
            **{STOPPED_BY: BY_GATE, VERDICT: result.verdict, "data_docs": page},
        )
    return {"gate": "passed", "data_docs": page}


def _read_judged_rows(context: RunContext, date: str) -> "DataFrame":
    """Return a date's rows of `snapshots` without those that were merged into another or left out."""
    lake, partition = context.lake, {"date": date}
    rows = lake.read(context.spark, SNAPSHOTS.name, partition)
    if not lake.count(ROW_ROLES.name, partition):
        return rows
    return rows.join(lake.read(context.spark, ROW_ROLES.name, partition), "source_row", "left_anti")


def _find_earlier_date(context: RunContext) -> str:
    """Return the latest earlier date that passed its gate and is still in the lake, or an empty text."""
    validated = {partition["date"] for partition in context.lake.open(PRODUCTS.name).partitions()}
    kept = {partition["date"] for partition in context.lake.open(SNAPSHOTS.name).partitions()}
    return max((date for date in validated & kept if date < context.date), default="")


def _list_columns(schema: DeltaSchema) -> str:
    # A column that a migration added comes after the partition columns.
    fields = sorted(pa.schema(schema.to_arrow()), key=lambda field: str(field.name))
    return ", ".join(f"{field.name} {field.type}" for field in fields)
