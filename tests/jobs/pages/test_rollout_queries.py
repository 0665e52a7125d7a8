"""Tests of a rollout's page: queries with the neighbours of both models, their photos and marks."""

from pathlib import Path

from jobs.pages.rollout_queries import ONLY_NEW, ONLY_OLD, SHOWN, make_query_cards
from tests.jobs.pages.page_parts import EVIL, FragmentReader
from tests.jobs.pages.rollout_page import COUNTS, draw_rollout, make_context, make_row


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
    page = FragmentReader(draw_rollout(comparison, cards))
    page.check()
    assert page.texts.count(EVIL) == 3 and page.count("script") == 0
    assert {"only old", "only new", "Old model", "New model"} <= set(page.texts)
    assert page.count("img") == 1 + 2 + 3 + 1 + SHOWN
    assert all(uri.startswith("data:") for uri in page.list_values("src"))


def test_a_catalogue_too_small_for_a_comparison_has_no_queries(tmp_path: Path, make_settings, photo) -> None:
    assert make_query_cards(make_context(tmp_path, make_settings, photo), {}) == {}
