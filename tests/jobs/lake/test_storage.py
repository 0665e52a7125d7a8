"""Tests that pyarrow, Spark and deltalake read and write the same root."""

from pathlib import Path

from pyarrow import fs

from jobs.lake.storage import Storage


def test_a_folder(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path / "lake"))
    assert storage.is_local
    assert storage.uri("products") == str(tmp_path / "lake" / "products")
    filesystem, root = storage.open()
    assert isinstance(filesystem, fs.LocalFileSystem)
    assert root == str(tmp_path / "lake")
    assert Storage(f"file://{tmp_path}").uri() == str(tmp_path)


def test_an_object_store_with_an_endpoint_of_its_own() -> None:
    options = {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9000",
        "AWS_ACCESS_KEY_ID": "someone",
        "AWS_SECRET_ACCESS_KEY": "hidden",
        "AWS_REGION": "eu-west-1",
    }
    storage = Storage("s3://bucket/lake", options)
    assert not storage.is_local
    assert storage.uri("products", "x") == "s3://bucket/lake/products/x"
    assert storage.spark_uri("s3://bucket/a") == "s3a://bucket/a"
    filesystem, root = storage.open()
    assert isinstance(filesystem, fs.S3FileSystem)
    assert root == "bucket/lake"


def test_options_are_not_shown() -> None:
    assert "hidden" not in repr(Storage("s3://b", {"AWS_SECRET_ACCESS_KEY": "hidden"}))
