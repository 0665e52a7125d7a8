"""Tests of choosing the encoder of a collection from the collection's properties."""

from pathlib import Path
from shutil import copytree
from typing import Any

import pytest

from moon_model import checkpoint_dir
from moon_model.collection_contract import NothingServedError, ServedModel, WrongEncoderError, read_served_model
from moon_model.encoder import MoonEncoder
from moon_model.fingerprint import compute_model_version
from moon_model.model_copy import ModelCopyError, cache_copy
from schemas.collection import PROPERTY_CHECKPOINT, PROPERTY_MODEL, PROPERTY_MODEL_COPY

TINY = checkpoint_dir("moon-tiny")


class Described:
    """Answers like a client of a Milvus with one alias; tests/jobs/serving/test_search.py asks real ones."""

    def __init__(self, **properties: str) -> None:
        self.properties = {name.replace("__", "."): value for name, value in properties.items()}

    def list_aliases(self) -> dict[str, Any]:
        return {"aliases": ["products", "other"]}

    def has_collection(self, collection_name: str) -> bool:
        return collection_name == "moon_scratch_1"

    def describe_alias(self, alias: str) -> dict[str, Any]:
        return {"collection_name": f"moon_{alias}"}

    def describe_collection(self, collection_name: str) -> dict[str, Any]:
        return {"properties": self.properties}


def described(version: str, checkpoint: str) -> Described:
    return Described(**{PROPERTY_MODEL: version, PROPERTY_CHECKPOINT: checkpoint})


def test_the_right_encoder_is_loaded_and_knows_its_collection() -> None:
    client = described(compute_model_version(TINY), str(TINY))
    encoder = MoonEncoder.for_collection(client, threads=1)
    assert encoder.model_version == compute_model_version(TINY)
    assert encoder.collection(client) == "moon_products"
    assert read_served_model(client, "other") == ServedModel("other", "moon_other", encoder.model_version, str(TINY))
    assert read_served_model(client, "moon_scratch_1").collection == "moon_scratch_1", "a collection's own name will do"
    client.properties[PROPERTY_MODEL] = "f" * 64
    with pytest.raises(WrongEncoderError, match=r"alias products serves model f{12}, this encoder is"):
        encoder.collection(client)


def test_another_checkpoint_at_that_place_is_refused(tmp_path: Path) -> None:
    folder = copytree(TINY, tmp_path / "tiny")
    processing = folder / "processor_config.json"
    processing.write_text(processing.read_text().replace('"lowercase": true', '"lowercase": false'))
    assert compute_model_version(folder) != compute_model_version(TINY)
    client = described(compute_model_version(TINY), str(folder))
    with pytest.raises(WrongEncoderError, match=f"this encoder is {compute_model_version(folder)[:12]}"):
        MoonEncoder.for_collection(client, threads=1)
    assert MoonEncoder.for_collection(client, path=TINY, threads=1).model_version == compute_model_version(TINY)


def test_what_is_not_here_is_said() -> None:
    with pytest.raises(WrongEncoderError, match=r"is not here .*/nowhere.*copy it to this machine"):
        MoonEncoder.for_collection(described("a" * 64, "/nowhere"))
    with pytest.raises(NothingServedError, match=r"no alias 'shop' .*other, products"):
        read_served_model(described("a" * 64, "/nowhere"), "shop")
    with pytest.raises(NothingServedError, match="moon_products, which is not a collection of ours"):
        read_served_model(Described(foreign="1"), "products")


@pytest.mark.parametrize("root", ["{folder}", "memory://lake/_models/1"], ids=["folder", "object store"])
def test_the_lakes_copy_is_used_where_the_folder_is_missing(
    root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fsspec

    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    copy = root.format(folder=tmp_path / "copy")
    version = compute_model_version(TINY)
    client = described(version, "/nowhere")
    client.properties[PROPERTY_MODEL_COPY] = copy
    with pytest.raises(WrongEncoderError, match=rf"is not here .*copy it to this machine.*keeps it in {copy}"):
        MoonEncoder.for_collection(client)
    filesystem, path = fsspec.core.url_to_fs(copy)
    for part, source in (("checkpoint", TINY), ("detector", checkpoint_dir("detector"))):
        filesystem.put(str(source), f"{path}/{part}", recursive=True)
    assert MoonEncoder.for_collection(client, threads=1).model_version == version
    if "://" in copy:
        (cached,) = (tmp_path / "home" / ".cache" / "moon" / "models").iterdir()
        filesystem.rm(path, recursive=True)
        assert cached.name == version
        assert MoonEncoder.for_collection(client, threads=1).model_version == version, "from the cache"


def test_a_damaged_copy_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ModelCopyError, match="it is damaged"):
        cache_copy("a" * 64, lambda folder: None)
    assert list((tmp_path / ".cache" / "moon" / "models").iterdir()) == []
