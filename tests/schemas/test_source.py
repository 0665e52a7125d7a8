import json
from datetime import UTC, date, datetime
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from schemas.product import ImageRef
from schemas.source import SourceMapping, is_of_snapshot, make_malformed_row, map_record

BASE = "file:///shop"
REPOSITORY = Path(__file__).resolve().parents[2]


def mapped(record: dict[str, object], toml: str):
    return map_record(record, SourceMapping.parse(f'id = "id"\ntitle = "title"\n{toml}'), BASE)


def test_a_plain_record() -> None:
    row = mapped({"id": 7, "title": "Mug", "text": None}, 'description = "text"')
    assert (row.product_id, row.title, row.description) == ("7", "Mug", None)
    assert (row.category, row.attributes, row.images) == ([], {}, [])
    assert row.attributes_error is None
    assert row.row_error is None


def test_categories() -> None:
    assert mapped({"c": "A / B//C"}, 'category = {column="c", separator="/"}').category == ["A", "B", "C"]
    assert mapped({"c": "A/B"}, 'category = "c"').category == ["A/B"]
    assert mapped({"c": ["A", None, " ", 3]}, 'category = "c"').category == ["A", "3"]
    assert mapped({"x": "A", "z": 2}, 'category = ["x", "y", "z"]').category == ["A", "2"]
    assert mapped({"c": 5}, 'category = {column="c", separator="/"}').category == ["5"]


def test_attributes_from_columns_keep_numbers_and_drop_nulls() -> None:
    row = mapped({"Brand": "Kobo", "Price": 9.5, "Old": None}, 'attributes = ["Brand", "Price", "Old", "None"]')
    assert row.attributes == {"Brand": "Kobo", "Price": "9.5"}
    assert mapped({"b": 1}, 'attributes = {columns = {brand = "b"}}').attributes == {"brand": "1"}


PAIRS = 'attributes = { columns = ["Brand"], pairs = [["n1", "v1"], ["n2", "v2"]] }'


def test_attributes_from_columns_of_names_and_values() -> None:
    record = {"Brand": "Kobo", "n1": " Colour ", "v1": " red", "n2": "Size", "v2": 7}
    assert mapped(record, PAIRS).attributes == {"Brand": "Kobo", "Colour": "red", "Size": "7"}
    assert mapped({"n1": "Size", "v1": "S", "n2": "Size", "v2": "M"}, PAIRS).attributes == {"Size": "S, M"}
    assert mapped({"Brand": "A", "n1": "Brand", "v1": "B", "n2": "Brand", "v2": "A"}, PAIRS).attributes == {
        "Brand": "A, B"
    }
    for empty in ({"n1": "", "v1": "red"}, {"n1": "Colour", "v1": " "}, {"n1": None, "v1": None}, {"v1": "red"}):
        assert mapped(empty, PAIRS).attributes == {}


def test_attributes_that_are_no_map_are_an_error_of_the_row() -> None:
    row = mapped({"a": "red, striped"}, 'attributes = {column = "a"}')
    assert row.attributes is None
    assert row.attributes_error


def images(record: dict[str, object], toml: str) -> list[ImageRef]:
    return mapped(record, f"[images]\n{toml}").images


def test_images() -> None:
    one = [ImageRef("file:///shop/a.jpg", None)]
    assert images({"i": "a.jpg"}, 'column = "i"') == one
    assert images({"i": " a.jpg | "}, 'column = "i"\nseparator = "|"') == one
    assert images({"i": [{"url": "a.jpg"}, None]}, 'column = "i"') == one
    assert images({"i": '["a.jpg"]'}, 'column = "i"') == one
    assert images({"x": None, "y": "a.jpg"}, 'columns = ["x", "y"]') == one
    assert images({"id": "a"}, 'template = "{id}.jpg"') == one
    assert images({"id": None}, 'template = "{id}.jpg"') == []
    assert images({"id": 3}, 'template = "p/{id}/{id}.jpg"')[0].uri == "file:///shop/p/3/3.jpg"
    assert images({"id": "../../etc/x"}, 'template = "p/{id}.jpg"')[0].uri == "file:///etc/x.jpg"
    assert images({"id": "a", "x": "{id}"}, 'template = "{x}.jpg"')[0].uri == "file:///shop/{id}.jpg"


def test_image_columns_with_several_addresses_each() -> None:
    toml = 'columns = ["image_link", "additional_image_link"]\nseparator = ","'
    assert images({"image_link": "a.jpg", "additional_image_link": " b.jpg , ,c.jpg,"}, toml) == [
        ImageRef(f"{BASE}/{name}.jpg", None) for name in "abc"
    ]
    assert images({"image_link": " ", "additional_image_link": None}, toml) == []
    assert images({"image_link": "a.jpg,b.jpg"}, toml) == [ImageRef(f"{BASE}/{name}.jpg", None) for name in "ab"]


