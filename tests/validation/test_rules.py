"""Tests of both forms of the row rules against a plain form of each rule and against each other, on generated rows."""

import unicodedata

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema

from schemas.product import ImageRef, canonicalise_text
from schemas.source import MappedRow
from schemas.source_values import as_text
from schemas.tables import SNAPSHOTS
from schemas.uri import is_under
from validation.gate import GateLimits
from validation.reasons import Reason
from validation.rules import (
    INVISIBLE,
    MAX_ID_BYTES,
    ROW_RULES,
    WHITE_SPACE,
    Refusal,
    RefusalFinder,
    RowLimits,
    find_faults,
    find_refusals,
)
from validation.spark_rules import build_fault, build_faults, classify_rows, extract_reason

LIMITS = RowLimits(title=12, description=30, images=3, roots=("file:///shop", "s3://bucket/pictures"))


def is_destroyed(text: str) -> bool:
    """Canonical text of it still has a control character, or a character that stands for lost bytes."""
    return any(unicodedata.category(char) == "Cc" or char in "\ufffd\ufffe\uffff" for char in canonicalise_text(text))


def is_unseen(text: str | None) -> bool:
    invisible = "\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"
    return text is None or all(char.isspace() or char in invisible for char in text)


def texts(row: dict) -> list[str]:
    pairs = [text for pair in (row["attributes"] or {}).items() for text in pair]
    found = [row["title"], row["description"], *(row["category"] or []), *pairs]
    return [text for text in found if text is not None]


def uris(row: dict) -> list[str | None]:
    return [image["uri"] for image in row["images"] or []]


def has_control(text: str) -> bool:
    return any(unicodedata.category(char) == "Cc" for char in text) or is_destroyed(text)


def is_too_long(row: dict) -> bool:
    attributes = [text for pair in (row["attributes"] or {}).items() for text in pair if text is not None]
    return (
        len((row["product_id"] or "").encode()) > MAX_ID_BYTES
        or len(row["title"] or "") > LIMITS.title
        or len(row["description"] or "") > LIMITS.description
        or len("/".join(row["category"] or [])) > LIMITS.title
        or any(len(text) > LIMITS.description for text in attributes)
    )


def has_invalid_characters(row: dict) -> bool:
    names = [text for text in (row["product_id"], *uris(row)) if text is not None]
    return any(map(has_control, names)) or any(map(is_destroyed, texts(row)))


PLAIN = {
    Reason.MALFORMED_ROW: lambda row: row["row_error"] is not None,
    Reason.MISSING_ID: lambda row: is_unseen(row["product_id"]),
    Reason.INVALID_CHARACTERS: has_invalid_characters,
    Reason.EMPTY_TITLE: lambda row: is_unseen(row["title"]),
    Reason.TEXT_TOO_LONG: is_too_long,
    Reason.MALFORMED_ATTRIBUTES: lambda row: row["attributes_error"] is not None,
    Reason.NO_IMAGE: lambda row: not row["images"],
    Reason.TOO_MANY_IMAGES: lambda row: len(row["images"] or []) > LIMITS.images,
    Reason.FORBIDDEN_URI: lambda row: any(uri is None or not is_under(uri, LIMITS.roots) for uri in uris(row)),
}

odd = st.sampled_from([*"\x00\x08\t\n\x0b\x1b\x1c\x1f \x7f\x84\x85\x86\x9f\xa0\u200b\u2028\u3000\ufeff\ufffd\uffff🧵é"])
letters = st.text(st.one_of(st.sampled_from("ab/"), odd, st.characters(codec="utf-8")), max_size=20)
text = st.one_of(
    st.none(),
    st.text("ab c", max_size=6),
    letters,
    st.text("ab ", min_size=10, max_size=35),
    st.sampled_from(["", " "]),
)
ids = st.one_of(st.text("ab", min_size=1, max_size=3), text, st.sampled_from(["i" * 256, "é" * 128, "é" * 129]))
good_uri = st.builds("{}/{}".format, st.sampled_from(LIMITS.roots), st.text("ab", min_size=1, max_size=4))
uri = st.one_of(
    good_uri,
    good_uri,
    good_uri,
    st.builds(lambda start, end: start + end, good_uri, odd),
    st.sampled_from(["file:///shopping/a", "file:///shop", "https://bucket/pictures/a", "s3://bucket/picture", None]),
)
images = st.lists(st.builds(lambda uri: {"uri": uri, "version": None}, uri), max_size=5)
error = st.one_of(st.none(), st.none(), st.none(), st.text("abc", max_size=5))
ROW = st.fixed_dictionaries(
    {
        "source_row": st.integers(0, 99),
        "product_id": ids,
        "title": text,
        "description": text,
        "category": st.one_of(st.none(), st.lists(text, max_size=3)),
        "attributes": st.one_of(st.none(), st.dictionaries(st.text("ab", max_size=3) | letters, text, max_size=3)),
        "attributes_error": error,
        "row_error": error,
        "images": st.one_of(st.none(), images, images),
    }
).map(lambda row: {**row, "category": row["category"] and [level or "" for level in row["category"]]})


