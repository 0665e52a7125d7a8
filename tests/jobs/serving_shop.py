"""A shop without a model: its runs are validated, planned and "encoded" in the lake, ready for the serving stages.

All parts are real, except that a product's vector is drawn from its content hash.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import jobs.serving.collection
from jobs.lake.store import Lake
from jobs.lake.writing import FileSink
from jobs.milvus.client import connect, scan_rows
from jobs.settings import Settings
from jobs.state.changes import CHANGED, DELETED, ENCODED_OPS, NEW, OPS, REUSE
from jobs.state.ledger import UPSERT, read_ledger_head
from jobs.state.model_registry import ModelChoice, register_model
from jobs.state.plan_record import Plan, PlanCounts, commit_plan_header, require_plan
from jobs.state.run_context import RunContext
from schemas.collection import collection_name, has_groups
from schemas.product import canonicalise_product, compute_content_hash

DIMENSION = 16
SHOP_MODEL_VERSION = "ab12" * 16


@dataclass(frozen=True)
class ShopItem:
    """A product as the shop delivers it in this run."""

    id: str
    title: str = "Red mug"
    category: tuple[str, ...] = ("Kitchen", "Mugs")
    attributes: Mapping[str, str] = field(default_factory=lambda: {"Brand": "Nordlys", "colour": "red"})
    group_id: str | None = None
    images: tuple[tuple[str, str | None], ...] = ()
    """(uri, version) of the photos; not part of the content hash here."""

    @property
    def content_hash(self) -> str:
        return compute_content_hash(
            canonicalise_product(
                title=self.title,
                description="",
                category=self.category,
                attributes=self.attributes,
                images=(),
            )
        )


def make_items(count: int, first: int = 0, **fields: Any) -> list[ShopItem]:
    """Return ``count`` products with ids p000 … and a title each."""
    return [ShopItem(f"p{index:03d}", **{"title": f"Mug {index}", **fields}) for index in range(first, first + count)]


def make_vector(item_hash: str) -> NDArray[np.float32]:
    """Return the unit vector that "the model" makes of a content."""
    draw = np.random.default_rng(int(item_hash[:15], 16)).normal(size=DIMENSION)
    return (draw / np.linalg.norm(draw)).astype(np.float32)


class ServingShop:
    """Runs on one lake and one Milvus.

    Args:
        make_night: the fixture.
        monkeypatch: replaces functions that would read a checkpoint's files.
    """

    def __init__(self, make_night: Callable[..., RunContext], monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
        self.model = ModelChoice(
            uri="/checkpoints/test",
            model_version=SHOP_MODEL_VERSION,
            detector_version="d" * 16,
            dimension=DIMENSION,
            max_images=3,
            collection=collection_name(SHOP_MODEL_VERSION),
        )
        self._make_night, self._options = make_night, options
        monkeypatch.setattr(
            jobs.serving.collection,
            "read_registered_model",
            lambda lake, settings, version, name: replace(self.model, model_version=version, collection=name),
        )
        monkeypatch.setattr("jobs.serving.collection.compute_preprocessing_digest", lambda path: "0" * 64)
        monkeypatch.setattr("jobs.operations.catch_up.store_model", lambda *_: False)

    def context(self, date: str, **options: Any) -> RunContext:
        return self._make_night(date, **{**self._options, **options})

    def prepare_run(
        self,
        date: str,
        delivered: Iterable[ShopItem],
        *,
        refused: Iterable[str] = (),
        unreadable: Iterable[str] = (),
        partial: Iterable[str] = (),
        **options: Any,
    ) -> RunContext:
        """Return a run that is ready for upsert.

        Args:
            date: ISO date.
            delivered: the good rows.
            refused: ids whose rows validation refused.
            unreadable: ids that encode refuses.
            partial: ids whose vector lacks an image.
            options: settings.
        """
        context = self.context(date, **options)
        rows = list(delivered)
        self._deliver(context, rows, list(refused))
        self._plan(context, rows, set(refused))
        self._encode(context, rows, set(unreadable), set(partial))
        return context

    def _deliver(self, context: RunContext, rows: list[ShopItem], refused: list[str]) -> None:
        day, number = context.partition, f"{datetime.now(UTC).timestamp()}"
        good = [
            {
                "product_id": item.id,
                "source_row": row,
                "title": item.title,
                "category": list(item.category),
                "attributes": list(item.attributes.items()),
                "content_hash": item.content_hash,
                "group_id": item.group_id,
                "images": [{"uri": uri, "version": version} for uri, version in item.images],
            }
            for row, item in enumerate(rows)
        ]
        bad = [
            {"source_row": len(rows) + row, "product_id": name, "reason": "empty_title", "detail": "no title"}
            for row, name in enumerate(refused)
        ]
        snapshot = [{"source_row": row["source_row"], "product_id": row["product_id"]} for row in (*good, *bad)]
        commit_rows(context.lake, "snapshots", snapshot, day, f"pull/{number}")
        commit_rows(context.lake, "quarantine", bad, context.quarantine_partition("validate"), f"validate/{number}")
        commit_rows(context.lake, "products", good, day, f"validate/{number}")

    def _plan(self, context: RunContext, rows: list[ShopItem], refused: set[str]) -> None:
        """Freeze the plan of `jobs.stages.plan`, computed in Python; the stage's Spark jobs have tests of their own."""
        register_model(context.lake, self.model)
        draft = self._draft(context)
        if context.lake.is_committed("plans", f"plan/{draft.run_id}"):
            return
        held, made, groups = self.read_ledger(context), self._vectors(context), self.read_groups(context)
        changes = []
        for row, item in enumerate(rows):
            served = held.get(item.id)
            is_same_group = not has_groups(self.model.collection) or groups.get(item.id) == (item.group_id or item.id)
            if served and served[0] == item.content_hash and not served[2] and is_same_group:
                continue
            op = REUSE if (item.id, item.content_hash) in made else CHANGED if served else NEW
            changes.append({"product_id": item.id, "op": op, "content_hash": item.content_hash, "source_row": row})
        gone = held.keys() - {item.id for item in rows} - refused if draft.serve else set()
        changes += [{"product_id": name, "op": DELETED} for name in sorted(gone)]
        ops = Counter(change["op"] for change in changes)
        counts = {op: ops[op] for op in OPS} | {
            "delivered": len(rows) + len(refused),
            "valid": len(rows),
            "quarantined": len(refused),
            "unchanged": len(rows) - len(changes) + len(gone),
            "stale": len(refused & held.keys()),
            "images": 0,
        }
        commit_rows(context.lake, "changes", changes, draft.partition, f"plan/{draft.run_id}")
        commit_plan_header(context.lake, replace(draft, counts=PlanCounts(**counts)), f"plan/{draft.run_id}")

    def _draft(self, context: RunContext) -> Plan:
        model, lake = self.model, context.lake
        head = read_ledger_head(lake, model.collection)
        delivered = lake.read_transaction_version("products", f"scope:date={context.date}")
        return Plan(
            date=context.date,
            run_id=f"{context.date}-{delivered}-{model.model_version[:4]}-{head.version}",
            model_version=model.model_version,
            detector_version=model.detector_version,
            collection=model.collection,
            ledger_version=head.version,
            serve=head.high_water is None or context.date >= head.high_water,
        )

    def _vectors(self, context: RunContext) -> set[tuple[str, str]]:
        rows = context.lake.read_arrow("vectors", {"model_version": self.model.model_version}).to_pylist()
        return {(row["product_id"], row["content_hash"]) for row in rows if not row["partial"]}

    def _encode(self, context: RunContext, rows: list[ShopItem], unreadable: set[str], partial: set[str]) -> None:
        plan = self.plan(context)
        changes = context.lake.read_arrow("changes", plan.partition).to_pylist()
        wanted = {row["product_id"]: row["source_row"] for row in changes if row["op"] in ENCODED_OPS}
        vectors = [
            {
                "product_id": item.id,
                "content_hash": item.content_hash,
                "vector": make_vector(item.content_hash),
                "partial": item.id in partial,
            }
            for item in rows
            if item.id in wanted and item.id not in unreadable
        ]
        bad = [
            {"source_row": wanted[name], "product_id": name, "reason": "no_readable_image", "detail": "none of 1"}
            for name in sorted(unreadable & wanted.keys())
        ]
        attempt, of_encode = f"encode/{plan.run_id}", context.quarantine_partition("encode")
        partition = {"model_version": plan.model_version, "date": context.date}
        commit_rows(context.lake, "quarantine", bad, of_encode, attempt)
        commit_rows(context.lake, "vectors", vectors, partition, attempt, mode="append")

    def plan(self, context: RunContext) -> Plan:
        return require_plan(context.lake, context.date)

    def use_model(self, **fields: Any) -> None:
        self.model = replace(self.model, **fields)

    def held(self, context: RunContext) -> dict[str, tuple[str, str, str, tuple[float, ...]]]:
        """Return what Milvus holds: id → (content hash, snapshot date, title, vector)."""
        fields = ["content_hash", "snapshot_date", "title", "vector"]
        with connect(context.settings) as client:
            client.load_collection(self.model.collection)
            pages = list(scan_rows(client, self.model.collection, fields, page_rows=100))
        return {
            row["product_id"]: (
                row["content_hash"],
                row["snapshot_date"],
                row["title"],
                tuple(np.float32(row["vector"]).tolist()),
            )
            for page in pages
            for row in page
        }

    def read_ledger(self, context: RunContext) -> dict[str, tuple[str, str, bool]]:
        """Return what the ledger says: id → (content hash, snapshot date, partial)."""
        rows = self._read_latest(context)
        return {name: (row["content_hash"], row["snapshot_date"], row["partial"]) for name, row in rows.items()}

    def read_groups(self, context: RunContext) -> dict[str, str]:
        """Return the groups that the ledger says, by product id."""
        return {name: row["group_id"] or name for name, row in self._read_latest(context).items()}

    def _read_latest(self, context: RunContext) -> dict[str, dict[str, Any]]:
        rows = context.lake.read_arrow("served", {"collection": self.model.collection}).to_pylist()
        latest = {row["product_id"]: row for row in sorted(rows, key=itemgetter("epoch"))}
        return {name: row for name, row in latest.items() if row["op"] == UPSERT}


def let_commands_use(context: RunContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give commands lake and Milvus of a run through the environment, and the tests' Spark session."""
    monkeypatch.setenv("MOON_LAKE", context.settings.lake)
    monkeypatch.setenv("MOON_MILVUS", context.settings.milvus)

    @contextmanager
    def session(settings: Settings, name: str) -> Iterator[object]:
        yield context.spark

    monkeypatch.setattr("jobs.spark.session.open_spark_session", session)


def build_expected_rows(rows: Iterable[ShopItem], date: str) -> dict[str, tuple[str, str, str, tuple[float, ...]]]:
    """Return the rows that Milvus must hold of products that one run served."""
    return {
        item.id: (item.content_hash, date, item.title, tuple(make_vector(item.content_hash).tolist())) for item in rows
    }


def commit_rows(
    lake: Lake,
    table: str,
    rows: list[dict[str, Any]],
    partition: dict[str, str],
    attempt: str,
    mode: Any = "overwrite",
) -> None:
    """Commit rows as one file, as a stage would."""
    sink = FileSink(lake.storage, table, partition)
    sink.write_rows(rows)
    lake.commit(table, sink.close(), attempt=attempt, partition=partition, mode=mode)
