"""Schema of the served Milvus collections: fields, index, properties, names and aliases.

Most fields use only what Milvus Lite 3.2.2 and servers from 2.3.5 share: no nullable or partition-key fields
(docs/decisions/0015-milvus-common-subset.md). A missing value is an empty string. Fields that need a feature of some
backends (`FIELD_FEATURES`) are in the collections that were made there; the property `PROPERTY_FEATURES` says so.
Metadata of a whole collection are stored in its properties, because Milvus Lite loses the description.
"""

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pymilvus import CollectionSchema

Backend = Literal["lite", "server"]

COLLECTION_SCHEMA_VERSION = 3
"""Raised with every change of the fields: `moon migrate` then fills a new collection from the lake.

Runs go on with the fields of an earlier version (`select_scalar_fields`) until then."""

ID_FIELD, GROUP_FIELD, VECTOR_FIELD = "product_id", "group_id", "vector"
PAYLOAD_FIELD, PAYLOAD_HASH_FIELD = "payload", "payload_hash"
SEARCH_TEXT_FIELD, SPARSE_FIELD = "search_text", "search_sparse"

MAX_TEXT_BYTES: Mapping[str, int] = {
    ID_FIELD: 256,
    "title": 4096,
    "category": 1024,
    "category_1": 256,
    "category_2": 256,
    "category_3": 256,
    "brand": 256,
    GROUP_FIELD: 256,
    "snapshot_date": 10,
    "content_hash": 64,
    "model_version": 64,
    PAYLOAD_HASH_FIELD: 64,
    SEARCH_TEXT_FIELD: 16_384,
}
"""VARCHAR fields and their maximum bytes of UTF-8. ``category`` is the whole path joined by `CATEGORY_SEPARATOR`
(root first, for ``like "Shoes/%"``), ``category_1`` … ``category_3`` are its first levels; ``group_id`` is the product
id of a variant's parent, else the product's own; ``search_text`` is what a search by words reads."""

CATEGORY_LEVELS = ("category_1", "category_2", "category_3")
CATEGORY_SEPARATOR = "/"

INTEGER_FIELDS = ("epoch",)
"""INT64 fields: the epoch of the writer's lease. Of two rows of one product, the row with the higher epoch is newer."""

JSON_FIELDS = (PAYLOAD_FIELD,)
"""JSON fields: the columns that the mapping's ``[payload]`` names, by name; ``{}`` without any."""

SCALAR_FIELDS = (*MAX_TEXT_BYTES, *INTEGER_FIELDS, *JSON_FIELDS)
"""All fields except vectors; a service may filter by them and read them."""

FIELD_VERSIONS: Mapping[str, int] = {GROUP_FIELD: 2, PAYLOAD_FIELD: 3, PAYLOAD_HASH_FIELD: 3, SEARCH_TEXT_FIELD: 3}
"""Schema version since which collections have a field; the others are in every version."""

JSON, BM25 = "json", "bm25"
FIELD_FEATURES: Mapping[str, str] = {PAYLOAD_FIELD: JSON, SEARCH_TEXT_FIELD: BM25}
"""Feature of Milvus (`jobs.milvus.capabilities`) that a field needs. Every backend has JSON fields. Some have BM25; its
field comes with the sparse vectors `SPARSE_FIELD`, which Milvus computes from it."""

SCRATCH_PREFIX = "moon_scratch_"
"""Start of the names of collections that a backfill makes and that expire."""

METRIC = "IP"
"""Inner product of unit vectors, which is their cosine: 1 is identical."""

CONSISTENCY = "Bounded"
"""Default consistency of reads, a few seconds behind the writer. Checks of the jobs use Strong."""

