"""Recognises a collection that cannot be served: other fields, another dimension, or no index."""

from typing import TYPE_CHECKING, Any

from jobs.errors import DamageError
from schemas.collection import (
    COLLECTION_SCHEMA_VERSION,
    PROPERTY_DIMENSION,
    VECTOR_FIELD,
    build_collection_schema,
    parse_schema_version,
)

if TYPE_CHECKING:
    from pymilvus import MilvusClient

REBUILD_REMEDY = (
    "drop it with its aliases (pymilvus `drop_alias`, `drop_collection`) and run `moon nightly` for the date that was "
    "served last: all rows come back from the lake, and nothing is encoded"
)


def check_fields(client: "MilvusClient", name: str, dimension: int | None = None) -> None:
    """Check that a collection of ours has the fields of its schema version.

    Args:
        client, name: Milvus client and name of the collection.
        dimension: of its vectors; None is what its properties say.

    Raises:
        DamageError: it has other fields, or vectors of another dimension.
    """
    described = client.describe_collection(name)
    version = parse_schema_version(name)
    wanted_dimension = dimension or int((described.get("properties") or {}).get(PROPERTY_DIMENSION, 0))
    if version > COLLECTION_SCHEMA_VERSION or not wanted_dimension:
        return  # of a later release, or not of ours: refused elsewhere
    wanted = _list_fields(build_collection_schema(wanted_dimension, version).to_dict())
    found = _list_fields(described)
    if found == wanted:
        return
    wrong = [key for key in {**wanted, **found} if found.get(key) != wanted.get(key)]
    raise DamageError(
        f"collection {name} has other fields than ours ({_describe_field(wrong[0], found, wanted)}): somebody else "
        f"made it, and it can neither be written nor searched. Remedy: {REBUILD_REMEDY}"
    )


def load_collection(client: "MilvusClient", name: str) -> None:
    """Load a collection, so that it can be read; Milvus Lite needs this in every process.

    Raises:
        DamageError: it has no index, which a Milvus server needs for that.
    """
    from pymilvus import MilvusException  # noqa: PLC0415  (a second to import)

    try:
        client.load_collection(name)
    except MilvusException as error:
        if VECTOR_FIELD in client.list_indexes(name):
            raise
        raise DamageError(describe_lost_index(name)) from error


def describe_lost_index(name: str) -> str:
    """Return what a dropped index means, and what to do."""
    return (
        f"collection {name} has no index on its vectors: somebody dropped it, and searches fail or read every row. "
        "Remedy: `moon repair`, which builds it again"
    )


def _list_fields(schema: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """Return type and dimension of the fields of a schema, as pymilvus describes it, by name."""
    return {
        field["name"]: (int(field["type"]), int((field.get("params") or {}).get("dim", 0)))
        for field in schema["fields"]
    }


def _describe_field(name: str, found: dict[str, tuple[int, int]], wanted: dict[str, tuple[int, int]]) -> str:
    if name not in found:
        return f"{name} is missing"
    if name not in wanted:
        return f"{name} is not ours"
    if found[name][1] != wanted[name][1]:
        return f"{name} has dimension {found[name][1]} and not {wanted[name][1]}"
    return f"{name} has another type"
