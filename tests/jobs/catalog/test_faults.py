import bz2
import gzip
import json
import os
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.errors import AnalysisException, SparkRuntimeException

from jobs.catalog.faults import CatalogFaultError, explain_read_failure, find_problem
from jobs.errors import NightStoppedError
from jobs.stages.pull import pull

LINES = "".join(f"id{number},Mug\n" for number in range(5000)).encode()
ROW = json.dumps({"id": "1", "title": "Mug", "images": []})


@pytest.mark.parametrize(
    ("name", "data", "problem"),
    [
        ("a.csv.gz", gzip.compress(LINES), None),
        ("a.csv.gz", gzip.compress(LINES)[:-30], "cannot be unpacked"),
        ("a.csv.gz", LINES, "Not a gzipped file"),
        ("a.csv.bz2", bz2.compress(LINES), None),
        ("a.csv.bz2", bz2.compress(LINES)[:-30], "cannot be unpacked"),
        ("a.csv.zst", LINES, "cannot be unpacked"),
        ("a.csv.zip", LINES, "cannot be unpacked"),
        ("a.csv", b"\0\xff", None),
        ("a.parquet", LINES, "is no readable Parquet file"),
    ],
)
def test_a_broken_file_is_told_from_a_good_one(tmp_path: Path, name: str, data: bytes, problem: str | None) -> None:
    (tmp_path / name).write_bytes(data)
    found = find_problem(str(tmp_path / name))
    assert found is None if problem is None else problem in (found or "")


def test_a_damaged_page_of_a_parquet_file_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    values = np.random.default_rng(0).integers(0, 256, 100_000).astype(str)
    pq.write_table(pa.table({"id": values}), path, compression="zstd", use_dictionary=False)
    assert find_problem(str(path)) is None
    data = bytearray(path.read_bytes())
    data[1000:3000] = b"\xff" * 2000
    path.write_bytes(data)
    assert "is no readable Parquet file" in (find_problem(str(path)) or "")


def test_a_store_that_fails_is_no_fault_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(fsspec, "open", fail)
    assert find_problem(str(tmp_path / "a.parquet")) is None
    found = explain_read_failure("shop", ["a.csv.gz"], SparkRuntimeException("Input/output error"))
    assert isinstance(found, CatalogFaultError) and found.exit_status == 1
    assert "run the same again" in str(found)


def test_what_the_mapping_or_the_path_is_needs_a_person() -> None:
    found = explain_read_failure("shop", [], AnalysisException("PATH_NOT_FOUND"))
    assert isinstance(found, NightStoppedError) and found.exit_status == 3


def test_a_killed_worker_is_a_reason_to_run_again(tmp_path: Path, make_night, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mapping.toml").write_text('id = "id"\ntitle = "title"\nimages = "images"\n')
    (tmp_path / "shop.jsonl").write_text(ROW)

    def die(batches):
        os.kill(os.getpid(), 9)
        yield from batches

    context = make_night(catalog=str(tmp_path / "shop.jsonl"))
    with monkeypatch.context() as patch, pytest.raises(CatalogFaultError, match="run the same again") as stopped:
        patch.setattr("jobs.catalog.source.get_record_reader", lambda *_: die)
        pull(context)
    assert stopped.value.exit_status == 1
    assert pull(context).counts["delivered"] == 1