PROPERTY_MODEL = "moon.model_version"
PROPERTY_DIMENSION = "moon.dimension"
PROPERTY_PREPROCESSING = "moon.preprocessing"
PROPERTY_CHECKPOINT = "moon.checkpoint"
PROPERTY_MODEL_COPY = "moon.model_copy"
"""Property: URI of the lake's copy of model and detector; absent from collections of release 0.1."""
PROPERTY_SCHEMA = "moon.schema_version"
"""Property: schema version of the collection; absent from collections of release 0.1, which have version 1."""
PROPERTY_FEATURES = "moon.features"
"""Property: features of Milvus that the collection's fields use, comma-separated; absent before schema version 3."""
PROPERTY_EXPIRES = "moon.expires_at"
PROPERTY_TTL = "collection.ttl.seconds"
"""Properties of scratch collections only: when the collection may be dropped (ISO 8601, UTC), and Milvus's time to live
of a row, which servers apply and Milvus Lite ignores."""

PROPERTIES = (PROPERTY_MODEL, PROPERTY_DIMENSION, PROPERTY_PREPROCESSING, PROPERTY_CHECKPOINT)
"""Properties of every collection of MOON: model version (64 hex digits), dimension, digest of the preprocessing (64 hex
digits) and the checkpoint's URI."""

INDEXES: Mapping[Backend, tuple[str, ...]] = {
    "lite": ("FLAT", "HNSW", "IVF_FLAT"),
    "server": ("FLAT", "HNSW", "IVF_FLAT", "DISKANN"),
}
"""Index types of each backend. Others are refused: Milvus Lite accepts them but silently searches by brute force."""

SPARSE_INDEX, SPARSE_METRIC = "SPARSE_INVERTED_INDEX", "BM25"
"""Index and metric of `SPARSE_FIELD`."""

HNSW_MAX_ROWS = 20_000_000
"""Rows up to which the default index of a server is HNSW. Above it is IVF_FLAT, which is built much faster."""


class UnsupportedIndexError(ValueError):
    """The backend does not have the requested index type."""


@dataclass(frozen=True)
class Index:
    """A vector index.

    Attributes:
        type: Milvus's name of the index type.
        build_params: Milvus's parameters for building it.
    """

    type: str
    build_params: Mapping[str, int] = field(default_factory=dict)


def collection_name(model_version: str, schema_version: int | None = None) -> str:
    """Return the name of the collection for a model version.

    Args:
        model_version: 64 hex digits.
        schema_version: of the collection; None is `COLLECTION_SCHEMA_VERSION`. Version 1 has no suffix, as in 0.1.
    """
    number = schema_version or COLLECTION_SCHEMA_VERSION
    return f"moon_{model_version[:12]}" + (f"_s{number}" if number > 1 else "")


def strip_schema_suffix(collection: str) -> str:
    """Return a collection's name without its schema version: the same for all collections of one model version."""
    return re.sub(r"_s\d+$", "", collection)


def parse_schema_version(collection: str) -> int:
    """Return the schema version that a collection's name says; a scratch collection is written by this code only."""
    if found := re.search(r"_s(\d+)$", collection):
        return int(found[1])
    return 1 if re.fullmatch(r"moon_[0-9a-f]{12}", collection) else COLLECTION_SCHEMA_VERSION


def select_scalar_fields(schema_version: int, features: Collection[str] = ()) -> tuple[str, ...]:
    """Return the `SCALAR_FIELDS` that collections have.

    Args:
        schema_version: version of the collection.
        features: features that its fields use (`read_features`); without them it has no `SEARCH_TEXT_FIELD`.
    """
    known = (name for name in SCALAR_FIELDS if FIELD_VERSIONS.get(name, 1) <= schema_version)
    return tuple(name for name in known if FIELD_FEATURES.get(name) != BM25 or BM25 in features)


def select_field_features(schema_version: int, available: Collection[str]) -> tuple[str, ...]:
    """Return the features that the fields of a new collection use, of those that a backend has."""
    wanted = {one for name, one in FIELD_FEATURES.items() if FIELD_VERSIONS[name] <= schema_version}
    return tuple(sorted(wanted & set(available)))


def has_groups(collection: str) -> bool:
    """Return whether the collection of that name has the field `GROUP_FIELD`."""
    return GROUP_FIELD in select_scalar_fields(parse_schema_version(collection))


def has_payload(collection: str) -> bool:
    """Return whether the collection of that name has the field `PAYLOAD_FIELD`."""
    return PAYLOAD_FIELD in select_scalar_fields(parse_schema_version(collection))


