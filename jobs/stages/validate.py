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

from jobs.catalog.source import allowed_roots
from jobs.errors import NightStoppedError
from jobs.lake.writing import AddedFile
from jobs.state.run_context import Night, StageResult
from schemas.product import CANONICALISATION_VERSION, ImageRef, canonicalise_product, compute_content_hash
from schemas.tables import PRODUCTS, QUARANTINE, SNAPSHOTS
from validation.gate import check_gate
from validation.metrics import compute_snapshot_metrics
from validation.reasons import Reason
from validation.rules import GateLimits, RowLimits, extract_reason, find_faults

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

STAGE = "validate"
DELIVERED = ("product_id", "title", "description", "category", "attributes", "images")
"""Columns of a refused row that the quarantine keeps as JSON."""


def validate(night: Night) -> StageResult:
    """Open the gate, fill the quarantine, write the products of the night's date.

    Returns:
        counts: delivered, valid and quarantined rows; details: the gate's verdict and where its page lies.

    Raises:
        NightStoppedError: there is no snapshot, or the gate stayed shut.
    """
    lake = night.lake
    if not lake.count(SNAPSHOTS.name, night.partition):
        raise NightStoppedError(f"no snapshot of {night.date}: run `moon pull --date {night.date}` first")
    limits = row_limits(night)
    state, details = _state(night, limits), {"gate": "passed before"}
    marked, complete = _standing(night, state)
    if not (marked and complete):
        snapshot = lake.read(night.spark, SNAPSHOTS.name, night.partition)
        details = _pass_gate(night, snapshot, limits)
        judged = judge(snapshot, limits)
        # Marked, but rows are gone: retention removed them, so the mark does not count.
        _bring(night, QUARANTINE.name, state, marked, lambda: _write_refused(night, judged))
        _bring(night, PRODUCTS.name, state, marked, lambda: _write_products(night, judged))
    return StageResult(_counts(night), details)


def row_limits(night: Night) -> RowLimits:
    """Return the numbers of the row rules for this night."""
    settings = night.settings
    return RowLimits(settings.max_title, settings.max_description, settings.max_images, allowed_roots(night))


def judge(snapshot: "DataFrame", limits: RowLimits) -> "DataFrame":
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


