"""Tests of conditions: their meaning for the columns of a source, and texts that are not conditions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.conditions import ConditionError, evaluate_condition, list_fields, parse_condition

PUBLISHED = {"Published": "true", "Status": "active", "Variant Price": " 12.50", "Type": "variable", "Stock": "-1"}


@pytest.mark.parametrize(
    "text",
    [
        "Published == 'true'",
        "Status in ['active', 'draft'] and Type != 'variation'",
        "`Variant Price` > 10 and `Variant Price` <= 12.5",
        "10 < `Variant Price` < 13",
        "10 < `Variant Price`",
        "Stock == -1 and not Stock == 1",
        "-1 <= Stock",
        "'act' in Status and 'x' not in Status",
        "Absent == '' and Absent != 0 and not (Absent > 0)",
        "Type == 'variable' or Type == 'simple'",
        "Stock in [-1, 0]",
        "Status == \"active\" and Type != 'a `quoted` word'",
    ],
)
def test_what_holds(text: str) -> None:
    condition = parse_condition(text)
    assert evaluate_condition(condition, PUBLISHED)
    assert not evaluate_condition(parse_condition(f"not ({text})"), PUBLISHED)


@pytest.mark.parametrize(
    "text",
    [
        "Published == 'false'",
        "Published == 1",
        "`Variant Price` < 9",
        "Status in ['draft', 'archived']",
        "Absent > 0",
        "Absent == 0",
        "Type == 'simple' or Stock > 0",
    ],
)
def test_what_does_not_hold(text: str) -> None:
    assert not evaluate_condition(parse_condition(text), PUBLISHED)


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("a == 'x' and (b > 1 or a != 'y')", ["a", "b"]),
        ("`g:id` in ['1'] and not `Größe (EU)` == 3", ["g:id", "Größe (EU)"]),
        ("'x' in `a b`", ["a b"]),
        ("_quoted_name_7 == 'x' and `a b` == 'y'", ["_quoted_name_7", "a b"]),
    ],
)
def test_its_columns(text: str, fields: list[str]) -> None:
    assert list_fields(parse_condition(text)) == fields


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("Published = 'true'", "compare with =="),
        ("", "cannot be read"),
        ("Published", "no condition"),
        ("`Variant Price`", "`Variant Price`"),
        ("Published == True", "text in quotes or number"),
        ("Published == Status", "text in quotes or number"),
        ("Published == -'x'", "text in quotes or number"),
        ("'a' == 'a'", "no field"),
        ("Variant Price > 3", "cannot be read"),
        ("Status is 'active'", "no comparison"),
        ("__import__('os').system('id') == 0", "no field"),
        ("x" * 3000, "more than 2,000"),
        ("not " * 400 + "a == 'x'", "more than 100 levels"),
        ("a == 9223372036854775808", "9223372036854775808' is larger than 9,223,372,036,854,775,807"),
    ],
)
def test_what_it_refuses(text: str, says: str) -> None:
    with pytest.raises(ConditionError) as refused:
        parse_condition(text)
    assert says in str(refused.value)


@given(text=st.text(max_size=40), values=st.dictionaries(st.text(max_size=3), st.text(max_size=5)))
def test_no_text_breaks_it(text: str, values: dict[str, str]) -> None:
    try:
        condition = parse_condition(text)
    except ConditionError:
        return
    assert evaluate_condition(condition, values) in (True, False)


@given(number=st.integers(-1000, 1000), limit=st.integers(-1000, 1000))
def test_numbers_compare_as_numbers(number: int, limit: int) -> None:
    values = {"n": str(number)}
    for name, expected in {
        "<": number < limit,
        "==": number == limit,
        ">=": number >= limit,
        "!=": number != limit,
    }.items():
        assert evaluate_condition(parse_condition(f"n {name} {limit}"), values) == expected
