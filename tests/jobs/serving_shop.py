"""A shop without a model: its nights are validated, planned and "encoded" in the lake, ready for the serving stages.

Everything is the real thing, except that a product's vector is drawn from its content hash.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from datetime import date as Date
from operator import itemgetter
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import jobs.serving.collection
from jobs.lake.store import Lake
from jobs.lake.writing import FileSink
from jobs.milvus.client import connect, scan
from jobs.state.changes import CHANGED, DELETED, ENCODED_OPS, NEW, OPS, REUSE
from jobs.state.ledger import UPSERT, highwater, ledger_version
from jobs.state.model_registry import ModelChoice, register_model
from jobs.state.plan_record import Plan, commit_header, required_plan
from jobs.state.run_context import Night
from schemas.collection import collection_name
from schemas.product import canonicalise_product, compute_content_hash

DIMENSION = 16
VERSION = "ab12" * 16


@dataclass(frozen=True)
class Item:
    """A product as the shop delivers it tonight."""

    id: str
    title: str = "Red mug"
    category: tuple[str, ...] = ("Kitchen", "Mugs")
    attributes: Mapping[str, str] = field(default_factory=lambda: {"Brand": "Nordlys", "colour": "red"})

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


def items(count: int, first: int = 0, **fields: Any) -> list[Item]:
    """Return ``count`` products with ids p000 … and a title each."""
    return [Item(f"p{index:03d}", **{"title": f"Mug {index}", **fields}) for index in range(first, first + count)]


def vector_of(item_hash: str) -> NDArray[np.float32]:
    """Return the unit vector that "the model" makes of a content."""
    draw = np.random.default_rng(int(item_hash[:15], 16)).normal(size=DIMENSION)
    return (draw / np.linalg.norm(draw)).astype(np.float32)


class Shop:
    """Nights on one lake and one Milvus.

    Args:
        make_night: the fixture.
        monkeypatch: replaces what would read a checkpoint's files.
    """

    def __init__(self, make_night: Callable[..., Night], monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
        self.model = ModelChoice(
            uri="/checkpoints/test",
            model_version=VERSION,
            detector_version="d" * 16,
            dimension=DIMENSION,
            max_images=3,
            collection=collection_name(VERSION),
        )
        self._make_night, self._options = make_night, options
        monkeypatch.setattr(
            jobs.serving.collection,
            "registered_model",
            lambda lake, settings, version, name: replace(self.model, model_version=version, collection=name),
        )
        monkeypatch.setattr("jobs.serving.collection.compute_preprocessing_digest", lambda path: "0" * 64)

    def night(self, date: str, **options: Any) -> Night:
        return self._make_night(date, **{**self._options, **options})

    def planned(
        self,
        date: str,
        delivered: Iterable[Item],
        *,
        refused: Iterable[str] = (),
        unreadable: Iterable[str] = (),
        partial: Iterable[str] = (),
        **options: Any,
    ) -> Night:
        """Return a night that is ready for upsert.

        Args:
            date: ISO date.
            delivered: the good rows.
            refused: ids whose rows validation refused.
            unreadable: ids that encode refuses.
            partial: ids whose vector lacks an image.
            options: settings.
        """
        night = self.night(date, **options)
        rows = list(delivered)
        self._deliver(night, rows, list(refused))
        self._plan(night, rows, set(refused))
        self._encode(night, rows, set(unreadable), set(partial))
        return night

    def _deliver(self, night: Night, rows: list[Item], refused: list[str]) -> None:
        day, number = night.partition, f"{datetime.now(UTC).timestamp()}"
        good = [
            {
                "product_id": item.id,
                "source_row": row,
                "title": item.title,
                "category": list(item.category),
                "attributes": list(item.attributes.items()),
                "content_hash": item.content_hash,
            }
            for row, item in enumerate(rows)
        ]
        bad = [
            {"source_row": len(rows) + row, "product_id": name, "reason": "empty_title", "detail": "no title"}
            for row, name in enumerate(refused)
        ]
        snapshot = [{"source_row": row["source_row"], "product_id": row["product_id"]} for row in (*good, *bad)]
        write(night.lake, "snapshots", snapshot, day, f"pull/{number}")
        write(night.lake, "quarantine", bad, {**day, "stage": "validate"}, f"validate/{number}")
        write(night.lake, "products", good, day, f"validate/{number}")

    def _plan(self, night: Night, rows: list[Item], refused: set[str]) -> None:
        """Freeze what `jobs.stages.plan` would, compared in Python: its Spark jobs have tests of their own."""
        register_model(night.lake, self.model)
        draft = self._draft(night)
        if night.lake.done("plans", f"plan/{draft.run_id}"):
            return
        held, made = self.ledger(night), self._vectors(night)
        changes = []
        for row, item in enumerate(rows):
            served = held.get(item.id)
            if served and served[0] == item.content_hash and not served[2]:
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
        write(night.lake, "changes", changes, draft.partition, f"plan/{draft.run_id}")
        commit_header(night.lake, replace(draft, counts=counts), f"plan/{draft.run_id}")

    def _draft(self, night: Night) -> Plan:
        model, lake = self.model, night.lake
        ledger, latest = ledger_version(lake, model.collection), highwater(lake, model.collection)
        delivered = lake.transaction_version("products", f"scope:date={night.date}")
        return Plan(
            date=night.date,
            run_id=f"{night.date}-{delivered}-{model.model_version[:4]}-{ledger}",
            model_version=model.model_version,
            detector_version=model.detector_version,
            collection=model.collection,
            ledger_version=ledger,
            serve=latest is None or Date.fromisoformat(night.date) >= latest,
        )

    def _vectors(self, night: Night) -> set[tuple[str, str]]:
        rows = night.lake.read_arrow("vectors", {"model_version": self.model.model_version}).to_pylist()
        return {(row["product_id"], row["content_hash"]) for row in rows if not row["partial"]}

    def _encode(self, night: Night, rows: list[Item], unreadable: set[str], partial: set[str]) -> None:
        plan = self.plan(night)
        changes = night.lake.read_arrow("changes", plan.partition).to_pylist()
        wanted = {row["product_id"]: row["source_row"] for row in changes if row["op"] in ENCODED_OPS}
        vectors = [
            {
                "product_id": item.id,
                "content_hash": item.content_hash,
                "vector": vector_of(item.content_hash),
                "partial": item.id in partial,
            }
            for item in rows
            if item.id in wanted and item.id not in unreadable
        ]
        bad = [
            {"source_row": wanted[name], "product_id": name, "reason": "no_readable_image", "detail": "none of 1"}
            for name in sorted(unreadable & wanted.keys())
        ]
        attempt, of_encode = f"encode/{plan.run_id}", {**night.partition, "stage": "encode"}
        partition = {"model_version": plan.model_version, "date": night.date}
        write(night.lake, "quarantine", bad, of_encode, attempt)
        write(night.lake, "vectors", vectors, partition, attempt, mode="append")

    def plan(self, night: Night) -> Plan:
        return required_plan(night.lake, night.date)

    def use_model(self, **fields: Any) -> None:
        self.model = replace(self.model, **fields)

    def held(self, night: Night) -> dict[str, tuple[str, str, str, tuple[float, ...]]]:
        """Return what Milvus holds: id → (content hash, snapshot date, title, vector)."""
        fields = ["content_hash", "snapshot_date", "title", "vector"]
        with connect(night.settings) as client:
            client.load_collection(self.model.collection)
            pages = list(scan(client, self.model.collection, fields, page=100))
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

    def ledger(self, night: Night) -> dict[str, tuple[str, str, bool]]:
        """Return what the ledger says: id → (content hash, snapshot date, partial)."""
        rows = night.lake.read_arrow("served", {"collection": self.model.collection}).to_pylist()
        latest = {row["product_id"]: row for row in sorted(rows, key=itemgetter("epoch"))}
        return {
            name: (row["content_hash"], row["snapshot_date"], row["partial"])
            for name, row in latest.items()
            if row["op"] == UPSERT
        }


def expected(rows: Iterable[Item], date: str) -> dict[str, tuple[str, str, str, tuple[float, ...]]]:
    """Return what Milvus must hold of products that one night served."""
    return {
        item.id: (item.content_hash, date, item.title, tuple(vector_of(item.content_hash).tolist())) for item in rows
    }


def write(
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
