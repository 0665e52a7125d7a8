"""Hybrid search: the merging of ranks, and whole searches on each kind of Milvus."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.serving.hybrid import MERGED_HITS, NO_WORDS, find_by_words, merge_ranks, split_words
from jobs.serving.search import QueryError, search_products
from jobs.settings import Settings
from tests.two_models import GROUPS, TITLES, TwoModels, serve_two_models

IDS = st.lists(st.text(max_size=3), unique=True, max_size=12)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoModels]:
    with serve_two_models(tmp_path_factory.mktemp("hybrid")) as found:
        yield found


@pytest.fixture
def search(served: TwoModels, make_settings: Callable[..., Settings]) -> Callable[..., list[str]]:
    """Search the Milvus Lite: ``search("red boot", k=3)``."""
    settings = make_settings(milvus=served.uri)

    def find(text: str | None, *, hybrid: bool = True, **options) -> list[str]:
        hits = search_products(settings, text=text, hybrid=hybrid, encoder=served.encoders[0], **options)
        return [hit["product_id"] for hit in hits]

    return find


@given(IDS, IDS)
def test_merged_ranks(by_words: list[str], by_meaning: list[str]) -> None:
    merged = merge_ranks(by_words, by_meaning)
    assert sorted(merged) == sorted({*by_words, *by_meaning})
    if by_words and by_meaning:
        assert merged[0] in by_words, "of two equal sums the one by words leads"
    assert merge_ranks([], by_meaning) == by_meaning and merge_ranks(by_words, []) == by_words
    both = [name for name in by_meaning if name in by_words]
    assert not both or merged.index(both[0]) <= max(by_words.index(both[0]), by_meaning.index(both[0]))


def test_the_order_does_not_depend_on_the_number_of_hits() -> None:
    by_meaning = [f"p{number}" for number in range(3 * MERGED_HITS)]
    by_words = by_meaning[:: MERGED_HITS // 4]
    whole = merge_ranks(by_words, by_meaning)
    fewer = merge_ranks(by_words, by_meaning[:MERGED_HITS])
    assert whole[: len(fewer) - len(by_words)] == fewer[: len(fewer) - len(by_words)]


def test_words() -> None:
    assert split_words('Straße "Volt9_X" 400-ML café, red') == {"strasse", "volt9", "x", "400", "ml", "café", "red"}
    assert split_words("– ?") == set()


def test_products_with_every_word_lead(search: Callable[..., list[str]]) -> None:
    assert search("Nordlys 42", k=1) == ["boot-42"] != search("Nordlys 42", k=1, hybrid=False)
    assert search("S07", k=1) == ["s07"], "a product id"
    assert search('ODD "ID"/Ü😀', k=1) == ['odd "id"/ü😀']
    assert search("boot-43", k=3)[0] == "boot-43" and len({*search("boot-43", k=20)} & {"boot", *GROUPS}) == 1
    assert sorted(search("boot-43", k=20, all_variants=True)) == sorted(TITLES)


def test_the_score_stays_a_cosine(served: TwoModels, make_settings: Callable[..., Settings]) -> None:
    settings = make_settings(milvus=served.uri)
    (hit,) = search_products(settings, text="red hiking boot", k=1, hybrid=True, encoder=served.encoders[0])
    assert hit["score"] == pytest.approx(1, abs=1e-3) and hit["title"] == "red hiking boot"


def test_a_query_in_other_words_is_answered_by_meaning(search: Callable[..., list[str]]) -> None:
    for text in ("something blue to drink tea from", "–"):
        assert search(text, k=20) == search(text, k=20, hybrid=False)


def test_filters_hold_for_words(search: Callable[..., list[str]], served: TwoModels) -> None:
    expression = 'payload["price"] < 16'
    assert find_by_words(served.client, served.names[0], "hiking boot", expression) == ["boot"]
    assert "boot-42" not in search("Nordlys 42", k=20, expression=expression)
    with pytest.raises(QueryError, match="does not understand the filter"):
        search("Nordlys 42", expression="colour = 3")


def test_hybrid_needs_words(search: Callable[..., list[str]], tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"")
    with pytest.raises(QueryError, match="--hybrid needs words"):
        search(None, image=tmp_path / "photo.jpg")


@pytest.mark.long
@pytest.mark.milvus_server
def test_a_server_without_word_search_says_so_once(
    milvus_server: str, make_settings: Callable[..., Settings], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with serve_two_models(tmp_path, milvus_server) as served, caplog.at_level(logging.WARNING):
        settings = make_settings(milvus=served.uri)
        hits = [
            search_products(settings, text="Nordlys 42", hybrid=hybrid, encoder=served.encoders[0])
            for hybrid in (True, False)
        ]
    assert hits[0] == hits[1] and caplog.text.count(NO_WORDS) == 1
