"""Fixtures of the tests of images: a host on loopback, and a small image store."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.images import store
from jobs.lake.storage import Storage
from jobs.lake.store import Lake
from tests.image_host import ImageHost, open_image_host
from tests.jobs.images.photo_store import fill_store


@pytest.fixture
def host() -> Iterator[ImageHost]:
    with open_image_host() as running:
        yield running


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    monkeypatch.setattr(store, "PACK_BYTES", 1500)  # two photos a pack
    lake = Lake(Storage(str(tmp_path / "my lake")))
    fill_store(lake)
    return lake
