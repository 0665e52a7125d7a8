"""Tests of a rollout's page: queries with the neighbours of both models, their photos and marks."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from jobs.lake.store import open_lake
from jobs.pages.page import render_page
from jobs.pages.rollout_queries import ONLY_NEW, ONLY_OLD, SHOWN, make_query_cards
from jobs.state.run_context import RunContext
from tests.jobs.pages.page_parts import EVIL, FragmentReader
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


def test_queries_are_shown_with_both_models(tmp_path: Path, make_settings, photo) -> None:
    context = make_context(tmp_path, make_settings, photo)
    comparison = {
        **COUNTS,
        "changed": [make_row(0, [1, 2, 3], [3, 4, 1])],
        "typical": [make_row(5, [*range(6, 12), 0], [])],
    }
    cards = make_query_cards(context, comparison)
    first = cards["Changed most"][0]
    assert [one.near.mark for one in first.old] == ["", ONLY_OLD, ""]
    assert [one.near.mark for one in first.new] == ["", ONLY_NEW, ""]
    assert [one.thumbnail is None for one in first.old] == [False, True, False]
    assert len(cards["Changed as much as most"][0].old) == SHOWN
    page = FragmentReader(
        render_page(
            "rollout.html.j2", found=comparison, queries=cards, alias="products",
            prepared=SimpleNamespace(date=DATE, rows={"served": 12, "ready": 12, "missing": 0}),
            rollout=SimpleNamespace(
                served="moon_old", reason=EVIL,
                model=SimpleNamespace(model_version="b" * 64, collection="moon_new", uri="/checkpoints/new"),
            ),
        )
    )  # fmt: skip
    page.check()
    assert page.texts.count(EVIL) == 3 and page.count("script") == 0
    assert {"only old", "only new", "Old model", "New model"} <= set(page.texts)
    assert page.count("img") == 1 + 2 + 3 + 1 + SHOWN
    assert all(uri.startswith("data:") for uri in page.list_values("src"))


def test_a_catalogue_too_small_for_a_comparison_has_no_queries(tmp_path: Path, make_settings, photo) -> None:
    assert make_query_cards(make_context(tmp_path, make_settings, photo), {}) == {}
