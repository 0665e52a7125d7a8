"""The copy of a served model that a lake keeps: its layout, its verification, and this machine's cache of it.

A copy is a folder, or a prefix in an object store, with the folders ``checkpoint`` and ``detector``
(docs/decisions/0014-served-checkpoints-in-lake.md). A collection's property names it.
"""

import os
import shutil
import tempfile
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from moon_model.detection.detector import compute_detector_version
from moon_model.fingerprint import combine_version

CHECKPOINT = "checkpoint"
DETECTOR = "detector"


class ModelCopyError(RuntimeError):
    """A copy cannot be read on this machine, or is not the expected model version."""


def holds_version(
    checkpoint: str | Path, detector: str | Path | None, model_version: str, detector_version: str | None = None
) -> bool:
    """Return whether a checkpoint and a detector together are a given model version; no model is loaded.

    Args:
        checkpoint: folder of the model.
        detector: folder of the detector; None: the shipped one.
        model_version: 64 hex digits.
        detector_version: version of a detector without a folder, or "none"; None: the version of ``detector``.
    """
    try:
        return combine_version(checkpoint, detector_version or compute_detector_version(detector)) == model_version
    except (OSError, ValueError):  # missing, or no model
        return False


def open_copy(uri: str, model_version: str) -> Path:
    """Return the folder of a lake's copy on this machine: in place, or downloaded once.

    Args:
        uri: folder, or URI that fsspec reads; the store's library takes credentials from the environment.
        model_version: the version that the copy must have.

    Raises:
        ModelCopyError: it cannot be read on this machine, or has another model version.
    """
    if "://" not in uri:
        return Path(uri)

    def download(target: Path) -> None:
        import fsspec  # noqa: PLC0415  (only for lakes in an object store)

        filesystem, path = fsspec.core.url_to_fs(uri)
        for part in (CHECKPOINT, DETECTOR):
            (target / part).mkdir()
            for name in filesystem.ls(f"{path}/{part}", detail=False):
                filesystem.get_file(name, str(target / part / Path(name).name))

    try:
        return cache_copy(model_version, download)
    except (ImportError, OSError, ValueError) as error:
        raise ModelCopyError(f"{uri} cannot be read from here ({error})") from error


def cache_copy(model_version: str, download: Callable[[Path], None]) -> Path:
    """Return the folder of a copy in this machine's cache, downloaded and verified unless it exists.

    Args:
        model_version: 64 hex digits.
        download: fills an empty folder with the copy.

    Raises:
        ModelCopyError: the download is another model version.
    """
    root = _find_cache_folder()
    folder = root / model_version
    if holds_version(folder / CHECKPOINT, folder / DETECTOR, model_version):
        return folder
    partial = root / f"{model_version}.{uuid.uuid4().hex[:8]}"
    try:
        partial.mkdir(parents=True)
        download(partial)
        if not holds_version(partial / CHECKPOINT, partial / DETECTOR, model_version):
            raise ModelCopyError(f"the copy is not model {model_version[:12]}: it is damaged")
        shutil.rmtree(folder, ignore_errors=True)
        try:
            partial.rename(folder)
        except OSError:  # a concurrent process was first, and verified its download too
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def _find_cache_folder() -> Path:
    """Return a folder for copies that this user can write."""
    folder = Path.home() / ".cache" / "moon" / "models"
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    return folder if os.access(folder, os.W_OK) else Path(tempfile.gettempdir()) / f"moon-models-{os.getuid()}"