def canonical_products(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Turn good rows into the columns of `products`: canonical text and the hash of all that reaches the model."""
    for batch in batches:
        yield pa.RecordBatch.from_pylist([_product(row) for row in batch.to_pylist()], schema=PRODUCTS.columns)


def _product(row: dict) -> dict[str, object]:
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


def _write_products(night: Night, judged: "DataFrame") -> list[AddedFile]:
    good = judged.filter(F.col("reason").isNull()).select("source_row", *DELIVERED)
    return night.lake.write(good, PRODUCTS.name, night.partition, transform=canonical_products)


def _write_refused(night: Night, judged: "DataFrame") -> list[AddedFile]:
    refused = judged.filter(F.col("reason").isNotNull()).select(
        "source_row",
        "product_id",
        F.lit(None).cast("int").alias("image_index"),
        "reason",
        "detail",
        F.to_json(F.struct(*DELIVERED)).alias("row"),
    )
    return night.lake.write(refused, QUARANTINE.name, _partition(night, QUARANTINE.name))


def _partition(night: Night, table: str) -> dict[str, str]:
    return {**night.partition, "stage": STAGE} if table == QUARANTINE.name else night.partition


def _scope(night: Night, table: str) -> str:
    return "scope:" + "/".join(f"{key}={value}" for key, value in _partition(night, table).items())


def _mark(night: Night) -> str:
    return f"validated:{night.date}"


def _state(night: Night, limits: RowLimits) -> int:
    """Return a number that stands for everything the outcome depends on."""
    snapshot = night.lake.transaction_version(SNAPSHOTS.name, _scope(night, SNAPSHOTS.name))
    text = f"{snapshot} {limits.digest()} {CANONICALISATION_VERSION}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7]) + 1


def _standing(night: Night, state: int) -> tuple[bool, bool]:
    """Return whether both tables are marked with this state, and whether their rows add up to the snapshot's."""
    tables = (QUARANTINE.name, PRODUCTS.name)
    marked = all(night.lake.transaction_version(table, _mark(night)) == state for table in tables)
    counts = _counts(night)
    return marked, counts["delivered"] == counts["valid"] + counts["quarantined"]


def _counts(night: Night) -> dict[str, int]:
    tables = {"delivered": SNAPSHOTS.name, "valid": PRODUCTS.name, "quarantined": QUARANTINE.name}
    return {name: night.lake.count(table, _partition(night, table)) for name, table in tables.items()}


def _bring(night: Night, table: str, state: int, again: bool, write: Callable[[], list[AddedFile]]) -> None:
    """Overwrite the date's partition of a table and mark it with the state.

    A table that carries it is left alone unless `again`: a twin, or this night before it was killed, was here.
    """
    handle = night.lake.open(table)  # one handle: version and mark are of the same moment
    if not again and handle.transaction_version(_mark(night)) == state:
        return
    version = handle.transaction_version(_scope(night, table)) or 0
    files = write()
    committed = night.lake.commit(
        table,
        files,
        attempt=f"{STAGE}/{night.date}/{state}/{version}",
        partition=_partition(night, table),
        mode="overwrite",
        marks={_mark(night): state},
    )
    if not committed:
        night.lake.discard(table, files)


def _pass_gate(night: Night, snapshot: "DataFrame", limits: RowLimits) -> dict[str, str]:
    """Measure the snapshot, let Great Expectations judge it and keep the page.

    Raises:
        NightStoppedError: an expectation failed.
    """
    settings, lake = night.settings, night.lake
    earlier_date = _earlier_date(night)
    earlier = lake.read(night.spark, SNAPSHOTS.name, {"date": earlier_date}) if earlier_date else None
    columns = _columns(lake.open(SNAPSHOTS.name).schema())
    metrics = compute_snapshot_metrics(
        snapshot, earlier, limits, date=night.date, columns=columns, earlier_date=earlier_date
    )
    gate = GateLimits(
        row_ratio=settings.min_row_ratio,
        null_share=settings.max_null_share,
        duplicate_share=settings.max_duplicate_share,
        category_coverage=settings.min_category_coverage,
        floor=settings.breaker_floor,
    )
    result = check_gate(metrics, gate, _columns(DeltaSchema.from_arrow(SNAPSHOTS.schema)))
    page = _keep(night, result.page)
    if not result.has_passed:
        failures = "\n".join(f"  - {failure}" for failure in result.failures)
        raise NightStoppedError(
            f"the snapshot of {night.date} did not pass the gate; nothing of it is served:\n{failures}\nThe whole "
            f"table: {page}. Have the catalogue delivered again and run again"
        )
    return {"gate": "passed", "data_docs": page}


def _earlier_date(night: Night) -> str:
    """Return the latest earlier date that passed its gate and is still kept, or nothing."""
    validated = {partition["date"] for partition in night.lake.open(PRODUCTS.name).partitions()}
    kept = {partition["date"] for partition in night.lake.open(SNAPSHOTS.name).partitions()}
    return max((date for date in validated & kept if date < night.date), default="")


def _columns(schema: DeltaSchema) -> str:
    return ", ".join(f"{field.name} {field.type}" for field in pa.schema(schema.to_arrow()))


def _keep(night: Night, page: str) -> str:
    """Write the gate's page into the lake's folder ``_data_docs`` and return where it lies."""
    name = f"_data_docs/{night.date}/{datetime.now(UTC):%Y%m%dT%H%M%S%f}.html"
    filesystem, root = night.lake.storage.open()
    filesystem.create_dir(f"{root}/_data_docs/{night.date}", recursive=True)
    with filesystem.open_output_stream(f"{root}/{name}") as stream:
        stream.write(page.encode())
    return night.lake.storage.uri(name)