def read_features(properties: Mapping[str, str]) -> tuple[str, ...]:
    """Return the features that the fields of a collection with these properties use."""
    return tuple(filter(None, properties.get(PROPERTY_FEATURES, "").split(",")))


def read_schema_version(properties: Mapping[str, str]) -> int:
    """Return the schema version of a collection with these properties."""
    return int(properties.get(PROPERTY_SCHEMA, 1))


def is_scratch(collection: str) -> bool:
    """Return whether a collection is a scratch one: it expires, and nightly runs, rollouts and rollbacks ignore it."""
    return collection.startswith(SCRATCH_PREFIX)


def pinned_alias(alias: str, model_version: str) -> str:
    """Return the alias that stays on a model version's collection when the readers' alias moves."""
    return f"{alias}_{model_version[:8]}"


def build_collection_schema(
    dimension: int, schema_version: int = COLLECTION_SCHEMA_VERSION, features: Collection[str] = ()
) -> "CollectionSchema":
    """Return the schema of a collection with vectors of ``dimension`` float32 numbers.

    Args:
        dimension: of the vectors.
        schema_version: version of the collection.
        features: features that its fields use (`select_field_features`).
    """
    from pymilvus import DataType, Function, FunctionType, MilvusClient  # noqa: PLC0415  (its import takes a second)

    schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
    for name in select_scalar_fields(schema_version, features):
        if name in INTEGER_FIELDS:
            schema.add_field(name, DataType.INT64)
        elif name in JSON_FIELDS:
            schema.add_field(name, DataType.JSON)
        else:
            options = {"enable_analyzer": True} if name == SEARCH_TEXT_FIELD else {}
            schema.add_field(
                name, DataType.VARCHAR, max_length=MAX_TEXT_BYTES[name], is_primary=name == ID_FIELD, **options
            )
    schema.add_field(VECTOR_FIELD, DataType.FLOAT_VECTOR, dim=dimension)
    if BM25 in features:
        schema.add_field(SPARSE_FIELD, DataType.SPARSE_FLOAT_VECTOR)
        schema.add_function(Function("search_words", FunctionType.BM25, [SEARCH_TEXT_FIELD], [SPARSE_FIELD]))
    return schema


def choose_index(backend: Backend, rows: int, wanted: str = "auto") -> Index:
    """Return the index of a new collection.

    Args:
        backend: Milvus Lite or a server.
        rows: number of rows that the collection will hold at first.
        wanted: an index type, or "auto": exact search in Milvus Lite, whose files are small; on a server HNSW, and
            IVF_FLAT beyond `HNSW_MAX_ROWS` rows.

    Raises:
        UnsupportedIndexError: the backend does not have the wanted type.
    """
    kind = wanted.upper()
    if kind == "AUTO":
        kind = "FLAT" if backend == "lite" else "HNSW" if rows <= HNSW_MAX_ROWS else "IVF_FLAT"
    if kind not in INDEXES[backend]:
        product = "Milvus Lite" if backend == "lite" else "a Milvus server"
        raise UnsupportedIndexError(f"{product} has no {kind} index; choose auto or one of {INDEXES[backend]}")
    params = {
        "HNSW": {"M": 16, "efConstruction": 200},
        "IVF_FLAT": {"nlist": min(65_536, max(128, 4 * math.isqrt(rows)))},
    }
    return Index(kind, params.get(kind, {}))


def build_search_params(index_type: str, k: int) -> dict[str, int]:
    """Return the search parameters for the ``k`` nearest rows: the part of the index that is searched."""
    return {
        "HNSW": {"ef": max(128, 2 * k)},
        "IVF_FLAT": {"nprobe": 64},
        "DISKANN": {"search_list": max(128, 2 * k)},
    }.get(index_type, {})


def truncate_to_field(name: str, text: str | None) -> str:
    """Return the text, cut between characters to the field's maximum bytes; the empty string for None."""
    return (text or "").encode()[: MAX_TEXT_BYTES[name]].decode(errors="ignore")
