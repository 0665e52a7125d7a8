"""Reads the tables of a run for its page, without Spark: refusals, changes by category, and products by name."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jobs.lake.query import query_lake
from jobs.lake.store import Lake
from jobs.state.changes import CHANGED, DELETED, HELD, NEW
from jobs.state.run_context import NIGHTLY
from validation.reasons import Reason

MAX_NAMED = 50
"""Products of each list that a page names."""

MAX_CATEGORIES = 40
NO_CATEGORY = "(none)"


@dataclass(frozen=True)
class ReasonRow:
    """One line of the table of reasons: its count, and the first and the last row concerned."""

    reason: str
    description: str
    stage: str
    what: str
    rows: int
    examples: list[str]


@dataclass(frozen=True)
class CategoryChanges:
    """Products of a top category that are new, changed or deleted in a run."""

    category: str
    new: int
    changed: int
    deleted: int


@dataclass(frozen=True)
class NamedProduct:
    """A product by id and title (empty where no title is known), and why it is in the list."""

    product_id: str
    title: str
    why: str = ""


@dataclass(frozen=True)
class ProductList:
    """Products that a run deleted, kept or left as they were.

    Attributes:
        name: what happened to them.
        meaning: what that means for readers.
        total: number of products.
        products: the first `MAX_NAMED` of them.
    """

    name: str
    meaning: str
    total: int
    products: list[NamedProduct]


def read_reason_rows(lake: Lake, date: str) -> list[ReasonRow]:
    """Return the reasons for which rows and images of a date were refused, the most frequent first."""
    sql = """
        SELECT reason, stage, image_index IS NULL AS is_row, count(*) AS rows,
               first_value(source_row || ' ' || coalesce(product_id, '') || ': ' || coalesce(detail, '')
                           ORDER BY source_row) AS first,
               last_value(source_row || ' ' || coalesce(product_id, '') || ': ' || coalesce(detail, '')
                          ORDER BY source_row) AS last
        FROM quarantine WHERE date = $date AND purpose = $purpose
        GROUP BY reason, stage, image_index IS NULL ORDER BY rows DESC, reason"""
    return [
        ReasonRow(
            reason=row["reason"],
            description=Reason[row["reason"].upper()].description,
            stage=row["stage"],
            what=_name_refusal(row["reason"], row["is_row"]),
            rows=row["rows"],
            examples=[f"row {text[:300]}" for text in dict.fromkeys((row["first"], row["last"]))],
        )
        for row in query_lake(lake, sql, ["quarantine"], date=date, purpose=NIGHTLY)
    ]


def read_category_changes(lake: Lake, date: str, run_id: str) -> list[CategoryChanges]:
    """Return the changes of a run by top category, the most changed first; at most `MAX_CATEGORIES` and the rest.

    The category of a deleted product is that of the latest date before.
    """
    found: dict[str, dict[str, int]] = {}
    before = find_earlier_date(lake, date)
    for day, ops in ((date, (NEW, CHANGED)), (before, (DELETED,))):
        if not (day and run_id):
            continue
        sql = """
            SELECT coalesce(category[1], $none) AS root, op, count(*) AS rows
            FROM changes JOIN products ON changes.product_id = products.product_id
            WHERE run_id = $run_id AND date = $date
              AND op IN ($ops)
            GROUP BY 1, 2"""
        for row in query_lake(lake, sql, ["changes", "products"], run_id=run_id, date=day, ops=ops, none=NO_CATEGORY):
            found.setdefault(row["root"], {})[row["op"]] = row["rows"]
    rows = [CategoryChanges(root, *(ops.get(op, 0) for op in (NEW, CHANGED, DELETED))) for root, ops in found.items()]
    rows.sort(key=lambda row: (-(row.new + row.changed + row.deleted), row.category))
    return rows[:MAX_CATEGORIES] + _sum_rest(rows[MAX_CATEGORIES:])


def _sum_rest(rows: list[CategoryChanges]) -> list[CategoryChanges]:
    if not rows:
        return []
    sums = (sum(getattr(row, name) for row in rows) for name in ("new", "changed", "deleted"))
    return [CategoryChanges(f"{len(rows):,} more categories", *sums)]


def read_product_lists(
    lake: Lake, date: str, run_id: str, collection: str, counts: Mapping[str, int]
) -> list[ProductList]:
    """Return the products that a run deleted, kept, held and left stale, by name; lists without products are absent.

    Args:
        lake: the lake.
        date, run_id, collection: of the run's plan.
        counts: numbers of the run, which are exact where a list is cut.
    """
    if not run_id:
        return []
    before = find_earlier_date(lake, date)
    deleted, held = (_read_changes(lake, run_id, op) for op in (DELETED, HELD))
    kept, stale = _read_kept(lake, date), _read_stale(lake, date, collection)
    lists = [
        ("Deleted", "the delivery lacks them; readers no longer find them", deleted, before),
        ("Delete held", "the delivery lacks them, and they stay served", held, before),
        ("Kept", "their photos cannot be reached; the vector from before is served", kept, date),
        ("Stale", "their row was refused; the vector from before is served", stale, before),
    ]
    found = []
    for name, meaning, rows, day in lists:
        titles = _read_titles(lake, day, [row["product_id"] for row in rows])
        products = [NamedProduct(row["product_id"], titles.get(row["product_id"], ""), row["why"]) for row in rows]
        total = counts.get({"Deleted": "deleted", "Delete held": "held", "Kept": "kept"}.get(name, ""), len(rows))
        if products:
            found.append(ProductList(name, meaning, max(total, len(products)), products))
    return found


def find_earlier_date(lake: Lake, date: str) -> str:
    """Return the latest date before a date that has products in the lake; empty if there is none."""
    if not lake.exists("products"):
        return ""
    return max((one["date"] for one in lake.open("products").partitions() if one["date"] < date), default="")


def _read_changes(lake: Lake, run_id: str, op: str) -> list[dict[str, Any]]:
    sql = """
        SELECT product_id, '' AS why FROM changes
        WHERE run_id = $run_id AND op = $op ORDER BY product_id LIMIT $most"""
    return query_lake(lake, sql, ["changes"], run_id=run_id, op=op, most=MAX_NAMED)


def _read_kept(lake: Lake, date: str) -> list[dict[str, Any]]:
    sql = """
        SELECT product_id, first_value(coalesce(detail, '') ORDER BY source_row) AS why FROM quarantine
        WHERE date = $date AND purpose = $purpose
          AND reason = $kept AND product_id IS NOT NULL
        GROUP BY product_id ORDER BY product_id LIMIT $most"""
    return query_lake(lake, sql, ["quarantine"], date=date, purpose=NIGHTLY, kept=Reason.PRODUCT_KEPT, most=MAX_NAMED)


def _read_stale(lake: Lake, date: str, collection: str) -> list[dict[str, Any]]:
    """Return products whose row was refused and of which the collection holds an earlier date's row."""
    sql = """
        WITH refused AS (
            SELECT product_id, first_value(reason ORDER BY source_row) AS why FROM quarantine
            WHERE date = $date AND purpose = $purpose AND image_index IS NULL
              AND reason <> $kept AND product_id IS NOT NULL
            GROUP BY product_id
        ), held AS (
            SELECT served.product_id AS product_id, last_value(op ORDER BY epoch) AS op,
                   last_value(snapshot_date ORDER BY epoch) AS day
            FROM served JOIN refused ON served.product_id = refused.product_id
            WHERE collection = $collection GROUP BY served.product_id
        )
        SELECT held.product_id AS product_id, why || ', served as of ' || day AS why
        FROM held JOIN refused ON held.product_id = refused.product_id
        WHERE op = 'upsert' AND day < $date ORDER BY product_id LIMIT $most"""
    return query_lake(
        lake, sql, ["quarantine", "served"],
        date=date, purpose=NIGHTLY, kept=Reason.PRODUCT_KEPT, collection=collection, most=MAX_NAMED,
    )  # fmt: skip


def _read_titles(lake: Lake, date: str, ids: list[str]) -> dict[str, str]:
    if not (date and ids):
        return {}
    sql = """
        SELECT product_id, title FROM products
        WHERE date = $date AND product_id IN ($ids)"""
    return {row["product_id"]: row["title"] or "" for row in query_lake(lake, sql, ["products"], date=date, ids=ids)}


def _name_refusal(reason: str, is_row: bool) -> str:
    if reason == Reason.PRODUCT_KEPT:
        return "products kept as they were"
    return "rows refused" if is_row else "images left out"
