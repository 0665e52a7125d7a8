"""Makes the page of a rollout, for tests that read or open it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from jobs.lake.store import open_lake
from jobs.pages.page import render_page
from jobs.state.run_context import RunContext
from tests.jobs.pages.page_parts import EVIL
from tests.jobs.serving_shop import commit_rows

DATE = "2026-01-02"
COUNTS = {
    "k": 10,
    "overlap": 0.8,
    "overlap_p10": 0.5,
    "first": 0.9,
    "queries": 12,
    "sample": 12,
    "same_category": [0.9, 0.8],
}


def make_row(number: int, old: list[int], new: list[int], title: str = EVIL) -> dict[str, Any]:
    def name(rows: list[int]) -> list[dict[str, Any]]:
        return [{"product_id": f"p{row}", "title": f"Cup {row}", "score": 1 - row / 100} for row in rows]

    return {"product_id": f"p{number}", "title": title, "overlap": 0.5, "first": name(old), "second": name(new)}


def make_context(folder: Path, make_settings: Callable[..., Any], photo: Callable[..., bytes]) -> RunContext:
    """Return a context without Spark whose lake has twelve products; the photo of p2 is absent."""
    for row in range(12):
        if row != 2:
            (folder / f"{row}.jpg").write_bytes(photo(row))
    settings = make_settings(allowed_roots=(str(folder),))
    context = RunContext(None, open_lake(settings), settings, DATE)  # type: ignore[arg-type]
    photos = [[{"uri": f"file://{folder}/{row}.jpg", "version": "1"}] for row in range(12)]
    products = [{"product_id": f"p{row}", "title": f"Cup {row}", "images": images} for row, images in enumerate(photos)]
    commit_rows(context.lake, "products", products, context.partition, "validate")
    return context


def draw_rollout(comparison: Mapping[str, Any], cards: Mapping[str, Any]) -> str:
    """Return the page of a rollout that is prepared, with hostile text as its reason.

    Args:
        comparison: what `jobs.operations.compare` found.
        cards: what `jobs.pages.rollout_queries.make_query_cards` made of it.
    """
    model = SimpleNamespace(model_version="b" * 64, collection="moon_new", uri="/checkpoints/new")
    return render_page(
        "rollout.html.j2",
        found=comparison,
        queries=cards,
        alias="products",
        prepared=SimpleNamespace(date=DATE, rows={"served": 12, "ready": 12, "missing": 0}),
        rollout=SimpleNamespace(served="moon_old", reason=EVIL, model=model),
    )
