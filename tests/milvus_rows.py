"""Rows of collections for tests."""

from typing import TYPE_CHECKING, Any

from schemas.collection import (
    COLLECTION_SCHEMA_VERSION,
    MAX_TEXT_BYTES,
    PAYLOAD_FIELD,
    pinned_alias,
    select_scalar_fields,
)

if TYPE_CHECKING:
    from pymilvus import MilvusClient

TEXT_FIELDS = [name for name in select_scalar_fields(COLLECTION_SCHEMA_VERSION) if name in MAX_TEXT_BYTES]
"""Text fields of a collection that uses no feature which only some backends have."""


def make_row(text: str = "", **fields: Any) -> dict[str, Any]:
    """Return a whole row: the given fields, and the same text in all others."""
    return {**dict.fromkeys(TEXT_FIELDS, text), "epoch": 1, PAYLOAD_FIELD: {}, **fields}


def complete_row(client: "MilvusClient", collection: str, row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with empty texts for the fields that only some backends have."""
    fields = [field["name"] for field in client.describe_collection(collection)["fields"]]
    return {**{name: "" for name in fields if name in MAX_TEXT_BYTES}, **row}


def serve_rows(client: "MilvusClient", collection: str, rows: list[dict[str, Any]], model_version: str) -> None:
    """Write rows into a collection and give it its pinned alias, as a run does."""
    client.upsert(collection, rows)
    client.flush(collection)
    client.load_collection(collection)
    client.create_alias(collection, pinned_alias("products", model_version))