def test_the_id_of_a_product_of_several_rows_is_its_key() -> None:
    mapping = SourceMapping.parse('title = "title"\nproduct = { key = "Handle" }')
    for key, expected in (("boot", "boot"), (7, "7"), (None, None)):
        assert map_record({"Handle": key, "title": "Boot"}, mapping, BASE).product_id == expected
    assert make_malformed_row("cut off", {"Handle": "boot"}, mapping).product_id == "boot"


def test_image_versions() -> None:
    toml = 'column = "i"\nversion_column = "v"'
    assert [r.version for r in images({"i": ["a", "b"], "v": ["1", None]}, toml)] == ["1", None]
    assert [r.version for r in images({"i": ["a", "b"], "v": ["1"]}, toml)] == ["1", None]
    assert [r.version for r in images({"i": ["a", "b"], "v": 5}, toml)] == ["5", "5"]
    cut = toml + '\nversion_separator = "|"'
    assert [r.version for r in images({"i": ["a", "b"], "v": "x|y"}, cut)] == ["x", "y"]


def test_an_empty_image_keeps_the_versions_of_the_others() -> None:
    """A hole in the list of images must not shift the versions behind it."""
    toml = 'column = "i"\nversion_column = "v"'
    found = images({"i": ["a", None, "c"], "v": ["1", "2", "3"]}, toml)
    assert [(r.uri[-1], r.version) for r in found] == [("a", "1"), ("c", "3")]


def test_snapshots() -> None:
    mapping = SourceMapping.parse('id = "id"\ntitle = "t"\nsnapshot = "day"\n')
    day = date(2026, 11, 22)
    same = ["2026-11-22", " 2026-11-22T03:00:00Z", "20261122", 20261122, day, datetime(2026, 11, 22, 5, tzinfo=UTC)]
    other = [None, "", "2026-11-23", "22.11.2026", date(2026, 11, 21), 5]
    assert all(is_of_snapshot({"day": value}, mapping, day) for value in same)
    assert not any(is_of_snapshot({"day": value}, mapping, day) for value in other)
    assert is_of_snapshot({}, SourceMapping.parse('id = "id"\ntitle = "t"\n'), day)


def test_a_malformed_row_says_so() -> None:
    mapping = SourceMapping.parse('id = "Id"\ntitle = "Name"\n')
    row = make_malformed_row("not a JSON object \ud800", {"Name": "a"}, mapping)
    assert row.row_error == "not a JSON object \ufffd"
    assert row.product_id is None
    assert make_malformed_row("cut off", {"Id": 7}, mapping).product_id == "7"


MAPPINGS = [
    'category = {column="a", separator="/"}\nattributes = {column="b"}\n'
    '[images]\ncolumn="c"\nseparator="|"\nversion_column="d"',
    'category = ["a", "b"]\nattributes = ["c", "d"]\n[images]\ntemplate = "{a}/{b}.jpg"',
    'category = "a"\nattributes = {column="b", format="pairs"}\n[images]\ncolumns = ["c", "d"]\nversion_column = "a"',
]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=15) | st.binary(max_size=5) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.dictionaries(st.sampled_from(["id", "title", "a", "b", "c", "d"]), VALUES),
    st.sampled_from(MAPPINGS),
    st.sampled_from([BASE, "s3://bucket/shop"]),
)
def test_any_record_becomes_a_row_of_the_right_types(record: dict[str, object], toml: str, base: str) -> None:
    mapping = SourceMapping.parse(f'id = "id"\ntitle = "title"\n{toml}')
    row = map_record(record, mapping, base)
    for text in (row.product_id, row.title, row.description, row.attributes_error):
        assert text is None or isinstance(text, str)
    assert all(isinstance(level, str) and level.strip() for level in row.category)
    assert (row.attributes is None) == (row.attributes_error is not None)
    assert all(isinstance(k, str) and isinstance(v, str) for k, v in (row.attributes or {}).items())
    assert all("://" in image.uri or image.uri.startswith("data:") for image in row.images)
    json.dumps([vars(image) for image in row.images]).encode("utf-8")
    assert map_record(record, mapping, base) == row


def test_eshop(shared_data: Path) -> None:
    catalog = json.loads((shared_data / "eshop" / "catalog.json").read_text())
    mapping = SourceMapping.load(REPOSITORY / "mappings" / "eshop.toml")
    base = mapping.resolve_image_base(str(shared_data / "eshop"))
    rows = [map_record(record, mapping, base) for record in catalog]
    assert len({row.product_id for row in rows}) == 101
    assert all(row.attributes and set(row.attributes) == {"brand"} for row in rows)
    assert all(Path(image.uri.removeprefix("file://")).is_file() for row in rows for image in row.images)
    assert sum(len(row.images) for row in rows) == 101
