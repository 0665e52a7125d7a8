"""Definitions of the lake's tables: columns, key and partitioning.

Every table is a Delta table under the lake's root. The files do not contain the partition columns, which are in their
paths. With any change of a column, increase ``LAKE_SCHEMA_VERSION`` and add the change to `jobs.operations.migrate`:
tables of another version are refused.
"""

from dataclasses import dataclass

import pyarrow as pa

LAKE_SCHEMA_VERSION = 4

IMAGE_TYPE = pa.struct([pa.field("uri", pa.string()), pa.field("version", pa.string())])
ATTRIBUTES_TYPE = pa.map_(pa.string(), pa.string())
CATEGORY_TYPE = pa.list_(pa.string())
TIMESTAMP_TYPE = pa.timestamp("us", tz="UTC")

CONTENT_KEY = ["product_id", "content_hash"]
"""Join key of products and vectors: a product and the hash of its content."""


@dataclass(frozen=True)
class Table:
    """One lake table.

    Attributes:
        name: folder under the lake's root.
        columns: the columns in the files, without the partition columns.
        partition_by: partition columns in path order; their values are strings.
        key: the column whose minimum and maximum are in the statistics of every file.
    """

    name: str
    columns: pa.Schema
    partition_by: tuple[str, ...]
    key: str

    @property
    def schema(self) -> pa.Schema:
        """All columns, the partition columns (strings) last."""
        return pa.schema([*self.columns, *(pa.field(name, pa.string()) for name in self.partition_by)])


def _schema(**columns: pa.DataType) -> pa.Schema:
    return pa.schema([pa.field(name, kind) for name, kind in columns.items()])


SNAPSHOTS = Table(
    "snapshots",
    _schema(
        source_row=pa.int64(),
        product_id=pa.string(),
        title=pa.string(),
        description=pa.string(),
        category=CATEGORY_TYPE,
        attributes=ATTRIBUTES_TYPE,
        attributes_error=pa.string(),
        row_error=pa.string(),
        images=pa.list_(IMAGE_TYPE),
        source_values=ATTRIBUTES_TYPE,
    ),
    partition_by=("date",),
    key="source_row",
)
"""The catalogue as delivered, mapped to our column names; mapping errors are columns, so that no row is lost.

``source_values`` holds the source columns that decide on merging and on ``where`` (null where rows are not merged)."""

ROW_ROLES = Table(
    "row_roles",
    _schema(source_row=pa.int64(), product_id=pa.string(), role=pa.string(), product_row=pa.int64()),
    partition_by=("date",),
    key="source_row",
)
"""Delivered rows that are not products: ``merged`` into the product whose first row is ``product_row``, or ``left_out``
by the mapping's ``where`` (product_row null)."""

MERGED, LEFT_OUT = "merged", "left_out"
"""Values of ``row_roles.role``."""

PRODUCTS = Table(
    "products",
    _schema(
        product_id=pa.string(),
        source_row=pa.int64(),
        title=pa.string(),
        description=pa.string(),
        category=CATEGORY_TYPE,
        attributes=ATTRIBUTES_TYPE,
        images=pa.list_(IMAGE_TYPE),
        content_hash=pa.string(),
        group_id=pa.string(),
    ),
    partition_by=("date",),
    key="product_id",
)
"""Valid rows in canonical form (`schemas.product.canonicalise_product`).

``group_id`` is the product id of a variant's parent, else the product's own (null in rows of releases before 0.3)."""

QUARANTINE = Table(
    "quarantine",
    _schema(
        source_row=pa.int64(),
        product_id=pa.string(),
        image_index=pa.int32(),
        reason=pa.string(),
        detail=pa.string(),
        row=pa.string(),
    ),
    partition_by=("date", "purpose", "stage"),
    key="source_row",
)
"""Refused rows (``image_index`` null) and refused images of a product that is served without them (index set).

``purpose`` is that of the plan: ``nightly``, or ``out-of-band-<model, 8 digits>`` for refusals of a re-embedding."""

PLANS = Table(
    "plans",
    _schema(
        run_id=pa.string(),
        model_version=pa.string(),
        detector_version=pa.string(),
        collection=pa.string(),
        ledger_version=pa.int64(),
        serve=pa.bool_(),
        counts=pa.map_(pa.string(), pa.int64()),
        override=pa.string(),
        planned_at=TIMESTAMP_TYPE,
        purpose=pa.string(),
    ),
    partition_by=("date",),
    key="run_id",
)
"""One row for each frozen plan: the inputs of its `changes`. infer and serve look up their run here."""

CHANGES = Table(
    "changes",
    _schema(
        product_id=pa.string(),
        op=pa.string(),
        content_hash=pa.string(),
        source_row=pa.int64(),
    ),
    partition_by=("run_id",),
    key="product_id",
)
"""Rows of the frozen plans: op is new, changed, reuse or deleted (content_hash and source_row null when deleted)."""

