import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.catalog.formats import (
    count_rows_by_block,
    get_record_reader,
    read_csv,
    read_json_arrays,
    scan_blocks,
)
from jobs.catalog.parquet_parts import read_footers, scan_parquet_files
from jobs.catalog.parts import UnreadableFileError
from schemas.source_mapping import SourceMapping


def batch(*rows):
    files, blocks, values = zip(*rows, strict=True)
    return pa.RecordBatch.from_arrays(
        [pa.array(files), pa.array(blocks), pa.array(values, pa.binary())], ["moon_file", "moon_block", "value"]
    )


def test_csv_records_span_batches_and_end_with_their_file():
    batches = [
        batch(("a", 0, b"id,name"), ("a", 0, b'1,"two')),
        batch(("a", 0, b'lines"'), ("b", 0, b"name,id"), ("b", 0, b"x,2")),
    ]
    records = list(read_csv(batches))
    assert [(record.block, record.parsed.record) for record in records] == [
        (("a", 0), {"id": "1", "name": "two\nlines"}),
        (("b", 0), {"name": "x", "id": "2"}),
    ]


def test_a_csv_file_that_names_a_column_twice_is_refused_blank_headings_are_not():
    with pytest.raises(UnreadableFileError, match=r"a: the column names \['id'\] occur more than once"):
        list(read_csv([batch(("a", 0, b"id,name,id"), ("a", 0, b"1,2,3"))], mapped=frozenset({"id"})))
    assert len(list(read_csv([batch(("a", 0, b"id,x,x"), ("a", 0, b"1,2,3"))], mapped=frozenset({"id"})))) == 1
    assert len(list(read_csv([batch(("a", 0, b"id,,"), ("a", 0, b"1,2,3"))]))) == 1


def test_a_json_file_that_is_no_array_is_refused_by_name():
    with pytest.raises(UnreadableFileError, match="a holds an object, not an array"):
        list(read_json_arrays([batch(("a", 0, b"{}"))]))


def test_spark_gives_every_format_in_order_and_counts_it(spark, tmp_path):
    rows = [{"id": number, "text": f"{number} 🧵 " + "x" * 100} for number in range(300)]
    (tmp_path / "a.jsonl").write_text("\n\n".join(json.dumps(row, ensure_ascii=False) for row in rows))
    (tmp_path / "a.json").write_text(json.dumps(rows, indent=1))
    (tmp_path / "a.csv").write_text("id,text\n" + "".join(f'{row["id"]},"{row["text"]}\n"\n' for row in rows))
    pq.write_table(
        pa.Table.from_pylist(rows), tmp_path / "a.parquet", row_group_size=50, compression="none", use_dictionary=False
    )
    small_splits = spark.newSession()
    small_splits.conf.set("spark.sql.files.maxPartitionBytes", "8192")
    mapping = SourceMapping.parse('id = "id"\ntitle = "text"\n')
    for kind in ("jsonl", "csv", "json", "parquet"):
        file = str(tmp_path / f"a.{kind}")
        if kind == "parquet":
            footers = read_footers(small_splits, [file], mapping.list_columns())
            scanned = scan_parquet_files(small_splits, footers, str(tmp_path), [], mapping.list_columns())
        else:
            scanned = scan_blocks(small_splits, [file], kind)
        ids = {}
        for record in get_record_reader(kind, mapping)(scanned.toArrow().to_batches(70)):
            ids.setdefault(record.block, []).append(int(record.parsed.record["id"]))
        assert [number for block in sorted(ids) for number in ids[block]] == list(range(300)), kind
        assert (len(ids) > 1) == (kind in ("jsonl", "parquet")), kind
        if kind in ("jsonl", "parquet"):
            assert count_rows_by_block(scanned) == {block: len(numbers) for block, numbers in ids.items()}
