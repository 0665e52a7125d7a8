import bz2
import gzip
import io
import json
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.catalog import part_reader
from jobs.catalog.head import read_head
from jobs.catalog.part_reader import PartReader, describe_type
from schemas.source_mapping import SourceMapping

MAPPING = SourceMapping(id="id", title="name")


def make_lines(first: int, last: int) -> str:
    return "".join(json.dumps({"id": number, "name": "Mug"}) + "\n" for number in range(first, last))


def write_parts(folder: Path, *sizes: int) -> Path:
    """Write JSON Lines files of so many records, numbered through."""
    start = 0
    for number, size in enumerate(sizes):
        (folder / f"{number}.jsonl").write_text(make_lines(start, start + size) or "\n")
        start += size
    return folder


def read(path: Path, max_rows: int = 1000, mapping: SourceMapping = MAPPING) -> tuple[PartReader, dict[int, object]]:
    """Return the reader after reading, and the ids by source row."""
    reader = PartReader(read_head(str(path), 100, mapping), mapping, max_rows)
    found = [(number, (parsed.record or {}).get("id")) for number, parsed in reader]
    return reader, {reader.renumber(number): product_id for number, product_id in found}


def rows(reader: PartReader) -> list[int]:
    return [part.rows for part in reader.parts]


def test_all_rows_of_all_parts_in_the_nights_order(tmp_path: Path) -> None:
    reader, ids = read(write_parts(tmp_path, 3, 0, 700, 2))
    assert ids == {number: number for number in range(705)}
    assert reader.is_whole
    assert rows(reader) == [3, 0, 700, 2]
    assert reader.locate(2) == (reader.parts[0], 2)
    assert reader.locate(704) == (reader.parts[3], 1)


@pytest.mark.parametrize(
    ("sizes", "limit", "expected"),
    [
        ((10, 10, 10), 12, [4, 4, 4]),
        ((2, 10, 10), 12, [2, 5, 5]),
        ((10, 10, 1), 12, [6, 5, 1]),  # what the last leaves goes to those before it
        ((100, 3, 3), 106, [100, 3, 3]),
        ((5, 5, 5), 1, [1, 1, 1]),
    ],
)
def test_parts_share_the_rows_evenly_and_small_ones_leave_theirs(
    tmp_path: Path, sizes: tuple[int, ...], limit: int, expected: list[int]
) -> None:
    reader, ids = read(write_parts(tmp_path, *sizes), limit)
    assert rows(reader) == expected
    assert [part.is_whole for part in reader.parts] == [r == size for r, size in zip(expected, sizes, strict=True)]
    assert sorted(ids) == list(range(sum(expected)))
    assert list(dict(sorted(ids.items())).values()) == sorted(ids.values())


def test_more_parts_than_may_stay_open_are_all_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part_reader, "MAX_OPEN_PARTS", 2)
    reader, _ = read(write_parts(tmp_path, 9, 9, 9, 9, 1, 1), 24)
    assert sum(rows(reader)) <= 24
    assert min(rows(reader)[:4]) >= 4
    assert rows(reader)[4:] == [1, 1]


def test_formats_packings_and_members_give_the_same_records(tmp_path: Path) -> None:
    csv = "id,name\n" + "".join(f"{number},Mug\n" for number in range(3))
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a.csv", csv)
        file.writestr("b.csv", csv)
    items = "".join(f"<item><id>{number}</id><name>Mug</name></item>" for number in range(3))
    for name, data, count in (
        ("a.csv", csv.encode(), 3), ("b.csv.gz", gzip.compress(csv.encode()), 3),
        ("c.csv.bz2", bz2.compress(csv.encode()), 3), ("d.csv.zip", archive.getvalue(), 6),
        ("e.json", f"[{','.join(make_lines(0, 3).splitlines())}]".encode(), 3),
        ("f.xml", f"<rss><channel>{items}</channel></rss>".encode(), 3),
    ):  # fmt: skip
        (tmp_path / name).write_bytes(data)
        reader, ids = read(tmp_path / name)
        assert (list(map(str, ids.values())), reader.is_whole) == (["0", "1", "2"] * (count // 3), True)
        assert reader.survey().columns == ["id", "name"]


def test_what_is_wrong_with_a_part_is_its_problem(tmp_path: Path) -> None:
    lines = make_lines(0, 2).splitlines()
    for name, text in {"a.json": f"[{','.join(lines)}]", "b.json": f"[{lines[0]},", "c.json": "[] x"}.items():
        (tmp_path / name).write_text(text)
    reader, ids = read(tmp_path)
    assert len(ids) == 3
    problems = [part.problem or "" for part in reader.parts]
    assert problems[0] == ""
    assert "b.json not a JSON array" in problems[1]
    assert "c.json not a JSON array: found 'x' after its end" in problems[2]


def test_parquet_folders_are_columns_and_types_of_nested_columns_must_agree(tmp_path: Path) -> None:
    for day, table in (
        ("a%20b", {"id": [1], "name": ["x"]}),
        ("__HIVE_DEFAULT_PARTITION__", {"id": ["2"], "name": ["y"]}),
    ):
        (tmp_path / f"day={day}").mkdir()
        pq.write_table(pa.table(table), tmp_path / f"day={day}" / "a.parquet")
    mapping = SourceMapping(id="id", title="name", description="day")
    head = read_head(str(tmp_path), 100, mapping)
    reader = PartReader(head, mapping)
    found = {(parsed.record or {})["name"]: (parsed.record or {})["day"] for _, parsed in reader}
    assert found == {"x": "a b", "y": None}
    assert [part.problem for part in reader.parts] == [None, None]
    pq.write_table(pa.table({"id": [["2"]], "name": ["y"]}), tmp_path / "day=a%20b" / "a.parquet")
    reader, _ = read(tmp_path, mapping=mapping)
    assert "the column 'id' has several types" in " ".join(part.problem or "" for part in reader.parts)


def test_types_are_described_as_far_as_files_must_agree() -> None:
    nested = pa.struct([("a", pa.list_(pa.large_string())), ("b", pa.map_(pa.string(), pa.int64()))])
    assert describe_type(nested) == "STRUCT<a: ARRAY<string>, b: MAP<string, int64>>"
    assert describe_type(pa.large_list(pa.string())) == describe_type(pa.list_(pa.field("element", pa.string())))


def test_progress_is_told_at_each_part_and_at_the_end(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    head = read_head(str(write_parts(tmp_path, 3, 1200)), 100, MAPPING)
    list(PartReader(head, MAPPING, show_progress=lambda count, part: told.append((count, part))))
    assert told == [(0, 1), (3, 2), (503, 2), (1003, 2), (1203, 2)]
