"""Tests of ``moon images`` on the command line."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from jobs.cli import app
from jobs.images.store import PACKS_FOLDER, PackWriter
from jobs.lake.writing import FileSink
from jobs.state.run_context import RunContext
from tests.image_host import draw_photo

SHA256 = "a" * 64


@pytest.fixture
def night(make_night, monkeypatch: pytest.MonkeyPatch) -> RunContext:
    """A lake whose store has one photo, which two products show."""
    night = make_night("2026-03-01")
    packs, stored = PackWriter(night.lake.storage), FileSink(night.lake.storage, "stored_images", {})
    stored.write_rows([packs.add(SHA256, draw_photo(1))])
    packs.close()
    night.lake.commit("stored_images", stored.close(), attempt=None, partition={})
    products = FileSink(night.lake.storage, "products", night.partition)
    image = {"uri": "https://h/1.jpg", "version": f"sha256:{SHA256}"}
    products.write_rows([{"product_id": name, "images": [image]} for name in ("mug [1]", "cup")])
    night.lake.commit("products", products.close(), attempt=None, partition=night.partition)
    monkeypatch.setenv("MOON_LAKE", night.settings.lake)

    @contextmanager
    def session(*_arguments: object) -> Iterator[object]:
        yield night.spark

    monkeypatch.setattr("jobs.spark.session.open_spark_session", session)
    return night


def test_delete(night: RunContext) -> None:
    def moon(*arguments: str) -> str:
        return CliRunner().invoke(app, ["images", "delete", *arguments], env={"COLUMNS": "200"}).output

    packs = Path(night.lake.storage.uri(PACKS_FOLDER))
    assert moon("mug [1]", "--dry-run") == "1 photos of mug [1] would go; 1 other products show some of them\n"
    assert list(packs.iterdir())
    assert json.loads(moon("mug [1]", "--json")) == {"photos": 1, "removed": 1, "shown_by_others": 1}
    assert not list(packs.iterdir()) and not night.lake.count("stored_images", {})
    assert isinstance(CliRunner().invoke(app, ["images", "delete", "none"]).exception, BaseException)