surrogates = st.text(st.sampled_from("a\ud800\udfff\ud83e"), min_size=1, max_size=3).map(as_text)
outside = st.sampled_from(["file:///shopping/a", "file:///shop", "https://bucket/pictures/a", "s3://bucket/picture"])
named = st.lists(uri.filter(lambda name: name is not None) | surrogates, max_size=5)
MAPPED_ROW = st.fixed_dictionaries(
    {
        "product_id": ids | surrogates,
        "title": text | surrogates,
        "description": text | surrogates,
        "category": st.lists(letters | surrogates, max_size=3),
        "attributes": st.dictionaries(letters, letters | surrogates, max_size=3),
        "attributes_error": st.text("abc", max_size=5),
        "row_error": st.text("abc", max_size=5),
        "images": st.one_of(
            named, st.lists(good_uri, max_size=5), st.lists(good_uri | outside, min_size=1, max_size=3)
        ).map(lambda names: [{"uri": name, "version": None} for name in names]),
    }
)
"""A row as `schemas.source.map_record` makes it: no nulls in lists, lone surrogates replaced."""
MAPPED_FIELDS = (
    "product_id", "title", "description", "category", "attributes", "attributes_error", "row_error", "images",
)  # fmt: skip


def with_few_faults(rows: list[dict]) -> list[dict]:
    """Keep one or two generated fields of a row, so that every rule is the first of some and some are good."""
    good_images = [{"uri": f"{LIMITS.roots[0]}/a", "version": None}]
    good = {**dict.fromkeys(MAPPED_FIELDS), "title": "Mug", "category": [], "attributes": {}, "images": good_images}
    mixed = []
    for number, row in enumerate(rows):
        kept = {MAPPED_FIELDS[number % 8], MAPPED_FIELDS[number // 8 % 8]}
        fields = {name: row[name] for name in kept}
        mixed.append({**good, "source_row": number, "product_id": f"p{number * number % 97}", **fields})
    return mixed


def as_mapped(row: dict) -> MappedRow:
    fields = {name: row[name] for name in ("product_id", "title", "description", "attributes_error", "row_error")}
    images = [ImageRef(**image) for image in row["images"] or []]
    return MappedRow(**fields, category=row["category"] or [], attributes=row["attributes"], images=images)


def made_up(count: int, strategy: st.SearchStrategy[dict] = ROW) -> list[dict]:
    """Collect the rows that hypothesis generates, so that one Spark job checks all of them."""
    rows: list[dict] = []

    @settings(max_examples=count, phases=[Phase.generate], database=None, deadline=None)
    @given(strategy)
    def collect(row):
        rows.append(row)

    collect()
    return rows


def test_every_rule_is_its_plain_statement(spark):
    rows = made_up(600)
    assert len(rows) >= 500
    frame = spark.createDataFrame(rows, from_arrow_schema(SNAPSHOTS.columns))
    every = [build_fault(rule, LIMITS).isNotNull().alias(rule.reason) for rule in ROW_RULES]
    checked = frame.select(build_faults(LIMITS).alias("faults"), *every).collect()
    seen = {}
    for row, found in zip(rows, checked, strict=True):
        broken = [rule.reason for rule in ROW_RULES if PLAIN[rule.reason](row)]
        assert [rule.reason for rule in ROW_RULES if found[rule.reason]] == broken, row
        for reason in broken:
            seen[reason] = seen.get(reason, 0) + 1
        named = broken[:1] if row["row_error"] is not None else broken
        assert [fault.split(": ", 1)[0] for fault in found.faults] == named
        if None not in uris(row):  # a mapped row has no null among its images' URIs, a table may
            assert list(find_faults(as_mapped(row), LIMITS)) == named
    assert min(seen.get(reason, 0) for reason in PLAIN) >= 10, seen


def test_both_forms_refuse_the_same_rows_with_the_same_words(spark):
    rows = with_few_faults(made_up(1000, MAPPED_ROW))
    frame = spark.createDataFrame(rows, from_arrow_schema(SNAPSHOTS.columns))
    refused = classify_rows(frame, LIMITS).filter("reason is not null").orderBy("source_row").collect()
    expected = find_refusals(((row["source_row"], as_mapped(row)) for row in rows), LIMITS)
    assert [Refusal(row.source_row, Reason(row.reason), row.detail) for row in refused] == expected
    assert {refusal.reason for refusal in expected} == {*PLAIN, Reason.DUPLICATE_ID}
    assert len(expected) <= len(rows) - 5


def test_details_say_what_is_wrong(spark):
    base = {
        "source_row": 0, "product_id": "p", "title": "Mug", "description": None, "category": [], "attributes": {},
        "attributes_error": None, "row_error": None, "images": [{"uri": "file:///shop/a.jpg", "version": None}],
    }  # fmt: skip
    cases = {
        "malformed_row: not JSON": {"row_error": "not JSON", "product_id": None},
        "missing_id: the id is null": {"product_id": None},
        "invalid_characters: in id, text": {"product_id": "a\tb", "description": "\x07"},
        "empty_title: the title is ' '": {"title": " "},
        "text_too_long: title of 13 characters, at most 12": {"title": "x" * 13},
        "malformed_attributes: no map": {"attributes": None, "attributes_error": "no map"},
        "no_image: the row names no image": {"images": []},
        "too_many_images: 4 images, at most 3": {"images": base["images"] * 4},
        "forbidden_uri: file:///etc/passwd not under file:///shop or s3://bucket/pictures": {
            "images": [{"uri": "file:///etc/passwd", "version": None}]
        },
        "missing_id: the id is ''; empty_title: the title is null": {"product_id": "", "title": None},
    }
    frame = spark.createDataFrame([{**base, **case} for case in cases.values()], from_arrow_schema(SNAPSHOTS.columns))
    faults = build_faults(LIMITS)
    found = frame.select(F.array_join(faults, "; "), extract_reason(faults[0])).collect()
    assert [row[0] for row in found] == list(cases)
    for words, case in cases.items():
        faults = find_faults(as_mapped({**base, **case}), LIMITS)
        assert "; ".join(f"{reason}: {text}" for reason, text in faults.items()) == words
    assert [row[1] for row in found] == [words.split(":")[0] for words in cases]


def test_the_character_classes_are_what_python_folds_and_hides():
    import re

    space = re.compile(f"[{WHITE_SPACE}]")
    assert [chr(code) for code in range(0x110000) if space.match(chr(code))] == [
        chr(code) for code in range(0x110000) if chr(code).isspace()
    ]
    invisible = [chr(code) for code in range(0x110000) if re.match(f"[{INVISIBLE}]", chr(code))]
    assert all(unicodedata.category(char) == "Cf" for char in invisible)


def test_every_row_rule_has_its_own_reason_and_limits_have_a_digest():
    assert [rule.reason for rule in ROW_RULES] == list(PLAIN)
    assert LIMITS.compute_digest() == RowLimits(12, 30, 3, LIMITS.roots).compute_digest()
    assert len({RowLimits(12, 30, images, LIMITS.roots).compute_digest() for images in range(5)}) == 5


def test_without_roots_every_image_is_forbidden(spark):
    rows = spark.createDataFrame([([("file:///a", None)],)], "images array<struct<uri: string, version: string>>")
    limits = RowLimits(1, 1, 1, ())
    rule = next(rule for rule in ROW_RULES if rule.reason == Reason.FORBIDDEN_URI)
    assert rows.select(build_fault(rule, limits)).head()[0] == "file:///a not under "
    assert find_faults(MappedRow("p", "t", images=[ImageRef("file:///a", None)]), limits) == {
        Reason.FORBIDDEN_URI: "file:///a not under "
    }


@pytest.mark.parametrize(
    ("rows", "maximum", "minimum"), [(0, 1.0, 0.0), (5, 1.0, 0.0), (20, 0.5, 0.5), (1000, 0.2, 0.5)]
)
def test_the_tolerated_rows_let_small_catalogues_move_in_large_shares(rows, maximum, minimum):
    gate = GateLimits(row_ratio=0.5, null_share=0.2, duplicate_share=0.2, category_coverage=0.5, tolerated_rows=10)
    assert gate.relax_maximum(0.2, rows) == pytest.approx(maximum)
    assert gate.relax_minimum(0.5, rows) == pytest.approx(minimum)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)])
def test_refusals_do_not_depend_on_the_order_in_which_rows_come(order):
    rows = [MappedRow("a", title, images=[ImageRef("file:///shop/a.jpg", None)]) for title in ("Mug", "", "Cup", "Pot")]
    finder = RefusalFinder(LIMITS)
    for number in order:
        finder.add(number * 10, rows[number])
    found = finder.list_refusals(lambda number: number // 10)
    assert found == find_refusals(enumerate(rows), LIMITS)
    assert [(one.source_row, one.reason) for one in found] == [
        (1, "empty_title"), (2, "duplicate_id"), (3, "duplicate_id"),
    ]  # fmt: skip
