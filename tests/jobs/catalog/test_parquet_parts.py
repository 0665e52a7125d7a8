import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.catalog.formats import read_parquet_files
from jobs.catalog.parquet_parts import open_parquet_session, read_footers, scan_parquet_files
from jobs.catalog.parts import UnreadableFileError


@pytest.fixture
def read(spark, tmp_path):
    """Write tables as files and return the records of the mapped columns."""

    def run(tables, mapped, partitions=()):
        files = []
        for name, table in tables.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(table if isinstance(table, pa.Table) else pa.table(table), path)
            files.append(str(path))
        session = open_parquet_session(spark)
        rows = scan_parquet_files(session, read_footers(session, files, mapped), str(tmp_path), partitions, mapped)
        records = read_parquet_files(rows.toArrow().to_batches(), mapped)
        return sorted((record.parsed.record for record in records), key=str)

    return run


def test_only_mapped_columns_are_read_with_names_as_they_are(read):
    table = {
        "id": [1],
        "ID": ["other"],
        "the `title`": ["a.b"],
        "moment": pa.array([1], pa.timestamp("ns")),
        "half": pa.array([1], pa.uint64()),
    }
    assert read({"a.parquet": table}, ["id", "the `title`"]) == [{"id": 1, "the `title`": "a.b"}]


def test_nanoseconds_are_moments(read):
    moments = {"id": [1], "at": pa.array([1_763_596_800_123_456_789], pa.timestamp("ns", tz="UTC"))}
    (record,) = read({"a.parquet": moments}, ["id", "at"])
    assert record["at"].isoformat() == "2025-11-20T00:00:00.123456+00:00"


def test_ids_of_several_types_are_read_as_text(read):
    files = {"a.parquet": {"id": [17]}, "b.parquet": {"id": ["x-1"]}}
    assert read(files, ["id"]) == [{"id": "17"}, {"id": "x-1"}]


def test_lists_and_texts_cannot_be_read_together(read):
    with pytest.raises(UnreadableFileError, match="'image' has several types"):
        read({"a.parquet": {"image": ["a"]}, "b.parquet": {"image": [["a"]]}}, ["image"])


@pytest.mark.parametrize("lacking", ["a.parquet", "b.parquet"])
def test_a_file_without_a_mapped_column_is_named(read, lacking):
    files = {name: {"id": [1], "title": ["t"]} for name in ("a.parquet", "b.parquet")}
    files[lacking] = {"id": [2]}
    with pytest.raises(UnreadableFileError, match=f"{lacking} lacks 'title'"):
        read(files, ["id", "title"])


def test_partition_values_stay_text(read):
    files = {"dept=007/a.parquet": {"id": [1]}, "dept=042/b [c].parquet": {"id": [2]}}
    assert read(files, ["id", "dept"], ["dept"]) == [{"id": 1, "dept": "007"}, {"id": 2, "dept": "042"}]


def test_a_file_that_is_no_parquet_is_named(spark, tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"x" * 100)
    with pytest.raises(UnreadableFileError, match=r"a\.parquet is no readable Parquet file"):
        read_footers(open_parquet_session(spark), [str(tmp_path / "a.parquet")], ["id"])
