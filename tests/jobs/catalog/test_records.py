import csv
import io
import json
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.catalog.records import (
    HEAD_BYTES,
    MAX_CSV_RECORD_BYTES,
    CsvRecords,
    guess_catalog_format,
    is_blank,
    is_json_document,
    parse_json_array,
    parse_json_line,
    salvage_json_fields,
)


def read_csv(data: bytes) -> tuple[list[str], list]:
    records = CsvRecords(data.split(b"\n"))
    return records.columns, list(records)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a/b.parquet", "parquet"),
        ("b.JSONL.gz", "jsonl"),
        ("b.ndjson", "jsonl"),
        ("b.json", "json"),
        ("x.csv", "csv"),
        ("x.tsv", "csv"),
        ("x.xml", "xml"),
        ("part-0000", None),
    ],
)
def test_the_suffix_names_the_format(name, kind):
    assert guess_catalog_format(name) == kind


def test_an_array_is_told_from_lines_behind_a_byte_order_mark():
    assert is_json_document(b"\xef\xbb\xbf \n[{}]")
    assert not is_json_document(b'{"id": [1]}')


def test_blank_lines_are_white_space_or_a_byte_order_mark():
    assert is_blank(b" \t\r") and is_blank(b"\xef\xbb\xbf") and not is_blank(b"0")


def test_a_json_line_is_an_object_or_an_error_in_words():
    assert parse_json_line(b'\xef\xbb\xbf{"id": "\xc3\xa4"}\r').record == {"id": "ä"}
    assert "holds an array" in parse_json_line(b"[1]").error
    assert "holds true or false" in parse_json_line(b"true").error
    assert "not UTF-8 at byte 7" in parse_json_line(b'{"id":"\xff"}').error
    assert parse_json_line(b'{"id": 1').error.startswith("not a JSON object: ")
    assert parse_json_line(b"[" * 100_000).record is None  # deeper than the interpreter's stack


@given(st.binary())
def test_no_line_raises(data):
    parsed = parse_json_line(data)
    assert (parsed.record is None) != (parsed.error is None)


def test_an_array_keeps_its_broken_items():
    first, second = parse_json_array(b'[{"id": 1}, 7]')
    assert first.record == {"id": 1}
    assert "holds a number" in second.error


@pytest.mark.parametrize("document", [b"{}", b'[{"id": 1},\n', b"[\xff]"])
def test_a_broken_document_is_refused_as_a_whole(document):
    with pytest.raises(ValueError, match=r"an object, not an array|line 2 column|not UTF-8"):
        parse_json_array(document)


def test_odd_headings_quotes_emoji_and_line_ends_survive():
    data = (
        '\ufeff"odd ""heading"" #1","multi\nline",Ünï 🧵\r\n'
        '1,"a ""q"" b\r\nsecond line",🧵1\r\n'
        "\r\n"
        "   \r\n"
        '"2,5",5" screen,\r\n'
    ).encode()
    columns, rows = read_csv(data)
    assert columns == ['odd "heading" #1', "multi\nline", "Ünï 🧵"]
    assert [row.record for row in rows] == [
        {'odd "heading" #1': "1", "multi\nline": 'a "q" b\nsecond line', "Ünï 🧵": "🧵1"},
        {'odd "heading" #1': "2,5", "multi\nline": '5" screen', "Ünï 🧵": ""},
    ]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_the_heading_decides_the_delimiter(delimiter):
    text = delimiter.join(["id", '"name, long; or short"', "price"]) + "\n" + delimiter.join("123")
    columns, rows = read_csv(text.encode())
    assert columns == ["id", "name, long; or short", "price"]
    assert rows[0].record == {"id": "1", "name, long; or short": "2", "price": "3"}


def test_a_bad_record_costs_its_own_line_only():
    columns, rows = read_csv(b'id,name\n1,"open\n2,b\n3\n4,"x"y\n5,\xff\n6,f,g\n7,good')
    assert columns == ["id", "name"]
    assert [row.record["id"] for row in rows if row.record] == ["2", "7"]
    errors = [row.error for row in rows if row.error]
    assert len(errors) == 5
    assert "has 1 fields where the heading has 2" in errors
    assert "not a CSV record: not UTF-8 at byte 2: b'\\xff'" in errors


def test_a_quote_that_never_closes_gives_its_lines_back():
    count = MAX_CSV_RECORD_BYTES // 1000 + 10
    lines = [b"id,name", b'0,"stray', *(b"%d," % number + b"n" * 1000 for number in range(1, count))]
    rows = list(CsvRecords(lines))
    assert rows[0].error.startswith("not a CSV record: a quote stays open for more than")
    assert rows[0].salvaged == {"id": "0"}
    assert len(rows) == count
    assert all(row.error is None for row in rows[1:])


