import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.catalog import head as source_head
from jobs.catalog.archives import iter_chunks
from jobs.catalog.head import estimate_records, list_catalog_files, read_head
from jobs.catalog.records import HEAD_BYTES, parse_json_array
from jobs.errors import MoonError
from schemas.source_mapping import SourceMapping

ROWS = [{"id": "1", "name": 'Mug "blue"; big'}, {"id": "2", "name": "Zeile\nzwei 🍵"}, {"id": "3", "name": ""}]


def write_csv(path: Path, delimiter: str, *, bom: bool, end: str) -> None:
    quoted = [[v.replace('"', '""') for v in row.values()] for row in ROWS]
    lines = [delimiter.join(ROWS[0]), *(delimiter.join(f'"{value}"' for value in row) for row in quoted)]
    path.write_bytes((b"\xef\xbb\xbf" if bom else b"") + end.join(lines).encode() + end.encode())


def make_mapping(**keys: str) -> SourceMapping:
    return SourceMapping.model_validate({"id": "id", "title": "name", **keys})


def records(path: Path | str, limit: int = 100, **keys: str) -> list[dict[str, object] | None]:
    return [parsed.record for parsed in read_head(str(path), limit, make_mapping(**keys)).records]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize(("bom", "end"), [(False, "\n"), (True, "\r\n")])
def test_csv_in_its_dialects(tmp_path: Path, delimiter: str, bom: bool, end: str) -> None:
    path = tmp_path / "c.csv"
    write_csv(path, delimiter, bom=bom, end=end)
    head = read_head(str(path))
    assert (head.format, head.columns, head.whole) == ("csv", ["id", "name"], True)
    assert [parsed.record for parsed in head.records] == ROWS


def test_json_lines_json_arrays_and_parquet_say_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(row) for row in ROWS) + "\n\n")
    (tmp_path / "lines.json").write_text("\n".join(json.dumps(row) for row in ROWS))
    (tmp_path / "b.json").write_text("\ufeff" + json.dumps(ROWS, indent=2), encoding="utf-8")
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "c.parquet")
    (tmp_path / "d.jsonl.gz").write_bytes(gzip.compress((tmp_path / "a.jsonl").read_bytes()))
    formats = {
        "a.jsonl": "jsonl",
        "lines.json": "jsonl",
        "b.json": "json",
        "c.parquet": "parquet",
        "d.jsonl.gz": "jsonl",
    }
    for name, kind in formats.items():
        head = read_head(str(tmp_path / name))
        assert (head.format, head.columns, head.whole) == (kind, ["id", "name"], True)
        assert [parsed.record for parsed in head.records] == ROWS
        assert records(tmp_path / name, limit=2) == ROWS[:2]
        assert not read_head(str(tmp_path / name), 2).whole


