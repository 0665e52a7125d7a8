import json
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.source_values import as_json_line, as_link, as_list, as_text, choose_path, parse_attributes

SEPARATORS = {"pair": ",,", "key": ":", "multi": "!!!"}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, None), (float("nan"), None), ("", ""), ("  a ", "  a "), (1, "1"), (1.5, "1.5"), (True, "true"),
        (Decimal("2.50"), "2.50"), (Decimal("1E+2"), "100"), (date(2026, 11, 22), "2026-11-22"),
        (datetime(2026, 11, 22, 3, tzinfo=UTC), "2026-11-22T03:00:00+00:00"), (b"caf\xc3\xa9", "café"),
        ({"a": 1}, '{"a": 1}'), ([1, "é"], '[1, "é"]'), ("bad \ud800", "bad \ufffd"), (10**30, str(10**30)),
    ],
)  # fmt: skip
def test_values_become_text(value: object, text: str | None) -> None:
    assert as_text(value) == text


def test_structures_that_json_cannot_write_still_become_text() -> None:
    loop: list[object] = []
    loop.append(loop)
    assert isinstance(as_text(loop), str)
    assert isinstance(as_text({(1, 2): 3}), str)
    assert as_json_line({"day": date(2026, 1, 2)}) == '{"day": "2026-01-02"}'


class Hostile:
    def __repr__(self) -> str:
        raise RuntimeError("no")

    def __str__(self) -> str:
        raise RuntimeError("no")


def test_an_object_that_cannot_be_shown_is_named() -> None:
    assert "Hostile" in (as_text(Hostile()) or "")
    assert "Hostile" in (as_text([Hostile()]) or "")
    assert "dict" in (as_text({1: Hostile(), (2,): 3}) or "")


def test_lists() -> None:
    assert as_list(None, "|") == []
    assert as_list("a|b", "|") == ["a", "b"]
    assert as_list("a|b", None) == ["a|b"]
    assert as_list('["a", "b"]', None) == ["a", "b"]
    assert as_list("[not json", "|") == ["[not json"]
    assert as_list(["a", None], None) == ["a", None]
    assert as_list(7, "|") == [7]


def test_links() -> None:
    assert as_link({"url": "a.jpg", "width": 3}) == "a.jpg"
    assert as_link({"path": "b.jpg"}) == "b.jpg"
    assert as_link("c.jpg") == "c.jpg"
    assert as_link(None) is None
    assert as_link({"width": 3}) == '{"width": 3}'


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, {}), ("", {}), ("  ", {}), ({}, {}),
        ({"a": 1, "b": None, "c": ["x", 2]}, {"a": "1", "c": "x, 2"}),
        ([("a", "1"), ("b", None)], {"a": "1"}),
        ([{"key": "a", "value": 1}], {"a": "1"}),
        ([{"name": "a", "value": "x"}], {"a": "x"}),
        ('{"a": true}', {"a": "true"}),
        ('[["a", "1"]]', {"a": "1"}),
        ("Color:Black & White,,Category:Pillow,,Material:Wool!!!Cotton",
         {"Color": "Black & White", "Category": "Pillow", "Material": "Wool, Cotton"}),
        ("time: 12:30 ,, ", {"time": "12:30"}),
    ],
)  # fmt: skip
def test_attributes_in_every_form(value: object, expected: dict[str, str]) -> None:
    assert parse_attributes(value, "auto", **SEPARATORS) == (expected, None)


@pytest.mark.parametrize(
    ("value", "form", "hint"),
    [
        ("red, striped", "auto", "expected name:value"), ("{broken", "auto", "not valid JSON"),
        ("[1, 2]", "auto", "map"),
        ('"text"', "json", "map"), (17, "auto", "map"), (["a"], "auto", "map"), (":x", "auto", "name:value"),
        ("a:b", "map", "map"), ("a:b", "json", "not valid JSON"), ({"a": 1}, "pairs", "expected text"),
    ],
)  # fmt: skip
def test_what_is_no_map_is_an_error_in_words(value: object, form: str, hint: str) -> None:
    attributes, error = parse_attributes(value, form, **SEPARATORS)  # type: ignore[arg-type]
    assert attributes is None
    assert hint in (error or "")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.binary(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(JSON, st.sampled_from(["auto", "json", "map", "pairs"]))
def test_nothing_raises_and_exactly_one_side_is_there(value: object, form: str) -> None:
    attributes, error = parse_attributes(value, form, **SEPARATORS)  # type: ignore[arg-type]
    assert (attributes is None) != (error is None)
    for text in (as_text(value), *(attributes or {}), *(attributes or {}).values()):
        assert text is None or isinstance(text.encode("utf-8"), bytes)


@given(st.dictionaries(st.text(min_size=1, max_size=8), st.text(max_size=8), max_size=5))
def test_a_map_survives_as_json_text_and_as_pairs_of_itself(attributes: dict[str, str]) -> None:
    clean = {as_text(k): as_text(v) for k, v in attributes.items()}
    assert parse_attributes(json.dumps(attributes), "auto", **SEPARATORS) == (clean, None)
    assert parse_attributes(list(attributes.items()), "auto", **SEPARATORS) == (clean, None)


@pytest.mark.parametrize(
    ("value", "levels"),
    [
        ("Food > Fruit > Apple, Offers", ["Food", "Fruit", "Apple"]), ("Offers, Food > Fruit", ["Food", "Fruit"]),
        ("Offers, Sale", ["Offers"]), (r"Food\, Drinks > Tea, Offers", ["Food, Drinks", "Tea"]), ("", []), (None, []),
        (" > , ", []), (["A > B", "A > B > C, D"], ["A", "B", "C, D"]), ([{"name": "A > B"}], ["A", "B"]), (7, ["7"]),
        ('["A", "A > B"]', ["A", "B"]),
    ],
)  # fmt: skip
def test_of_several_paths_the_most_specific_counts(value: object, levels: list[str]) -> None:
    assert choose_path(value, ",", ">") == levels


def test_without_a_separator_a_path_is_one_level() -> None:
    assert choose_path("Tea > Green|Offers", "|", None) == ["Tea > Green"]


@given(JSON)
def test_choosing_a_path_never_raises(value: object) -> None:
    assert all(level and level == level.strip() for level in choose_path(value, ",", ">"))
