"""Writes the data docs: the page with the result of every check of the gate."""

from datetime import UTC, datetime

from jobs.lake.store import Lake
from jobs.pages.page import DATA_DOCS_FOLDER, render_page, write_page
from validation.gate import GateResult


def write_data_docs(lake: Lake, date: str, result: GateResult) -> str:
    """Write the page of a gate into the lake and return its URI.

    Args:
        lake: the lake; every call writes a new page.
        date: ISO date of the snapshot.
        result: outcome of the gate.
    """
    now = datetime.now(UTC)
    page = render_page("data_docs.html.j2", date=date, result=result, checked_at=now, failed=len(result.failures))
    return write_page(lake, f"{DATA_DOCS_FOLDER}/{date}/{now:%Y%m%dT%H%M%S%f}.html", page)
