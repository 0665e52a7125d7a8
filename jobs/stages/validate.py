"""Validate: the gate first, then every row of a snapshot becomes a product or a quarantine row.

The rules are in `validation.rules`. A date is validated once for each state of its snapshot and of the limits; the
products partition carries that state as its mark, and it is committed last.
"""

import hashlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pyarrow as pa
from deltalake.schema import Schema as DeltaSchema
from pyspark.sql import functions as F

from jobs.catalog.source import list_allowed_roots
from jobs.errors import NightStoppedError
from jobs.lake.store import make_scope
from jobs.lake.writing import AddedFile
from jobs.pages.page import DATA_DOCS_FOLDER, write_page
from jobs.state.plan_record import Plan
from jobs.state.run_context import RunContext, StageResult
from schemas.product import CANONICALISATION_VERSION, ImageRef, canonicalise_product, compute_content_hash
from schemas.tables import PRODUCTS, QUARANTINE, SNAPSHOTS
from validation.gate import check_gate
from validation.metrics import compute_snapshot_metrics
from validation.reasons import Reason
from validation.rules import GateLimits, RowLimits, extract_reason, find_faults

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

STAGE = "validate"
DELIVERED_COLUMNS = ("product_id", "title", "description", "category", "attributes", "images")
"""Columns of a refused row that the quarantine keeps as JSON."""


def validate(context: RunContext, _plan: Plan | None = None) -> StageResult:
    """Open the gate, fill the quarantine, write the products of the night's date.

    Returns:
        counts: delivered, valid and quarantined rows; details: the gate's verdict and where its page lies.

    Raises:
        NightStoppedError: there is no snapshot, or the gate stayed shut.
    """
    lake = context.lake
    if not lake.count(SNAPSHOTS.name, context.partition):
        raise NightStoppedError(f"no snapshot of {context.date}: run `moon pull --date {context.date}` first")
    limits = read_row_limits(context)
    state, details = _compute_state(context, limits), {"gate": "passed before"}
    marked, complete = _read_state(context, state)
    if not (marked and complete):
        snapshot = lake.read(context.spark, SNAPSHOTS.name, context.partition)
        details = _pass_gate(context, snapshot, limits)
        judged = classify_rows(snapshot, limits)
        # Marked, but rows are gone: retention removed them, so the mark does not count.
        _refresh_table(context, QUARANTINE.name, state, marked, lambda: _write_refused(context, judged))
        _refresh_table(context, PRODUCTS.name, state, marked, lambda: _write_products(context, judged))
    return StageResult(_counts(context), details)


def read_row_limits(context: RunContext) -> RowLimits:
    """Return the numbers of the row rules for this night."""
    settings = context.settings
    return RowLimits(settings.max_title, settings.max_description, settings.max_images, list_allowed_roots(context))


def classify_rows(snapshot: "DataFrame", limits: RowLimits) -> "DataFrame":
    """Add the columns reason and detail to the rows of a snapshot; both are null for a product to be.

    Of the rows that break no rule and share an id, the first one stays.
    """
    judged = snapshot.withColumn("faults", find_faults(limits))
    is_good = F.size("faults") == 0
    good = judged.filter(is_good)
    first = F.min("source_row").alias("first_row")
    twice = good.groupBy("product_id").agg(first, F.count(F.lit(1)).alias("rows")).filter("rows > 1")
    joined = judged.join(twice.drop("rows"), "product_id", "left")
    repeated = is_good & (F.col("source_row") > F.col("first_row"))
    duplicate = F.concat(F.lit(f"{Reason.DUPLICATE_ID}: row "), "first_row", F.lit(" has the same id"))
    found = F.when(repeated, F.array(duplicate)).otherwise(F.col("faults"))
    return joined.select(
        *snapshot.columns,
        extract_reason(F.get(found, F.lit(0))).alias("reason"),
        F.when(F.size(found) > 0, F.array_join(found, "; ")).alias("detail"),
    )