def test_a_broken_record_costs_itself_only(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"id": 1}\n{"id": \n[1]\n{"id": 2}\n')
    assert records(tmp_path / "a.jsonl") == [{"id": 1}, None, None, {"id": 2}]
    (tmp_path / "b.json").write_text('[{"id": 1}, 7, {"id": 2}]')
    assert records(tmp_path / "b.json") == [{"id": 1}, None, {"id": 2}]
    assert read_head(str(tmp_path / "b.json")).records == parse_json_array((tmp_path / "b.json").read_bytes())


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


@given(
    st.lists(st.dictionaries(st.text(max_size=5), json_values, max_size=3), max_size=6),
    st.integers(1, 9),
    st.booleans(),
)
def test_arrays_are_read_alike_in_chunks_of_any_size(
    items: list[dict[str, object]], chunk: int, ascii_only: bool
) -> None:
    document = json.dumps(items, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    try:
        document.decode()
    except UnicodeDecodeError:
        return
    chunks = (document[start : start + chunk] for start in range(0, len(document), chunk))
    found = [parsed.record for parsed in source_head._Array(chunks)]
    assert found == items


def test_the_rest_of_a_large_array_is_not_read() -> None:
    chunks = iter([b"["] + [b'{"id": 1},'] * 200_000)
    items = iter(source_head._Array(chunks))
    assert [next(items).record for _ in range(5)] == [{"id": 1}] * 5
    assert len(list(chunks)) > 199_000


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ('{"id": 1}', "holds an object"), ("", "cannot read"), ('[{"id": 1}', "end of the file"),
        ('[{"id": 1} {"id": 2}]', "where , or ]"), ('[{"id": }]', "Expecting value"), ("[,]", "Expecting value"),
        ("[" * 100_000, "nested too deeply"),
    ],
)  # fmt: skip
def test_a_broken_array_is_an_error_that_says_where(tmp_path: Path, text: str, hint: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(MoonError) as caught:
        read_head(str(tmp_path / "a.json"), mapping=make_mapping(format="json"))
    assert hint in str(caught.value)


def test_an_empty_array_has_no_records(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(" [ ] ")
    assert records(tmp_path / "a.json") == []


def test_folders_as_spark_sees_them(tmp_path: Path) -> None:
    for day in ("2026-11-21", "2026-11-22"):
        (tmp_path / f"day={day}").mkdir()
        pq.write_table(pa.table({"id": [day]}), tmp_path / f"day={day}" / "part-0.parquet")
    (tmp_path / "_SUCCESS").touch()
    (tmp_path / ".part.crc").touch()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").touch()
    assert list_catalog_files(str(tmp_path))[1] == "parquet"
    assert len(list_catalog_files(str(tmp_path))[0]) == 2
    head = read_head(str(tmp_path))
    assert head.columns == ["id", "day"]
    assert head.records[0].record == {"id": "2026-11-21", "day": "2026-11-21"}


def test_the_latest_date_stands_for_the_placeholder(tmp_path: Path) -> None:
    for day in ("2026-11-21", "2026-11-22", "notes"):
        (tmp_path / day).mkdir()
        (tmp_path / day / "c.jsonl").write_text(json.dumps({"id": day}))
    assert records(f"{tmp_path}/{{date}}/c.jsonl") == [{"id": "2026-11-22"}]
    assert len(list_catalog_files(f"{tmp_path}/*/c.jsonl")[0]) == 3
    (tmp_path / "odd[1].jsonl").write_text("{}")
    assert list_catalog_files(f"{tmp_path}/odd[1].jsonl") == ([f"{tmp_path}/odd[1].jsonl"], "jsonl")


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"not parquet")
    (tmp_path / "b.xls").touch()
    (tmp_path / "empty").mkdir()
    for name, hint in {
        "none.csv": "no such file or folder", "a.parquet": "cannot read", "b.xls": "unknown suffix",
        "empty": "nothing in it", "{date}/x.csv": "for any date",
    }.items():  # fmt: skip
        with pytest.raises(MoonError) as caught:
            read_head(str(tmp_path / name))
        assert hint in str(caught.value)


def test_headings_that_occur_twice_are_told(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,name,name\n1,a,b\n")
    assert read_head(str(tmp_path / "a.csv")).duplicate_columns == ["name"]


@pytest.mark.parametrize("indent", [None, 1])
def test_an_object_that_wraps_the_array(tmp_path: Path, indent: int | None) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"total": 3, "products": ROWS}, indent=indent))
    head = read_head(str(tmp_path / "a.json"), 2, make_mapping())
    assert (head.format, [parsed.record for parsed in head.records], head.whole) == ("json", ROWS[:2], False)


