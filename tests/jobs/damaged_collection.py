"""Damages a served collection in known ways, each at a product of its own, for the tests of audit and explain."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jobs.milvus.client import connect, detect_backend, fetch_rows
from jobs.serving.row_faults import DIFFERENT, FOREIGN_MODEL, MISSING, ORPHANED, STALE, WRONG_NORM
from jobs.settings import Settings
from jobs.stages.runner import run_stages
from jobs.state.run_context import RunContext
from schemas.collection import (
    ID_FIELD,
    PROPERTIES,
    PROPERTY_SCHEMA,
    SPARSE_FIELD,
    VECTOR_FIELD,
    build_collection_schema,
)
from tests.jobs.serving_shop import DIMENSION, ServingShop, ShopItem, make_items

if TYPE_CHECKING:
    from pymilvus import MilvusClient

FIRST, SECOND = "2026-01-02", "2026-01-03"

DAMAGED = {"p000": DIFFERENT, "p001": MISSING, "p002": FOREIGN_MODEL, "p003": STALE, "p004": WRONG_NORM, "zz": ORPHANED}
"""The fault of each product after `damage_rows`; p004 is also `DIFFERENT`."""

OTHER_COLLECTION = "moon_ffffffffffff"


def serve_two_dates(shop: ServingShop) -> tuple[RunContext, Callable[[], None]]:
    """Serve p000 to p007 and p009; then p005 refused, p006 and p007 with other titles, p008 as new, p009 not delivered.

    Returns:
        The second run, and a function that puts Milvus Lite back to its state after the first, as a backup does.
    """
    stages = ["upsert", "publish"]
    first = shop.prepare_run(FIRST, [*make_items(8), *make_items(1, first=9)])
    run_stages(first, stages)
    database = Path(first.settings.milvus)
    backup = shutil.copytree(database, database.with_name("backup.db"))
    changed = [ShopItem(f"p{number:03d}", title="Blue mug") for number in (6, 7)]
    second = shop.prepare_run(SECOND, [*make_items(5), *changed, *make_items(1, first=8)], refused=["p005"])
    run_stages(second, stages)

    def put_back() -> None:
        shutil.rmtree(database)
        shutil.copytree(backup, database)

    return second, put_back


def damage_rows(settings: Settings, name: str) -> None:
    """Damage the rows of a collection as `DAMAGED` says."""
    with connect(settings) as client:
        client.load_collection(name)
        ids, fields = ["p000", "p002", "p003", "p004"], list_fields(client, name)
        rows = {row["product_id"]: row for row in fetch_rows(client, name, ids, fields)}
        vector = np.asarray(rows["p000"][VECTOR_FIELD], np.float32)
        client.delete(name, filter='product_id == "p001"')
        client.upsert(
            name,
            [
                {**rows["p000"], VECTOR_FIELD: np.roll(vector, 1)},
                {**rows["p002"], "model_version": "f" * 64},
                {**rows["p003"], "epoch": rows["p003"]["epoch"] - 1},
                {**rows["p004"], VECTOR_FIELD: 2 * np.asarray(rows["p004"][VECTOR_FIELD], np.float32)},
                {**rows["p000"], "product_id": "zz"},
            ],
        )


def move_alias_away(settings: Settings) -> None:
    """Move the readers' alias to another collection of our kind, which no ledger knows."""
    with connect(settings) as client:
        values = ["f" * 64, str(DIMENSION), "0" * 64, "/checkpoints/other"]
        client.create_collection(
            OTHER_COLLECTION,
            schema=build_collection_schema(DIMENSION, 1),
            properties={**dict(zip(PROPERTIES, values, strict=True)), PROPERTY_SCHEMA: "1"},
        )
        client.alter_alias(OTHER_COLLECTION, settings.alias)


def list_fields(client: "MilvusClient", name: str) -> list[str]:
    """Return the fields of a collection that a writer gives besides the id; Milvus makes the sparse one."""
    known = [field["name"] for field in client.describe_collection(name)["fields"]]
    return [field for field in known if field not in (ID_FIELD, SPARSE_FIELD)]


def double_row(settings: Settings, name: str, product_id: str) -> bool:
    """Insert a second row of a product; return whether both are kept: by a server, but not by Milvus Lite."""
    with connect(settings) as client:
        client.load_collection(name)
        (row,) = fetch_rows(client, name, [product_id], list_fields(client, name))
        client.insert(name, [row])
        client.flush(name)
        return detect_backend(client) == "server"
