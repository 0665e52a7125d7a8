"""Builds the rows of a collection from products and vectors, and checks that they may be served.

A row of a collection is a product of the lake with its vector. Rows are built as DataFrames, and the task that sends
them converts them to Milvus entities (`iter_entities`).
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from jobs.errors import NightStoppedError
from jobs.state.changes import PAYLOAD, SERVED_OPS
from jobs.state.ledger import get_group, get_payload_hash, read_vectors
from jobs.state.plan_record import Plan
from jobs.state.run_context import RunContext
from schemas.collection import (
    CATEGORY_LEVELS,
    CATEGORY_SEPARATOR,
    GROUP_FIELD,
    ID_FIELD,
    INTEGER_FIELDS,
    JSON_FIELDS,
    MAX_TEXT_BYTES,
    PAYLOAD_FIELD,
    PAYLOAD_HASH_FIELD,
    SCALAR_FIELDS,
    SEARCH_TEXT_FIELD,
    VECTOR_FIELD,
    truncate_to_field,
)
from schemas.payload import write_canonical_json
from schemas.tables import CONTENT_KEY

MAX_SEARCHED_VALUE = 60
"""Characters of an attribute's value up to which a search by words reads it: names and sizes, no descriptions."""

UNIT_NORM_TOLERANCE = 1e-3
"""How far a vector's length may be from 1 (bfloat16 weights, float32 sums)."""


Entity = dict[str, Any]


UPDATED_FIELDS = (ID_FIELD, "snapshot_date", PAYLOAD_HASH_FIELD, "epoch", PAYLOAD_FIELD)
"""Fields that a new payload changes."""


def select_upsert_rows(context: RunContext, plan: Plan, epoch: int, ops: tuple[str, ...] = SERVED_OPS) -> DataFrame:
    """Return one complete row for every product that the plan upserts.

    Products that encode refused or kept have no row: they stay unchanged in Milvus.

    Args:
        context, plan: run context and the plan to serve.
        epoch: epoch of the lease that the rows are written under.
        ops: the plan's changes that are taken.

    Returns:
        The columns of `schemas.collection.SCALAR_FIELDS`, the vector, and ``partial`` for the ledger. A collection of
        an earlier schema version takes fewer of them (`iter_entities`).
    """
    changes = select_to_serve(context, plan).where(F.col("op").isin(*ops))
    products = context.lake.read(context.spark, "products", context.partition)
    vectors = read_vectors(context.spark, context.lake, plan.model_version, changes.select(*CONTENT_KEY))
    wanted = changes.select(*CONTENT_KEY).withColumns(
        {"snapshot_date": F.lit(context.date), "epoch": F.lit(epoch).cast("long")}
    )
    return join_rows(wanted, products, vectors, plan.model_version)


def select_payload_rows(context: RunContext, plan: Plan, epoch: int, ledger: DataFrame) -> DataFrame:
    """Return `UPDATED_FIELDS` and the ledger's columns of the products of which only the payload changed.

    Args:
        context, plan, epoch: as for `select_upsert_rows`.
        ledger: rows that the collection holds.
    """
    changes = read_changes(context, plan).where(F.col("op") == PAYLOAD).select(ID_FIELD)
    products = context.lake.read(context.spark, "products", context.partition)
    columns = {
        "snapshot_date": F.lit(context.date),
        "epoch": F.lit(epoch).cast("long"),
        PAYLOAD_FIELD: F.coalesce(PAYLOAD_FIELD, F.lit("{}")),
        PAYLOAD_HASH_FIELD: get_payload_hash(),
    }
    held = ledger.select(*CONTENT_KEY, GROUP_FIELD, "partial")
    return (
        products.select(ID_FIELD, PAYLOAD_FIELD, PAYLOAD_HASH_FIELD)
        .join(changes, ID_FIELD)
        .join(held, ID_FIELD)
        .withColumns(columns)
        .select(*ledger.columns, PAYLOAD_FIELD)
    )