def test_delimiter_and_encoding_of_the_mapping(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("id^name\n1^Größe\n", encoding="cp1252")
    assert records(tmp_path / "a.txt", delimiter="^", encoding="cp1252") == [{"id": "1", "name": "Größe"}]
    (tmp_path / "b.csv").write_text("id;name\n1;Größe\n", encoding="utf-16")
    assert records(tmp_path / "b.csv", encoding="utf-16") == [{"id": "1", "name": "Größe"}]


def test_of_a_large_array_on_one_line_only_the_beginning_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.json").write_text("\n\n[" + '{"id": 1}, ' * 100_000)
    sizes: list[int] = []

    def watch(stream: IO[bytes], encoding: str | None) -> Iterator[bytes]:
        for chunk in iter_chunks(stream, encoding):
            sizes.append(len(chunk))
            yield chunk

    monkeypatch.setattr(source_head, "iter_chunks", watch)
    assert records(tmp_path / "a.json", limit=5) == [{"id": 1}] * 5
    assert sum(sizes) <= 2 * HEAD_BYTES


def test_parquet_in_a_subfolder(tmp_path: Path) -> None:
    (tmp_path / "shop" / "more").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "shop" / "more" / "a.parquet")
    assert records(tmp_path / "shop") == ROWS


def test_folders_globs_and_dates_in_an_object_store() -> None:
    store = fsspec.filesystem("memory")
    for day in ("2026-11-21", "2026-11-22"):
        for part in "ab":
            store.pipe(f"/heads/{day}/{part}.jsonl", json.dumps({"id": day + part}).encode())
    try:
        for catalog, count in (
            ("memory://heads/2026-11-21", 2), ("memory://heads/*/a.jsonl", 2), ("memory://heads/{date}", 2),
            ("memory://heads/{date}/b.jsonl", 1), ("memory://heads/2026-11-22/a.jsonl", 1),
        ):  # fmt: skip
            head = read_head(catalog, mapping=make_mapping())
            assert (len(head.files), head.format, len(head.records)) == (count, "jsonl", 1)
        assert read_head("memory://heads/{date}").records[0].record == {"id": "2026-11-22a"}
        with pytest.raises(MoonError, match="no such file or folder"):
            read_head("memory://heads/none")
        with pytest.raises(MoonError, match="for any date"):
            read_head("memory://none/{date}")
    finally:
        store.rm("/heads", recursive=True)


MUGS = [{"id": str(n), "title": f"Mug, number {n}", "photo": f"https://h/{n}.jpg"} for n in range(1000)]


def write_mugs(folder: Path, kind: str) -> Path:
    path = folder / f"products.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(MUGS), path)
    elif kind == "csv":
        path.write_text("\n".join(["id,title,photo", *(f'{r["id"]},"{r["title"]}",{r["photo"]}' for r in MUGS)]))
    elif kind == "xml":
        items = "\n".join(
            f"<item>{''.join(f'<{name}>{text}</{name}>' for name, text in row.items())}</item>" for row in MUGS
        )
        path.write_text(f"<products>{items}</products>")
    else:
        lines = [json.dumps(row) for row in MUGS]
        path.write_text("\n".join(lines) if kind == "jsonl" else f"[{', '.join(lines)}]")
    return path


@pytest.mark.parametrize("kind", ["csv", "jsonl", "json", "xml", "parquet"])
def test_the_records_of_every_format(tmp_path: Path, kind: str) -> None:
    head = read_head(str(write_mugs(tmp_path, kind)))
    assert not head.whole
    assert estimate_records(head) == pytest.approx(1000, rel=0 if kind == "parquet" else 0.25)
    (tmp_path / f"more.{kind}").write_bytes(Path(head.files[0]).read_bytes())
    assert estimate_records(read_head(str(tmp_path))) == pytest.approx(2000, rel=0 if kind == "parquet" else 0.25)


def test_what_was_read_whole_and_what_sizes_do_not_tell(tmp_path: Path) -> None:
    path = write_mugs(tmp_path, "jsonl")
    assert estimate_records(read_head(str(path), 5000)) == 1000
    packed = tmp_path / "packed.jsonl.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert estimate_records(read_head(str(packed))) is None
