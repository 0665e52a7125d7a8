"""Tests of the lake's model copies: a model is copied once, completely or not at all, and found by its version."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from jobs.lake.storage import Storage
from jobs.state.model_registry import describe_checkpoint
from jobs.state.model_store import (
    COMPLETE,
    MODELS_FOLDER,
    ModelStoreError,
    find_stored_model,
    locate_on_worker,
    store_model,
)


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


def test_a_folder_that_changes_while_it_is_copied_leaves_no_copy(
    storage: Storage, tiny_checkpoint: Path, other_checkpoint: str
) -> None:
    model = describe_checkpoint(str(tiny_checkpoint))
    with pytest.raises(ModelStoreError, match="changed while"):
        store_model(storage, model.model_version, other_checkpoint, None)
    assert find_stored_model(storage, model.model_version) is None
    assert store_model(storage, model.model_version, model.uri, None), "made when the files are back"


def test_two_runs_may_copy_at_once(storage: Storage, tiny_checkpoint: Path) -> None:
    model = describe_checkpoint(str(tiny_checkpoint))
    with ThreadPoolExecutor(4) as pool:
        copies = [pool.submit(store_model, storage, model.model_version, model.uri, None) for _ in range(4)]
    assert any(copy.result() for copy in copies)
    found = find_stored_model(storage, model.model_version)
    assert found is not None and describe_checkpoint(*found).model_version == model.model_version
    assert list(Path(storage.uri("_scratch")).iterdir()) == []


def test_a_worker_on_another_machine_brings_the_copy_itself(
    s3_storage: Storage, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = describe_checkpoint(str(tiny_checkpoint))
    monkeypatch.setenv("HOME", str(tmp_path / "driver"))
    store_model(s3_storage, model.model_version, model.uri, None)
    checkpoint, detector = find_stored_model(s3_storage, model.model_version) or ("", "")
    assert locate_on_worker(s3_storage, checkpoint) == checkpoint, "the driver's own machine"
    shutil.rmtree(tmp_path / "driver")
    monkeypatch.setenv("HOME", str(tmp_path / "worker"))
    here = locate_on_worker(s3_storage, checkpoint), locate_on_worker(s3_storage, detector)
    assert all(folder.startswith(str(tmp_path / "worker")) for folder in here)
    assert describe_checkpoint(*here).model_version == model.model_version
    for other in ("checkpoints/moon-tiny", "/nowhere/model", f"/nowhere/{'0' * 64}/checkpoint"):
        assert locate_on_worker(s3_storage, other) == other
