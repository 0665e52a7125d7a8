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
from jobs.state.changes import SERVED_OPS
from jobs.state.ledger import get_group, read_vectors
from jobs.state.plan_record import Plan
from jobs.state.run_context import RunContext
from schemas.collection import (
    CATEGORY_LEVELS,
    CATEGORY_SEPARATOR,
    GROUP_FIELD,
    ID_FIELD,
    INTEGER_FIELDS,
    MAX_TEXT_BYTES,
    SCALAR_FIELDS,
    VECTOR_FIELD,
    truncate_to_field,
)
from schemas.tables import CONTENT_KEY

UNIT_NORM_TOLERANCE = 1e-3
"""How far a vector's length may be from 1 (bfloat16 weights, float32 sums)."""


Entity = dict[str, Any]


def select_upsert_rows(context: RunContext, plan: Plan, epoch: int) -> DataFrame:
    """Return one complete row for every product that the plan upserts.

    Products that encode refused or kept have no row: they stay unchanged in Milvus.

    Args:
        context, plan: run context and the plan to serve.
        epoch: epoch of the lease that the rows are written under.

    Returns:
        The columns of `schemas.collection.SCALAR_FIELDS`, the vector, and ``partial`` for the ledger. A collection of
        an earlier schema version takes fewer of them (`iter_entities`).
    """
    changes = select_to_serve(context, plan)
    products = context.lake.read(context.spark, "products", context.partition)
    vectors = read_vectors(context.spark, context.lake, plan.model_version, changes.select(*CONTENT_KEY))
    wanted = changes.select(*CONTENT_KEY).withColumns(
        {"snapshot_date": F.lit(context.date), "epoch": F.lit(epoch).cast("long")}
    )
    return join_rows(wanted, products, vectors, plan.model_version)


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
    fields = ["title", "category", "attributes", *([] if GROUP_FIELD in wanted.columns else [GROUP_FIELD])]
    rows = wanted.join(products.select(*CONTENT_KEY, *fields), CONTENT_KEY).join(
        vectors.select(*CONTENT_KEY, VECTOR_FIELD, "partial"), CONTENT_KEY
    )
    levels = {name: F.get("category", F.lit(level)) for level, name in enumerate(CATEGORY_LEVELS)}
    columns = {
        **levels,
        "category": F.concat_ws(CATEGORY_SEPARATOR, "category"),
        "brand": brand_column(),
        GROUP_FIELD: get_group(),
        "model_version": F.lit(model_version),
    }
    return rows.withColumns(columns).select(*SCALAR_FIELDS, VECTOR_FIELD, "partial")


def brand_column() -> Column:
    """Return the attribute "brand", compared without case."""
    pairs = F.map_entries("attributes")
    return F.get(F.filter(pairs, lambda pair: F.lower(pair["key"]) == "brand"), F.lit(0))["value"]


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
        batch: rows from `join_rows`.
        fields: fields of the collection (`schemas.collection.select_scalar_fields`).
    """
    vectors = stack_vectors(batch[VECTOR_FIELD])
    columns = {name: batch[name].to_pylist() for name in fields}
    texts = {name: values for name, values in columns.items() if name not in INTEGER_FIELDS}
    integers = {name: values for name, values in columns.items() if name in INTEGER_FIELDS}
    for row, vector in enumerate(vectors):
        yield {
            **{name: truncate_to_field(name, values[row]) for name, values in texts.items()},
            **{name: values[row] for name, values in integers.items()},
            VECTOR_FIELD: vector,
        }


def compute_entity_digest(entity: Mapping[str, Any]) -> str:
    """Return a digest of an entity, 64 hex digits, which is the same before sending and after reading back."""
    digest = hashlib.sha256(np.asarray(entity[VECTOR_FIELD], np.float32).tobytes())
    for name in (name for name in SCALAR_FIELDS if name in entity):
        digest.update(f"{name}={entity[name]}\0".encode())
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
    texts = (entity[name] for name in MAX_TEXT_BYTES if name in entity)
    return int(entity[VECTOR_FIELD].nbytes) + sum(len(text.encode()) + 8 for text in texts) + 16
