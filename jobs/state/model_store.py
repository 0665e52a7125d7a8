"""Copies of served models in the lake (`_models/<model version>/`), so that a changed folder never stops a shop.

A copy holds the checkpoint and its detector. It is written once, and a file marks it as complete
(docs/decisions/0014-served-checkpoints-in-lake.md).
"""

import logging
import shutil
import tempfile
from pathlib import Path

from pyarrow import fs

from jobs.lake.storage import Storage
from moon_model import checkpoint_dir

log = logging.getLogger(__name__)

MODELS_FOLDER = "_models"
CHECKPOINT, DETECTOR = "checkpoint", "detector"
COMPLETE = "complete"
"""Written last: a copy without it is of a killed run and is made again."""


def store_model(storage: Storage, model_version: str, checkpoint: str, detector: str | None) -> bool:
    """Copy a model into the lake unless it is there; return whether this call copied it.

    Args:
        storage: the lake's root.
        model_version: version that checkpoint and detector have together; the caller has verified it.
        checkpoint: folder of the checkpoint.
        detector: folder of the detector; None: the shipped one.
    """
    filesystem, root = storage.open()
    folder = f"{root}/{MODELS_FOLDER}/{model_version}"
    if _is_complete(filesystem, folder):
        return False
    for name, source in ((CHECKPOINT, Path(checkpoint)), (DETECTOR, Path(detector or checkpoint_dir("detector")))):
        filesystem.create_dir(f"{folder}/{name}", recursive=True)
        for file in sorted(path for path in source.iterdir() if path.is_file()):
            fs.copy_files(
                str(file.resolve()),
                f"{folder}/{name}/{file.name}",
                source_filesystem=fs.LocalFileSystem(),
                destination_filesystem=filesystem,
            )
    with filesystem.open_output_stream(f"{folder}/{COMPLETE}") as stream:
        stream.write(b"")
    log.info("copied model %s into %s", model_version[:12], storage.uri(MODELS_FOLDER, model_version))
    return True


def find_stored_model(storage: Storage, model_version: str) -> tuple[str, str] | None:
    """Return the folders of checkpoint and detector of a model that the lake keeps; None where it has no copy.

    A lake in an object store is copied to this machine first, once.
    """
    filesystem, root = storage.open()
    folder = f"{root}/{MODELS_FOLDER}/{model_version}"
    if not _is_complete(filesystem, folder):
        return None
    local = Path(folder) if storage.is_local else _download(filesystem, folder, model_version)
    return str(local / CHECKPOINT), str(local / DETECTOR)


def _is_complete(filesystem: fs.FileSystem, folder: str) -> bool:
    return bool(filesystem.get_file_info(f"{folder}/{COMPLETE}").type == fs.FileType.File)


def _download(filesystem: fs.FileSystem, folder: str, model_version: str) -> Path:
    target = Path.home() / ".cache" / "moon" / "models" / model_version
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(dir=target.parent))
    fs.copy_files(folder, str(unfinished), source_filesystem=filesystem, destination_filesystem=fs.LocalFileSystem())
    try:
        unfinished.rename(target)
    except OSError:  # a concurrent process was first
        shutil.rmtree(unfinished, ignore_errors=True)
    return target
