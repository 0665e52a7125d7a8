"""Tests of a writing task: its files and its report about them."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.lake import writing as lake_files
from jobs.lake.storage import Storage
from jobs.lake.writing import AddedFile, FileSink, write_batches

DAY = {"date": "2026-11-22"}


def rows(count: int) -> list[dict[str, object]]:
    return [{"product_id": f"p{number:04}", "source_row": number} for number in range(count)]


def test_rows_come_back_with_statistics(tmp_path: Path) -> None:
    sink = FileSink(Storage(str(tmp_path)), "products", DAY)
    sink.write_rows(rows(3))
    (file,) = sink.close()
    assert (file.rows, file.minimum, file.maximum) == (3, "p0000", "p0002")
    path = tmp_path / "products" / file.path
    assert path.parent.name == "date=2026-11-22"
    assert path.stat().st_size == file.size
    assert pq.read_table(path, partitioning=None)["product_id"].to_pylist() == ["p0000", "p0001", "p0002"]
    assert json.loads(file.build_statistics())["numRecords"] == 3


def test_large_writes_roll_to_new_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lake_files, "ROWS_PER_FILE", 10)
    monkeypatch.setattr(lake_files, "ROWS_PER_GROUP", 4)
    sink = FileSink(Storage(str(tmp_path)), "products", DAY)
    for row in rows(25):
        sink.write_rows([row])
    files = sink.close()
    assert sum(file.rows for file in files) == 25
    assert len(files) == 3
    assert len({file.path for file in files}) == 3


def test_nothing_written_is_no_file(tmp_path: Path) -> None:
    assert FileSink(Storage(str(tmp_path)), "products", DAY).close() == []
    assert not (tmp_path / "products").exists()


def test_wrong_partitions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="partitioned by"):
        FileSink(Storage(str(tmp_path)), "products", {"stage": "x"})
    with pytest.raises(ValueError, match="folder's name"):
        FileSink(Storage(str(tmp_path)), "products", {"date": "../etc"})


def test_a_task_yields_one_description_of_all_it_wrote(tmp_path: Path) -> None:
    columns = ["product_id", "source_row"]
    full = [
        pa.RecordBatch.from_pylist([{**dict.fromkeys(lake_files.TABLES["products"].columns.names), **row}])
        for row in rows(2)
    ]
    assert set(columns) <= set(full[0].schema.names)
    (described,) = write_batches(iter(full), Storage(str(tmp_path)), "products", DAY)
    (file,) = [AddedFile.from_json(text) for text in described["file"].to_pylist()]
    assert file.rows == 2


@given(
    st.builds(
        AddedFile,
        path=st.text(),
        size=st.integers(0),
        rows=st.integers(0),
        partition=st.dictionaries(st.text(), st.text(), max_size=2),
        key=st.text(),
        minimum=st.text() | st.integers() | st.none(),
        maximum=st.text() | st.integers() | st.none(),
    )
)
def test_descriptions_survive_json(file: AddedFile) -> None:
    assert AddedFile.from_json(file.to_json()) == file


@pytest.mark.long
def test_a_store_gets_the_file_and_no_folders(s3_storage: Storage) -> None:
    import boto3

    sink = FileSink(s3_storage, "products", DAY)
    sink.write_rows(rows(3))
    (file,) = sink.close()
    filesystem, root = s3_storage.open()
    table = pq.read_table(f"{root}/products/{file.path}", filesystem=filesystem, partitioning=None)
    assert table["product_id"].to_pylist() == ["p0000", "p0001", "p0002"]
    options = s3_storage.options
    keys = {
        "aws_access_key_id": options["AWS_ACCESS_KEY_ID"],
        "aws_secret_access_key": options["AWS_SECRET_ACCESS_KEY"],
    }
    client = boto3.client("s3", endpoint_url=options["AWS_ENDPOINT_URL"], region_name=options["AWS_REGION"], **keys)
    bucket, prefix = root.split("/", 1)
    stored = {item["Key"]: item["Size"] for item in client.list_objects_v2(Bucket=bucket, Prefix=prefix)["Contents"]}
    assert stored == {f"{prefix}/products/{file.path}": file.size}
