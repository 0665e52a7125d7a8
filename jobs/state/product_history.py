"""Reads what the lake knows about one product, date by date: delivered rows, changes of content, fates, runs.

Only rows of the product are read (`jobs.lake.lookup`), without Spark, and nothing is created. A delivered row is in
`products`, `quarantine` or `row_roles`; `snapshots` is read only for dates that were not validated.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from jobs.lake.lookup import find_rows
from jobs.lake.store import Lake
from jobs.state.changes import DELETED, HELD, REUSE
from jobs.state.plan_record import Plan, read_plans
from jobs.state.run_context import NIGHTLY
from schemas.tables import LEFT_OUT, MERGED
from validation.reasons import Reason

UNCHANGED, REUSED, KEPT, REFUSED, HELD_BACK = "unchanged", "reused", "kept", "refused", "held back"
ABSENT, NOT_PLANNED = "absent", "not planned"
"""Fates besides the values of ``changes.op`` and of ``row_roles.role``: of a date that did not deliver the product, and
of one whose run stopped before its plan."""

_FATES = {REUSE: REUSED, HELD: HELD_BACK}


@dataclass(frozen=True)
class ContentChange:
    """A part of a product that differs from the product's row of the date before.

    Attributes:
        part: title, description, category, group, ``attribute NAME`` or ``photo 2``.
        before, after: texts of both; empty where the part was not there.
    """

    part: str
    before: str
    after: str


@dataclass(frozen=True)
class ProductDate:
    """What one snapshot date did with a product.

    Attributes:
        date: ISO snapshot date.
        source_rows: numbers of its delivered rows, from 0.
        fate: new, changed, unchanged, reused, kept, refused, deleted, held back, merged, left_out, absent, not planned.
        reason, detail: reason code and cause of a refusal or of a product kept; of a delete merged, left_out or absent.
        product: its row of `products`; None where there is none.
        changes: parts that differ from its row before.
        image_refusals: rows of `quarantine` about single photos.
        run_id, model_version: plan of the date; empty where there is none.
        outcome: ``served``, ``not served``, or the stage that failed with its error.
        is_served: whether the ledger has the plan.
    """

    date: str
    source_rows: list[int]
    fate: str
    reason: str = ""
    detail: str = ""
    product: dict[str, Any] | None = None
    changes: list[ContentChange] = field(default_factory=list)
    image_refusals: list[dict[str, Any]] = field(default_factory=list)
    run_id: str = ""
    model_version: str = ""
    detector_version: str = ""
    outcome: str = ""
    is_served: bool = False

    @property
    def content_hash(self) -> str:
        """The hash of its content; empty where it is no valid product."""
        return str(self.product["content_hash"] or "") if self.product else ""

    @property
    def images(self) -> list[dict[str, str | None]]:
        """Address and version of its photos."""
        return list(self.product["images"] or []) if self.product else []

    def as_dict(self) -> dict[str, Any]:
        """Return the fields, for JSON."""
        plain = {name: value for name, value in asdict(self).items() if name != "product"}
        title = self.product["title"] if self.product else None
        return {**plain, "content_hash": self.content_hash, "title": title, "images": self.images}


@dataclass(frozen=True)
class ProductHistory:
    """What the lake knows about one product.

    Attributes:
        product_id: its id.
        dates: the dates of the lake since it was first delivered, the earliest first.
        ledger: its rows of `served`, by epoch.
        vectors: its rows of `vectors`, by date.
        last_date: latest validated date of the lake; None for an empty lake.
    """

    product_id: str
    dates: list[ProductDate]
    ledger: list[dict[str, Any]]
    vectors: list[dict[str, Any]]
    last_date: str | None

    def find_product(self, content_hash: str) -> dict[str, Any] | None:
        """Return its latest row of `products` with a content; None where the lake has none any more."""
        rows = (one.product for one in reversed(self.dates) if one.product and one.content_hash == content_hash)
        return next(rows, None)


@dataclass(frozen=True)
class _DateRows:
    """Rows of the lake about one product and one date.

    Attributes:
        date: ISO date.
        product: its row of `products`.
        quarantine, roles: its rows of `quarantine` (nightly plans) and `row_roles`.
        waiting: its rows of `snapshots`, of a date that was not validated.
        plan: the date's current plan.
        op: its fate in that plan; None where the plan does not change it.
        is_served: whether the ledger has the plan.
        runs: rows of `runs` of the date.
        is_validated: whether the date has products.
    """

    date: str
    product: dict[str, Any] | None
    quarantine: list[dict[str, Any]]
    roles: list[dict[str, Any]]
    waiting: list[dict[str, Any]]
    plan: Plan | None
    op: str | None
    is_served: bool
    runs: list[dict[str, Any]]
    is_validated: bool

    @property
    def refused(self) -> list[dict[str, Any]]:
        """Rows of `quarantine` about the whole row, not about a photo."""
        return [row for row in self.quarantine if row["image_index"] is None]


def read_product_history(lake: Lake, product_id: str) -> ProductHistory:
    """Return what the lake knows about a product, also where that is nothing."""
    found: list[ProductDate] = []
    before: dict[str, Any] | None = None
    rows = _read_date_rows(lake, product_id)
    for one in rows:
        described = _describe_date(one, _compare_products(before, one.product))
        before = one.product or before
        if found or described.fate != ABSENT:
            found.append(described)
    ledger = sorted(find_rows(lake, "served", [product_id]), key=lambda row: (row["epoch"], row["snapshot_date"]))
    vectors = sorted(find_rows(lake, "vectors", [product_id]), key=lambda row: (row["date"], row["model_version"]))
    last_date = max((one.date for one in rows if one.is_validated), default=None)
    return ProductHistory(product_id, found, ledger, vectors, last_date)


def _read_date_rows(lake: Lake, product_id: str) -> list[_DateRows]:
    """Return the rows about a product of every date of the lake, the earliest first."""
    keys = [product_id]
    validated, delivered = _list_dates(lake, "products"), _list_dates(lake, "snapshots")
    products = {row["date"]: row for row in find_rows(lake, "products", keys)}
    ops = {row["run_id"]: row["op"] for row in find_rows(lake, "changes", keys)}
    quarantine = find_rows(lake, "quarantine", keys, by="product_id")
    refusals = _group(row for row in quarantine if row["purpose"] == NIGHTLY)
    roles = _group(find_rows(lake, "row_roles", keys, by="product_id"))
    names = ["source_row", "date"]
    waiting = _group(
        row
        for date in delivered - validated
        for row in find_rows(lake, "snapshots", keys, by="product_id", columns=names, partition={"date": date})
    )
    plans, runs = _read_current_plans(lake), _read_runs(lake)
    served = lake.open("served") if lake.exists("served") else None

    def is_served(plan: Plan | None) -> bool:
        return bool(plan and served and served.transaction_version(f"attempt:{plan.served_attempt}"))

    return [
        _DateRows(
            date=date,
            product=products.get(date),
            quarantine=refusals[date],
            roles=roles[date],
            waiting=waiting[date],
            plan=plans.get(date),
            op=ops.get(plans[date].run_id) if date in plans else None,
            is_served=is_served(plans.get(date)),
            runs=runs[date],
            is_validated=date in validated,
        )
        for date in sorted(validated | delivered)
    ]


def _describe_date(rows: _DateRows, changed: list[ContentChange]) -> ProductDate:
    """Return the record of one date."""
    numbers = {row["source_row"] for row in (*rows.refused, *rows.roles, *rows.waiting)}
    fate, cause = _find_fate(rows)
    plan = rows.plan
    return ProductDate(
        date=rows.date,
        source_rows=sorted(numbers | ({rows.product["source_row"]} if rows.product else set())),
        fate=fate,
        reason=cause["reason"] if cause else "",
        detail=(cause["detail"] or "") if cause else "",
        product=rows.product,
        changes=changed,
        image_refusals=[row for row in rows.quarantine if row["image_index"] is not None],
        run_id=plan.run_id if plan else "",
        model_version=plan.model_version if plan else "",
        detector_version=plan.detector_version if plan else "",
        outcome=_describe_outcome(rows),
        is_served=rows.is_served,
    )


def _find_fate(rows: _DateRows) -> tuple[str, dict[str, Any] | None]:
    """Return the fate of a product on a date, and the row of `quarantine` that says why."""
    kept = next((row for row in rows.refused if row["reason"] == Reason.PRODUCT_KEPT), None)
    unread = next((row for row in rows.refused if row["stage"] != "validate"), None)
    if kept or unread or (rows.refused and rows.product is None):
        return (KEPT, kept) if kept else (REFUSED, unread or rows.refused[0])
    if not rows.is_validated or rows.plan is None:
        return (NOT_PLANNED if rows.waiting or rows.product else ABSENT), None
    role = next((one for one in (MERGED, LEFT_OUT) if any(row["role"] == one for row in rows.roles)), ABSENT)
    if rows.op is not None:
        return _FATES.get(rows.op, rows.op), {"reason": role, "detail": ""} if rows.op == DELETED else None
    return UNCHANGED if rows.product else role, None


def _describe_outcome(rows: _DateRows) -> str:
    """Return how the run of a date ended."""
    if rows.is_served:
        return "served"
    plan = rows.plan
    ours = [row for row in rows.runs if plan is None or row["run_id"] in ("", plan.run_id)]
    last = max(ours, key=lambda row: row["finished_at"], default=None)
    if last is not None and last["outcome"] == "failed":
        return f"stopped in {last['stage']}: {dict(last['details']).get('error', 'no cause was recorded')}"
    if plan is not None and not plan.serve:
        return "not served: the collection served a later date already"
    return "not served"


def _compare_products(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> list[ContentChange]:
    """Return the parts that differ between two rows of `products` of one product; none where either is missing."""
    if before is None or after is None:
        return []
    old, new = _list_parts(before), _list_parts(after)
    found = (ContentChange(part, old.get(part, ""), new.get(part, "")) for part in {**old, **new})
    return [change for change in found if change.before != change.after]


def _list_parts(product: Mapping[str, Any]) -> dict[str, str]:
    """Return the parts of a product as texts, by name."""
    return {
        "title": product["title"] or "",
        "description": product["description"] or "",
        "category": " / ".join(product["category"] or ()),
        "group": product["group_id"] or product["product_id"],
        **{f"attribute {name}": value for name, value in product["attributes"] or ()},
        **{f"photo {number}": _describe_image(image) for number, image in enumerate(product["images"] or (), 1)},
    }


def _describe_image(image: Mapping[str, str | None]) -> str:
    return f"{image['uri']} ({image['version']})" if image["version"] else str(image["uri"])


def _list_dates(lake: Lake, name: str) -> set[str]:
    return {row["date"] for row in lake.open(name).partitions()} if lake.exists(name) else set()


def _group(rows: Iterable[dict[str, Any]]) -> defaultdict[str, list[dict[str, Any]]]:
    grouped = defaultdict(list)
    for row in rows:
        grouped[row["date"]].append(row)
    return grouped


def _read_current_plans(lake: Lake) -> dict[str, Plan]:
    """Return the nightly plan of each date that was frozen last."""
    plans = read_plans(lake) if lake.exists("plans") else []
    return {plan.date: plan for plan in sorted(plans, key=lambda plan: plan.planned_at) if not plan.is_out_of_band}


def _read_runs(lake: Lake) -> defaultdict[str, list[dict[str, Any]]]:
    return _group(lake.read_arrow("runs").to_pylist() if lake.exists("runs") else [])