def canonicalise_products(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Turn good rows into the columns of `products`: canonical text and the hash of all that reaches the model."""
    for batch in batches:
        yield pa.RecordBatch.from_pylist([_make_product(row) for row in batch.to_pylist()], schema=PRODUCTS.columns)


def _make_product(row: dict) -> dict[str, object]:
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
    }


def _write_products(context: RunContext, judged: "DataFrame") -> list[AddedFile]:
    good = judged.filter(F.col("reason").isNull()).select("source_row", *DELIVERED_COLUMNS)
    return context.lake.write(good, PRODUCTS.name, context.partition, transform=canonicalise_products)


def _write_refused(context: RunContext, judged: "DataFrame") -> list[AddedFile]:
    refused = judged.filter(F.col("reason").isNotNull()).select(
        "source_row",
        "product_id",
        F.lit(None).cast("int").alias("image_index"),
        "reason",
        "detail",
        F.to_json(F.struct(*DELIVERED_COLUMNS)).alias("row"),
    )
    return context.lake.write(refused, QUARANTINE.name, _partition(context, QUARANTINE.name))


def _partition(context: RunContext, table: str) -> dict[str, str]:
    return context.quarantine_partition(STAGE) if table == QUARANTINE.name else context.partition


def _mark_name(context: RunContext) -> str:
    return f"validated:{context.date}"


def _compute_state(context: RunContext, limits: RowLimits) -> int:
    """Return a number that stands for everything the outcome depends on."""
    snapshot = context.lake.read_partition_version(SNAPSHOTS.name, context.partition)
    text = f"{snapshot} {limits.digest()} {CANONICALISATION_VERSION}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7]) + 1


def _read_state(context: RunContext, state: int) -> tuple[bool, bool]:
    """Return whether both tables are marked with this state, and whether their rows add up to the snapshot's."""
    tables = (QUARANTINE.name, PRODUCTS.name)
    marked = all(context.lake.read_transaction_version(table, _mark_name(context)) == state for table in tables)
    counts = _counts(context)
    return marked, counts["delivered"] == counts["valid"] + counts["quarantined"]


def _counts(context: RunContext) -> dict[str, int]:
    tables = {"delivered": SNAPSHOTS.name, "valid": PRODUCTS.name, "quarantined": QUARANTINE.name}
    return {name: context.lake.count(table, _partition(context, table)) for name, table in tables.items()}


def _refresh_table(
    context: RunContext, table: str, state: int, again: bool, write: Callable[[], list[AddedFile]]
) -> None:
    """Overwrite the date's partition of a table and mark it with the state.

    A table that carries it is left alone unless `again`: a twin, or this night before it was killed, was here.
    """
    handle = context.lake.open(table)  # one handle: version and mark are of the same moment
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


def _pass_gate(context: RunContext, snapshot: "DataFrame", limits: RowLimits) -> dict[str, str]:
    """Measure the snapshot, let Great Expectations judge it and keep the page.

    Raises:
        NightStoppedError: an expectation failed.
    """
    settings, lake = context.settings, context.lake
    earlier_date = _find_earlier_date(context)
    earlier = lake.read(context.spark, SNAPSHOTS.name, {"date": earlier_date}) if earlier_date else None
    columns = _list_columns(lake.open(SNAPSHOTS.name).schema())
    metrics = compute_snapshot_metrics(
        snapshot, earlier, limits, date=context.date, columns=columns, earlier_date=earlier_date
    )
    gate = GateLimits(
        row_ratio=settings.min_row_ratio,
        null_share=settings.max_null_share,
        duplicate_share=settings.max_duplicate_share,
        category_coverage=settings.min_category_coverage,
        floor=settings.breaker_floor,
    )
    result = check_gate(metrics, gate, _list_columns(DeltaSchema.from_arrow(SNAPSHOTS.schema)))
    name = f"{DATA_DOCS_FOLDER}/{context.date}/{datetime.now(UTC):%Y%m%dT%H%M%S%f}.html"
    page = write_page(lake, name, result.page)
    if not result.has_passed:
        failures = "\n".join(f"  - {failure}" for failure in result.failures)
        raise NightStoppedError(
            f"the snapshot of {context.date} did not pass the gate; nothing of it is served:\n{failures}\nThe whole "
            f"table: {page}. Have the catalogue delivered again and run again"
        )
    return {"gate": "passed", "data_docs": page}


def _find_earlier_date(context: RunContext) -> str:
    """Return the latest earlier date that passed its gate and is still kept, or nothing."""
    validated = {partition["date"] for partition in context.lake.open(PRODUCTS.name).partitions()}
    kept = {partition["date"] for partition in context.lake.open(SNAPSHOTS.name).partitions()}
    return max((date for date in validated & kept if date < context.date), default="")


def _list_columns(schema: DeltaSchema) -> str:
    return ", ".join(f"{field.name} {field.type}" for field in pa.schema(schema.to_arrow()))