def read_changes(context: RunContext, plan: Plan) -> DataFrame:
    """Return the rows of a frozen plan."""
    return context.lake.read(context.spark, "changes", plan.partition)


def join_rows(wanted: DataFrame, products: DataFrame, vectors: DataFrame, model_version: str) -> DataFrame:
    """Return the wanted rows joined with their product fields and vectors.

    Args:
        wanted: product_id, content_hash, snapshot_date, epoch; group_id if it comes from the ledger.
        products: rows of the table `products`, one per (product_id, content_hash).
        vectors: product_id, content_hash, vector, partial, one row per (product_id, content_hash).
        model_version: model version of the vectors.
    """
    fields = ["title", "category", "attributes", PAYLOAD_FIELD, PAYLOAD_HASH_FIELD]
    fields += [] if GROUP_FIELD in wanted.columns else [GROUP_FIELD]
    rows = wanted.join(products.select(*CONTENT_KEY, *fields), CONTENT_KEY).join(
        vectors.select(*CONTENT_KEY, VECTOR_FIELD, "partial"), CONTENT_KEY
    )
    levels = {name: F.get("category", F.lit(level)) for level, name in enumerate(CATEGORY_LEVELS)}
    columns = {
        **levels,
        "category": F.concat_ws(CATEGORY_SEPARATOR, "category"),
        "brand": brand_column(),
        GROUP_FIELD: get_group(),
        PAYLOAD_FIELD: F.coalesce(PAYLOAD_FIELD, F.lit("{}")),
        PAYLOAD_HASH_FIELD: get_payload_hash(),
        SEARCH_TEXT_FIELD: search_text_column(),
        "model_version": F.lit(model_version),
    }
    return rows.withColumns(columns).select(*SCALAR_FIELDS, VECTOR_FIELD, "partial")


def brand_column() -> Column:
    """Return the attribute "brand", compared without case."""
    pairs = F.map_entries("attributes")
    return F.get(F.filter(pairs, lambda pair: F.lower(pair["key"]) == "brand"), F.lit(0))["value"]


def search_text_column() -> Column:
    """Return the text that a search by words reads: title, brand, last category, short attributes and product id."""
    pairs = F.map_entries("attributes")
    short = F.filter(pairs, lambda pair: F.length(pair["value"]) <= MAX_SEARCHED_VALUE)
    named = F.transform(short, lambda pair: F.concat_ws(" ", pair["key"], pair["value"]))
    return F.concat_ws(
        "\n", "title", brand_column(), F.try_element_at("category", F.lit(-1)), F.concat_ws("\n", named), ID_FIELD
    )


def check_serving_rows(rows: DataFrame, dimension: int) -> int:
    """Check every row before the first is sent; return the number of rows.

    Args:
        rows: rows from `join_rows`.
        dimension: dimension of the collection's vectors.

    Returns:
        The number of rows.

    Raises:
        NightStoppedError: a vector has NaN, a length other than 1 or another dimension, or a product has two rows.
            Milvus Lite would accept all of these.
    """
    # In Spark NaN is larger than any number, so it fails the test of the length.
    squares = F.aggregate(VECTOR_FIELD, F.lit(0.0), lambda total, x: total + x.cast("double") * x.cast("double"))
    is_bad = (F.size(VECTOR_FIELD) != dimension) | (F.abs(F.sqrt(squares) - 1.0) > UNIT_NORM_TOLERANCE)
    found = rows.agg(
        F.count("*").alias("rows"),
        F.count_distinct(ID_FIELD).alias("products"),
        F.count_if(is_bad).alias("bad"),
        F.min(F.when(is_bad, F.col(ID_FIELD))).alias("example"),
    ).collect()[0]
    if found.bad:
        raise NightStoppedError(
            f"{found.bad:,} of {found.rows:,} vectors are not unit vectors of {dimension} numbers (product "
            f"{found.example!r}, for one): the model or its precision is broken. Nothing was served; correct the model "
            "and encode again"
        )
    if found.rows != found.products:
        raise NightStoppedError(
            f"{found.rows:,} rows for {found.products:,} products: the lake holds a product twice for one date. "
            "Nothing was served; please report this"
        )
    return int(found.rows)


