"""The serving contract: one Milvus collection per model version, its fields, index, properties and aliases.

Only what Milvus Lite 3.2.2 and servers from 2.3.5 on have in common is used: no JSON, nullable or partition-key
fields (upserts into a partition key go wrong in 2.3.5, milvus#30607). What a product lacks is an empty string.

Both keep collection *properties* and give them back; the collection's description is lost by Milvus Lite, so the
properties carry what belongs to the collection as a whole.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pymilvus import CollectionSchema

Backend = Literal["lite", "server"]

ID_FIELD, VECTOR_FIELD = "product_id", "vector"

MAX_TEXT_BYTES: Mapping[str, int] = {
    ID_FIELD: 256,
    "title": 4096,
    "category": 1024,
    "category_1": 256,
    "category_2": 256,
    "category_3": 256,
    "brand": 256,
    "snapshot_date": 10,
    "content_hash": 64,
    "model_version": 64,
}
"""VARCHAR fields and the most bytes of UTF-8 they hold. ``category`` is the whole path joined by `CATEGORY_SEPARATOR`
(root first, for ``like "Shoes/%"``), ``category_1`` … ``category_3`` its first levels."""

CATEGORY_LEVELS = ("category_1", "category_2", "category_3")
CATEGORY_SEPARATOR = "/"

INTEGER_FIELDS = ("epoch",)
"""INT64 fields: the epoch of the writer's lease; of two rows of a product the higher was written later."""

SCALAR_FIELDS = (*MAX_TEXT_BYTES, *INTEGER_FIELDS)
"""Everything a service may filter by or ask for, besides the vector."""

SCRATCH_PREFIX = "moon_scratch_"
"""Of collections that a backfill makes for some days."""

METRIC = "IP"
"""Inner product of unit vectors, which is their cosine: 1 is identical."""

CONSISTENCY = "Bounded"
"""What readers get unless they ask otherwise: a few seconds behind the writer. Our checks ask for Strong."""

PROPERTY_MODEL = "moon.model_version"
PROPERTY_DIMENSION = "moon.dimension"
PROPERTY_PREPROCESSING = "moon.preprocessing"
PROPERTY_CHECKPOINT = "moon.checkpoint"
PROPERTY_MODEL_COPY = "moon.model_copy"
"""Where the lake keeps a copy of model and detector; absent from collections of release 0.1."""
PROPERTY_EXPIRES = "moon.expires_at"
PROPERTY_TTL = "collection.ttl.seconds"
"""Of scratch collections alone: when they may be dropped (ISO 8601, UTC), and Milvus's own time to live of a row, which
servers heed and Milvus Lite does not."""

PROPERTIES = (PROPERTY_MODEL, PROPERTY_DIMENSION, PROPERTY_PREPROCESSING, PROPERTY_CHECKPOINT)
"""Properties of every collection of ours: model version (64 hex), dimension, digest of the processing configuration
(64 hex) and the checkpoint's URI."""

INDEXES: Mapping[Backend, tuple[str, ...]] = {
    "lite": ("FLAT", "HNSW", "IVF_FLAT"),
    "server": ("FLAT", "HNSW", "IVF_FLAT", "DISKANN"),
}
"""Index types by backend. Milvus Lite accepts others and silently searches by brute force: refused here."""

HNSW_MAX_ROWS = 20_000_000
"""Beyond this a server gets IVF_FLAT, which is built in a fraction of the time; DISKANN by choice."""


class UnsupportedIndexError(ValueError):
    """The backend does not have the index that was asked for."""


@dataclass(frozen=True)
class Index:
    """A vector index: its type and build parameters in Milvus's names."""

    type: str
    build: Mapping[str, int] = field(default_factory=dict)


def collection_name(model_version: str) -> str:
    """Return the name of the collection that is created for a model version."""
    return f"moon_{model_version[:12]}"


def is_scratch(collection: str) -> bool:
    """Return whether a collection is one that expires: nights, rollouts and rollbacks have nothing to do with it."""
    return collection.startswith(SCRATCH_PREFIX)


def pinned_alias(alias: str, model_version: str) -> str:
    """Return the alias that goes on naming this model version after readers' alias has moved on."""
    return f"{alias}_{model_version[:8]}"


def build_collection_schema(dimension: int) -> "CollectionSchema":
    """Return the fields of a collection of ours, for vectors of ``dimension`` float32 numbers."""
    from pymilvus import DataType, MilvusClient  # noqa: PLC0415  (a second to import)

    schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
    for name, limit in MAX_TEXT_BYTES.items():
        schema.add_field(name, DataType.VARCHAR, max_length=limit, is_primary=name == ID_FIELD)
    for name in INTEGER_FIELDS:
        schema.add_field(name, DataType.INT64)
    schema.add_field(VECTOR_FIELD, DataType.FLOAT_VECTOR, dim=dimension)
    return schema


def choose_index(backend: Backend, rows: int, wanted: str = "auto") -> Index:
    """Choose the index of a new collection.

    Args:
        backend: Milvus Lite or a server.
        rows: how many rows the collection will hold at first.
        wanted: an index type, or "auto": exact search in Milvus Lite, whose files are small; on a server HNSW, and
            IVF_FLAT beyond `HNSW_MAX_ROWS`.

    Raises:
        UnsupportedIndexError: the backend does not have the wanted type.
    """
    kind = wanted.upper()
    if kind == "AUTO":
        kind = "FLAT" if backend == "lite" else "HNSW" if rows <= HNSW_MAX_ROWS else "IVF_FLAT"
    if kind not in INDEXES[backend]:
        where = "Milvus Lite" if backend == "lite" else "a Milvus server"
        raise UnsupportedIndexError(f"{where} has no {kind} index; choose auto or one of {INDEXES[backend]}")
    build = {
        "HNSW": {"M": 16, "efConstruction": 200},
        "IVF_FLAT": {"nlist": min(65_536, max(128, 4 * math.isqrt(rows)))},
    }
    return Index(kind, build.get(kind, {}))


def build_search_params(index_type: str, k: int) -> dict[str, int]:
    """Return the parameters of a search for the ``k`` nearest: how far the index looks before it answers."""
    return {
        "HNSW": {"ef": max(128, 2 * k)},
        "IVF_FLAT": {"nprobe": 64},
        "DISKANN": {"search_list": max(128, 2 * k)},
    }.get(index_type, {})


def truncate_to_field(name: str, text: str | None) -> str:
    """Return the text as the field can hold it: cut at a character within the field's bytes; empty for None."""
    return (text or "").encode()[: MAX_TEXT_BYTES[name]].decode(errors="ignore")
