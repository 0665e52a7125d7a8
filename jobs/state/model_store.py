"""Copies served models into the lake (`_models/<model version>/`), so that runs do not depend on the original folder.

A copy holds the checkpoint and its detector. It is written once, verified, and a file marks it as complete
(docs/decisions/0014-served-checkpoints-in-lake.md).
"""

import logging
import uuid
from collections.abc import Iterator
from pathlib import Path

from pyarrow import fs

from jobs import fault_points
from jobs.errors import MoonError
from jobs.lake.storage import SCRATCH_FOLDER, Storage
from moon_model import checkpoint_dir
from moon_model.model_copy import CHECKPOINT, DETECTOR, ModelCopyError, cache_copy, holds_version

log = logging.getLogger(__name__)

MODELS_FOLDER = "_models"
COMPLETE = "complete"
"""Written last: a copy without it is of a killed run and is made again."""


class ModelStoreError(MoonError):
    """A model cannot be copied into the lake."""


def has_models(storage: Storage) -> bool:
    """Return whether the lake has copies of models, which a run uses where a model's own folder is gone."""
    filesystem, root = storage.open()
    return bool(filesystem.get_file_info(f"{root}/{MODELS_FOLDER}").type == fs.FileType.Directory)


def store_model(storage: Storage, model_version: str, checkpoint: str, detector: str | None) -> bool:
    """Copy a model into the lake unless it is there; return whether this call copied it.

    Files are created atomically and the completion mark is written last. No reader sees an incomplete model, and
    several processes may copy the same model at once.

    Args:
        storage: the lake's root.
        model_version: version that checkpoint and detector have together.
        checkpoint: folder of the checkpoint; its files are copied, not the folders in it.
        detector: folder of the detector; None: the shipped one.

    Raises:
        ModelStoreError: the copy has another version, because the files changed while they were copied.
    """
    filesystem, root = storage.open()
    folder = f"{root}/{MODELS_FOLDER}/{model_version}"
    if _is_complete(filesystem, folder):
        return False
    log.info("copying model %s into %s", model_version[:12], storage.uri(MODELS_FOLDER, model_version))
    for part, source in ((CHECKPOINT, Path(checkpoint)), (DETECTOR, Path(detector or checkpoint_dir("detector")))):
        for file in sorted(path for path in source.iterdir() if path.is_file()):
            with fault_points.surround("copy.model"):
                _write(storage, file, f"{folder}/{part}/{file.name}")
    try:
        local = _localise(storage, model_version)
        is_whole = holds_version(local / CHECKPOINT, local / DETECTOR, model_version)
    except ModelCopyError:
        is_whole = False
    if not is_whole:
        raise ModelStoreError(
            f"the files in {checkpoint} and {detector or 'the shipped detector'} were changed while model "
            f"{model_version[:12]} was copied into the lake: put them back, then run the same command again"
        )
    with fault_points.surround("complete.model"):
        _write(storage, b"", f"{folder}/{COMPLETE}")
    return True


def find_stored_model(storage: Storage, model_version: str) -> tuple[str, str] | None:
    """Return the folders of checkpoint and detector of a model's copy in the lake; None if there is no copy.

    A copy in an object store is downloaded to this machine once.
    """
    filesystem, root = storage.open()
    if not _is_complete(filesystem, f"{root}/{MODELS_FOLDER}/{model_version}"):
        return None
    try:
        local = _localise(storage, model_version)
    except ModelCopyError as error:
        log.warning("%s: %s", storage.uri(MODELS_FOLDER, model_version), error)
        return None
    return str(local / CHECKPOINT), str(local / DETECTOR)


def locate_on_worker(storage: Storage, folder: str) -> str:
    """Return a model's or detector's folder on this machine; the driver's copy from a lake may not be here yet.

    Args:
        storage: the lake's root.
        folder: folder on the driver: any folder, or ``…/<model version>/checkpoint`` of a copy.
    """
    path = Path(folder)
    if not path.is_absolute() or path.is_dir() or path.name not in {CHECKPOINT, DETECTOR}:
        return folder
    found = find_stored_model(storage, path.parent.name)
    return folder if found is None else found[path.name == DETECTOR]


def _is_complete(filesystem: fs.FileSystem, folder: str) -> bool:
    return bool(filesystem.get_file_info(f"{folder}/{COMPLETE}").type == fs.FileType.File)


def _localise(storage: Storage, model_version: str) -> Path:
    """Return the folder of a copy on this machine: in the lake, or in a local cache if the lake is an object store."""
    filesystem, root = storage.open()
    folder = f"{root}/{MODELS_FOLDER}/{model_version}"
    if storage.is_local:
        return Path(folder)

    def download(target: Path) -> None:
        fs.copy_files(folder, str(target), source_filesystem=filesystem, destination_filesystem=fs.LocalFileSystem())

    return cache_copy(model_version, download)


def _write(storage: Storage, content: Path | bytes, target: str) -> None:
    """Write a file atomically: in a folder by renaming a temporary file; an object store is atomic by itself."""
    filesystem, root = storage.open()
    path = target
    if storage.is_local:
        path = f"{root}/{SCRATCH_FOLDER}/model-{uuid.uuid4()}"  # `moon maintain` sweeps what a killed run leaves
        for name in (path, target):
            filesystem.create_dir(name.rsplit("/", 1)[0], recursive=True)
    with filesystem.open_output_stream(path) as stream:
        for block in _read_blocks(content):
            stream.write(block)
    if path != target:
        Path(path).replace(target)


def _read_blocks(content: Path | bytes) -> Iterator[bytes]:
    if isinstance(content, bytes):
        yield content
        return
    with content.open("rb") as file:
        while block := file.read(1 << 22):
            yield block