def select_to_serve(context: RunContext, plan: Plan) -> DataFrame:
    """Return the products that the plan must serve: all upserts that encode neither refused nor kept."""
    quarantine = context.lake.read(context.spark, "quarantine", {"date": context.date, "purpose": plan.purpose})
    refused = quarantine.where(F.col("image_index").isNull() & (F.col("stage") != "validate")).select("source_row")
    return read_changes(context, plan).where(F.col("op").isin(*SERVED_OPS)).join(refused, "source_row", "left_anti")


def has_changes(context: RunContext, plan: Plan) -> bool:
    """Return whether the plan changes Milvus; it does not if encode refused all new products."""
    if plan.counts.deleted:
        return True
    return plan.counts.to_upsert > 0 and not select_to_serve(context, plan).isEmpty()


def iter_entities(batch: pa.RecordBatch | pa.Table, fields: Iterable[str]) -> Iterator[Entity]:
    """Yield the rows as Milvus entities; texts that are too long for their field are truncated.

    Args:
        batch: rows from `join_rows`, or a part of their columns.
        fields: fields of the collection (`schemas.collection.select_scalar_fields`).
    """
    columns: dict[str, Any] = {name: _convert_values(name, batch[name].to_pylist()) for name in fields}
    if VECTOR_FIELD in batch.schema.names:
        columns[VECTOR_FIELD] = stack_vectors(batch[VECTOR_FIELD])
    for values in zip(*columns.values(), strict=True):
        yield dict(zip(columns, values, strict=True))


def _convert_values(name: str, values: list[Any]) -> list[Any]:
    """Return the values of a column of `join_rows` as Milvus takes them."""
    if name in INTEGER_FIELDS or name in JSON_FIELDS:
        return values  # pymilvus takes JSON as text
    return [truncate_to_field(name, text) for text in values]


def compute_entity_digest(entity: Mapping[str, Any]) -> str:
    """Return a digest of an entity, 64 hex digits, which is the same before sending and after reading back."""
    digest = hashlib.sha256(np.asarray(entity[VECTOR_FIELD], np.float32).tobytes())
    for name in (name for name in SCALAR_FIELDS if name in entity):
        value = entity[name]
        # Milvus returns JSON as values, and gets it as text.
        digest.update(f"{name}={value if isinstance(value, str | int) else write_canonical_json(value)}\0".encode())
    return digest.hexdigest()


def compute_row_digests(rows: DataFrame, fields: tuple[str, ...]) -> DataFrame:
    """Return product_id and digest of rows from `join_rows`, over the fields of a collection."""
    return rows.mapInArrow(partial(_digest_task, fields=fields), f"{ID_FIELD} string, digest string")


def _digest_task(batches: Iterable[pa.RecordBatch], fields: tuple[str, ...]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        found = [
            {ID_FIELD: entity[ID_FIELD], "digest": compute_entity_digest(entity)}
            for entity in iter_entities(batch, fields)
        ]
        yield pa.RecordBatch.from_pylist(found, pa.schema([(ID_FIELD, pa.string()), ("digest", pa.string())]))


def stack_vectors(column: pa.Array | pa.ChunkedArray) -> NDArray[np.float32]:
    """Return a column of equally long lists as a float32 matrix [rows, dimension]."""
    lists = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if not len(lists):
        return np.empty((0, 0), np.float32)
    values: NDArray[np.float32] = lists.flatten().to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
    return values.reshape(len(lists), -1)


def estimate_entity_bytes(entity: Mapping[str, Any]) -> int:
    """Return the approximate size of an entity in a request, in bytes."""
    texts = (entity[name] for name in (*MAX_TEXT_BYTES, *JSON_FIELDS) if name in entity)
    vector = entity.get(VECTOR_FIELD)
    return (0 if vector is None else int(vector.nbytes)) + sum(len(text.encode()) + 8 for text in texts) + 16
