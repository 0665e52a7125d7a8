"""A served model is copied into the lake once, whole or not at all, and found there by its version."""

from pathlib import Path

import pytest

from jobs.lake.storage import Storage
from jobs.state.model_registry import describe_checkpoint
from jobs.state.model_store import COMPLETE, MODELS_FOLDER, find_stored_model, store_model


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "lake [1]"))


def test_a_copy_is_the_same_model_and_is_made_once(storage: Storage, tiny_checkpoint: Path) -> None:
    model = describe_checkpoint(str(tiny_checkpoint))
    assert find_stored_model(storage, model.model_version) is None
    assert store_model(storage, model.model_version, model.uri, model.detector)
    assert not store_model(storage, model.model_version, "/nowhere", None)
    checkpoint, detector = find_stored_model(storage, model.model_version) or ("", "")
    assert describe_checkpoint(checkpoint, detector).model_version == model.model_version


def test_a_copy_that_was_killed_is_none_and_is_made_again(storage: Storage, tiny_checkpoint: Path) -> None:
    model = describe_checkpoint(str(tiny_checkpoint))
    store_model(storage, model.model_version, model.uri, model.detector)
    Path(storage.uri(MODELS_FOLDER, model.model_version, COMPLETE)).unlink()
    assert find_stored_model(storage, model.model_version) is None
    assert store_model(storage, model.model_version, model.uri, model.detector)
    assert find_stored_model(storage, model.model_version) is not None


def test_a_copy_in_an_object_store_is_brought_here_once(
    s3_storage: Storage, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    model = describe_checkpoint(str(tiny_checkpoint))
    store_model(s3_storage, model.model_version, model.uri, model.detector)
    found = find_stored_model(s3_storage, model.model_version)
    assert found is not None and found[0].startswith(str(tmp_path))
    assert describe_checkpoint(*found).model_version == model.model_version
    assert find_stored_model(s3_storage, model.model_version) == found
