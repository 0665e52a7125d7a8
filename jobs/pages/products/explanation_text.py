"""Says in one sentence where a product is: served and since when, or why not."""

from collections.abc import Mapping
from typing import Any

from jobs.serving.explain import Explanation
from jobs.serving.row_faults import FAULTS, MISSING, ORPHANED
from jobs.state.changes import CHANGED, DELETED, NEW, PAYLOAD
from jobs.state.ledger import DELETE
from jobs.state.product_history import (
    ABSENT,
    HELD_BACK,
    KEPT,
    NOT_PLANNED,
    REFUSED,
    REUSED,
    UNCHANGED,
    ProductDate,
)
from schemas.tables import LEFT_OUT, MERGED

ACCEPTED = (NEW, CHANGED, REUSED, PAYLOAD, UNCHANGED)
"""Fates of a row that is to be served."""

_ABSENCES = {
    ABSENT: "the delivery lacks it",
    LEFT_OUT: "the mapping's `where` leaves it out",
    MERGED: "its rows are part of another product",
}


def describe_place(found: Explanation) -> str:
    """Return the sentence that answers where a product is."""
    name, last = repr(found.product_id), found.last
    if not found.collection:
        return f"{name}: {_describe_date(last) if last else _describe_unknown(found)}; what is served is not known"
    if found.faults:
        return f"{name} {_describe_damage(found)}. {found.remedy}"
    if found.wanted:
        return f"{name}: {_describe_served(last, found.wanted)}"
    return f"{name}: {_describe_unserved(found, last) if last else _describe_unknown(found)}"


def describe_fate(one: ProductDate) -> str:
    """Return fate and reason of a product on a date, for a cell of a table."""
    if one.fate == DELETED:
        return f"{DELETED}: {_ABSENCES[one.reason]}"
    if one.fate in _ABSENCES:
        return f"{one.fate}: {_ABSENCES[one.fate]}" if one.fate != ABSENT else "absent from the delivery"
    return f"{one.fate}: {_describe_reason(one)}" if one.reason else one.fate


def _describe_damage(found: Explanation) -> str:
    """Return what is wrong with a product's row."""
    date = found.wanted["snapshot_date"] if found.wanted else ""
    if MISSING in found.faults:
        return f"is missing: {found.collection} has no row of it, and by the ledger that of {date} is served"
    if ORPHANED in found.faults:
        return f"is orphaned: {found.collection} has a row of it, and {_describe_lost(found)}"
    meanings = ", and ".join(_describe_fault(found, fault) for fault in found.faults)
    return f"is served since {date}, but its row is wrong: {meanings}"


def _describe_fault(found: Explanation, fault: str) -> str:
    """Return a fault of the row with the numbers that show it."""
    held, wanted = found.held, found.wanted
    shown = ""
    if held and wanted and held.fields["epoch"] != wanted["epoch"] and fault in ("stale", "unrecorded"):
        shown = f" (epoch {held.fields['epoch']}, by the ledger {wanted['epoch']})"
    elif held and fault == "foreign_model":
        shown = f" ({held.fields['model_version'][:12]} and not {found.model_version[:12]})"
    elif held and fault == "wrong_norm":
        shown = f" ({held.norm:.4f})"
    elif held and fault == "doubled":
        shown = f" ({held.rows} rows)"
    return f"{fault.replace('_', ' ')}, {FAULTS[fault]}{shown}"


def _describe_served(last: ProductDate | None, wanted: Mapping[str, Any]) -> str:
    """Return what became of the latest delivery of a product that is served as the ledger says."""
    since, stays = wanted["snapshot_date"], f"its vector of {wanted['snapshot_date']} is served"
    if last is None:
        return f"served since {since}; the lake keeps no date of it any more"
    if last.fate in ACCEPTED and (last.is_served or last.fate == UNCHANGED):
        lacking = ", without the photos that could not be read" if wanted["partial"] else ""
        again = f"; delivered unchanged on {last.date}" if last.fate == UNCHANGED else ""
        return f"served since {since}{lacking}{again}"
    return f"{_describe_date(last)}; {stays}"


def _describe_date(one: ProductDate) -> str:
    """Return what a date did with a product."""
    pending = "" if one.is_served else f" (that run: {one.outcome})"
    if one.fate in (REFUSED, KEPT):
        return f"{one.fate} on {one.date}: {_describe_reason(one)}"
    if one.fate == HELD_BACK:
        return (
            f"absent from the delivery of {one.date}, and its delete is held back because a delivery had rows that "
            "cannot be read"
        )
    if one.fate == DELETED:
        done = f"deleted on {one.date}" if one.is_served else f"to be deleted by the run of {one.date}"
        return f"{done}, because {_ABSENCES[one.reason]}{pending}"
    if one.fate in _ABSENCES:
        return f"not a product on {one.date}: {_ABSENCES[one.fate]}"
    return f"{'delivered' if one.fate == NOT_PLANNED else one.fate} on {one.date}{pending}"


def _describe_reason(one: ProductDate) -> str:
    """Return reason code and cause; the cause of a rule of rows begins with its code."""
    return f"{one.reason}: {one.detail.removeprefix(f'{one.reason}: ')}" if one.detail else one.reason


def _describe_lost(found: Explanation) -> str:
    """Return what the ledger says of a product that it does not have."""
    rows = [row for row in found.history.ledger if row["collection"] == found.collection]
    if rows and rows[-1]["op"] == DELETE:
        return f"the ledger says that it was deleted on {rows[-1]['snapshot_date']}"
    return "the ledger never had one: another program wrote it, or a killed run"


def _describe_unserved(found: Explanation, last: ProductDate) -> str:
    """Return why a product that the lake knows is not served."""
    rows = [row for row in found.history.ledger if row["collection"] == found.collection]
    deleted = rows[-1]["snapshot_date"] if rows else None
    on_day = next((one for one in found.history.dates if one.date == deleted), None)
    if deleted is None:
        elsewhere = next((row for row in reversed(found.history.ledger) if row["op"] != DELETE), None)
        if elsewhere:
            return f"not served by {found.collection}: the ledger has it in {elsewhere['collection']}"
        seen = next(one for one in reversed(found.history.dates) if one.fate != ABSENT)
        since = f", and absent from the delivery of {last.date}" if last.fate == ABSENT else ""
        return f"not served: {_describe_date(seen)}{since}; nothing of it was served before"
    cause = f", because {_ABSENCES[on_day.reason]}" if on_day and on_day.fate == DELETED else ""
    gone = f"deleted on {deleted}{cause}"
    return f"not served: {gone}" if last.fate in (ABSENT, DELETED) else f"{_describe_date(last)}; it was {gone}"


def _describe_unknown(found: Explanation) -> str:
    """Return what is known of a product that no date of the lake delivered."""
    if rows := found.history.ledger:
        verb = "deleted" if rows[-1]["op"] == DELETE else "served"
        return (
            f"{verb} on {rows[-1]['snapshot_date']} in {rows[-1]['collection']}; the lake keeps no date of it any more"
        )
    likes = f"; ids like it: {', '.join(map(repr, found.like_ids))}" if found.like_ids else ""
    return f"never delivered, as far as the lake goes back (latest date {found.history.last_date}){likes}"