def test_a_record_may_have_many_lines_and_a_long_field():
    _, rows = read_csv(b'id,name\n1,"' + b"a line\n" * 3000 + b'"\n2,' + b"x" * 500_000 + b"\n")
    assert [len(row.record["name"]) for row in rows] == [21_000, 500_000]


@pytest.mark.parametrize("line", [b"sep=;", b"SEP=|", b'"sep=;"\r', b"\xef\xbb\xbfsep=;"])
def test_excels_first_line_names_the_delimiter(line):
    delimiter = b"|" if b"|" in line else b";"
    records = CsvRecords([line, b"id" + delimiter + b"a,b", b"1" + delimiter + b"x,y"])
    assert [row.record for row in records] == [{"id": "1", "a,b": "x,y"}]


@pytest.mark.parametrize(
    ("line", "salvaged"),
    [
        (b"7,a,b,c", {"id": "7"}), (b"7", {}), (b'7,"stray', {"id": "7"}), (b'"a ""7""",b,c,d', {"id": 'a "7"'}),
        (b'st"ray,b,c,d', {}), (b'"open', {}), (b"caf\xe9,b", {"id": "caf\ufffd"}), (b",b,c,d", {"id": ""}),
    ],
)  # fmt: skip
def test_the_first_field_of_a_broken_line_is_salvaged(line, salvaged):
    rows = list(CsvRecords([b"id,name,text", line]))
    assert rows[0].record is None
    assert rows[0].salvaged == salvaged


@pytest.mark.parametrize(
    ("line", "salvaged"),
    [
        ('{"id": 7, "name": "cut o', {"id": 7}), ('{"id": 7', {}), ('{"id": "7"}}', {"id": "7"}),
        ('{"a": {"id": 1}, "id": "x\\"y", "b": }', {"a": {"id": 1}, "id": 'x"y'}), ('{"name": "no i', {}),
        ("[1]", {}), ("", {}), ("{" * 5000, {}),
    ],
)  # fmt: skip
def test_fields_before_the_damage_of_a_json_line_are_salvaged(line, salvaged):
    assert salvage_json_fields(line) == salvaged


@pytest.mark.parametrize(
    ("head", "is_document"),
    [
        ("[1]", True), ("\ufeff [", True), ("{", True), ('{"products": [', True), ('{"products": [{"id": 1}]}', True),
        ('{"id": 1, "variants": [{"a": 1}]}', False), ('{"a": [{"b": 1}], "c": [{"d": 1}]}', False), ("x", False),
        ('{"products": [{"id": 1}, ' + "x" * HEAD_BYTES, True), ('{"id": 1, "v": [{"a": ' + "x" * HEAD_BYTES, False),
    ],
)  # fmt: skip
def test_a_json_file_is_a_document_or_lines(head, is_document):
    assert is_json_document(head.encode(), "id") == is_document


def test_an_empty_file_has_no_columns_and_an_unreadable_heading_is_an_error():
    assert read_csv(b"")[0] == []
    with pytest.raises(ValueError, match="the column names"):
        read_csv(b'"id,name\n1,2\n')


def test_a_heading_that_occurs_twice_keeps_its_first_value():
    columns, rows = read_csv(b"id,id\n1,2\n")
    assert columns == ["id", "id"]
    assert rows[0].record == {"id": "1"}


cells = st.text(st.characters(codec="utf-8", exclude_characters="\r\0\ufeff"))


@given(st.lists(st.tuples(cells, cells, cells), min_size=1))
def test_what_pythons_writer_quotes_comes_back(rows):
    out = io.StringIO(newline="")
    csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\r\n").writerows([("a", "b", "c"), *rows])
    _, parsed = read_csv(out.getvalue().encode())
    assert [tuple(row.record.values()) for row in parsed] == rows


@given(st.lists(st.dictionaries(st.text(st.characters(codec="utf-8")), st.integers())))
def test_arrays_and_lines_agree(items):
    lines = [parse_json_line(json.dumps(item).encode()) for item in items]
    assert parse_json_array(json.dumps(items).encode()) == lines


def test_an_error_of_where_the_lines_come_from_ends_the_file() -> None:
    def lines() -> Iterator[bytes]:
        yield b"id,name"
        yield b"1,Mug"
        raise ValueError("cut off")

    records = iter(CsvRecords(lines()))
    assert next(records).record == {"id": "1", "name": "Mug"}
    with pytest.raises(ValueError, match="cut off"):
        next(records)