IMAGES = Table(
    "images",
    _schema(
        uri=pa.string(),
        outcome=pa.string(),
        reason=pa.string(),
        cause=pa.string(),
        detail=pa.string(),
        image_sha256=pa.string(),
        size=pa.int64(),
        etag=pa.string(),
        last_modified=pa.string(),
        given_version=pa.string(),
        failed_nights=pa.int32(),
        missing_nights=pa.int32(),
        asked_at=TIMESTAMP_TYPE,
    ),
    partition_by=("date",),
    key="uri",
)
"""Responses of web hosts, one row for each request; the latest row of an address is valid.

``outcome`` is fetched, not_modified or failed; a failed row has the last good SHA-256 and validators.
``given_version`` is the catalogue's version; ``failed_nights`` and ``missing_nights`` count consecutive dates."""

IMAGE_VERSIONS = Table(
    "image_versions",
    _schema(
        uri=pa.string(),
        image_sha256=pa.string(),
        given_version=pa.string(),
        outcome=pa.string(),
        reason=pa.string(),
        cause=pa.string(),
        detail=pa.string(),
    ),
    partition_by=("date",),
    key="uri",
)
"""The version of each photo by URL that the content hashes of a date use, frozen by the stage fetch.

``outcome`` is fetched, not_modified, stored (known, not requested), refused or unreachable. The SHA-256 is null if no
version is known or the photo is gone."""

STORED_IMAGES = Table(
    "stored_images",
    _schema(
        image_sha256=pa.string(),
        pack=pa.string(),
        offset=pa.int64(),
        size=pa.int64(),
        checksum=pa.int64(),
        stored_at=TIMESTAMP_TYPE,
    ),
    partition_by=(),
    key="image_sha256",
)
"""Location of a photo's bytes in the image store: a part of a pack file (`jobs.images.store`), with its CRC-32."""

REGIONS = Table(
    "regions",
    _schema(
        image_sha256=pa.string(),
        uri=pa.string(),
        version=pa.string(),
        box=pa.list_(pa.float32()),
        score=pa.float32(),
        source=pa.string(),
    ),
    partition_by=("detector_version",),
    key="uri",
)
"""The core region of an image (box: x0 y0 x1 y1 as shares of width and height), looked up by (uri, version)."""

VECTORS = Table(
    "vectors",
    _schema(
        product_id=pa.string(),
        content_hash=pa.string(),
        vector=pa.list_(pa.float32()),
        partial=pa.bool_(),
    ),
    partition_by=("model_version", "date"),
    key="product_id",
)
"""One vector for each (model version, product, content), with the date of the snapshot for which it was made."""

SERVED = Table(
    "served",
    _schema(
        product_id=pa.string(),
        op=pa.string(),
        content_hash=pa.string(),
        snapshot_date=pa.string(),
        epoch=pa.int64(),
        partial=pa.bool_(),
        group_id=pa.string(),
    ),
    partition_by=("collection",),
    key="product_id",
)
"""The ledger: op is upsert or delete; of a product's rows the one with the highest epoch is what Milvus holds.

``group_id`` is null in deletes and in rows of releases before 0.3, where it stands for the product's own id."""

MODELS = Table(
    "models",
    _schema(
        model_version=pa.string(),
        uri=pa.string(),
        dimension=pa.int32(),
        detector_version=pa.string(),
        registered_at=TIMESTAMP_TYPE,
    ),
    partition_by=(),
    key="model_version",
)
"""Model versions that have made vectors in this lake, with the URIs of their checkpoints."""

LEASES = Table(
    "leases",
    _schema(epoch=pa.int64(), holder=pa.string(), expires_at=TIMESTAMP_TYPE, released=pa.bool_()),
    partition_by=("collection",),
    key="epoch",
)
"""Write leases of the collections; the last committed row of a collection is valid."""

HOLDS = Table(
    "holds",
    _schema(held=pa.bool_(), restored=pa.string(), reason=pa.string(), by=pa.string(), since=TIMESTAMP_TYPE),
    partition_by=(),
    key="restored",
)
"""Whether nightly runs are held, and why; the row of the last commit is valid (`jobs.state.hold`)."""

RUNS = Table(
    "runs",
    _schema(
        run_id=pa.string(),
        stage=pa.string(),
        outcome=pa.string(),
        counts=pa.map_(pa.string(), pa.int64()),
        seconds=pa.float64(),
        details=pa.map_(pa.string(), pa.string()),
        finished_at=TIMESTAMP_TYPE,
    ),
    partition_by=("date",),
    key="run_id",
)
"""One row for each finished stage, one with stage ``report`` for the whole run, and one with stage ``run`` and outcome
``started`` for each process that begins to run stages (`jobs.state.run_log`)."""

TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        SNAPSHOTS,
        ROW_ROLES,
        PRODUCTS,
        IMAGES,
        IMAGE_VERSIONS,
        STORED_IMAGES,
        QUARANTINE,
        PLANS,
        CHANGES,
        REGIONS,
        VECTORS,
        SERVED,
        MODELS,
        LEASES,
        HOLDS,
        RUNS,
    )
}
