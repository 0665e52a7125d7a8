"""Finds mistakes in a command's settings before Spark starts: lake, Milvus, model, catalogue and mapping.

The checks are cheap; each raises one sentence with its remedy and its exit status. A stage checks again what it uses.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from jobs.errors import NightStoppedError, UsageError

if TYPE_CHECKING:
    from jobs.settings import Settings

LITE_NAMES = ("LOCK", "databases", "collections")
"""Names in a folder of Milvus Lite, of which it has one at least."""


def check_lake(settings: "Settings", *, must_exist: bool = False) -> None:
    """Check the path of the lake; a lake in an object store is not checked.

    Raises:
        UsageError: it cannot be a folder, or must exist and does not.
    """
    from jobs.lake.storage import Storage

    storage = Storage(settings.lake)
    if not storage.is_local:
        return
    _check_folder("the lake", Path(storage.uri()), "--lake or MOON_LAKE")
    if must_exist and not Path(storage.uri()).is_dir():
        raise UsageError(
            f"there is no lake at {storage.uri()}: name the right one with --lake or MOON_LAKE, or run `moon nightly` "
            "first"
        )


def check_milvus(settings: "Settings") -> None:
    """Check that a Milvus server answers, or that the path of Milvus Lite can be one; nothing is created.

    Raises:
        MilvusUnreachableError: no server answers, or it refuses the login.
        UsageError, LitePathError: the path cannot be a folder, or is a folder with other files.
    """
    from jobs.milvus.client import connect
    from jobs.milvus.lite import LitePathError

    if not settings.is_lite:
        with connect(settings):
            return
    path = Path(settings.milvus).expanduser().absolute()
    _check_folder("Milvus Lite's folder", path, "--milvus or MOON_MILVUS")
    if path.is_dir() and any(path.iterdir()) and not any((path / name).exists() for name in LITE_NAMES):
        raise LitePathError(
            f"{path} holds other files than a Milvus Lite database: name a folder that does not exist yet, or one that "
            "Milvus Lite 3 made, with --milvus or MOON_MILVUS"
        )


def check_model(settings: "Settings") -> None:
    """Check that the folders of the configured model and detector hold them, where the lake has no copy of a model.

    Raises:
        UsageError: a file is missing.
    """
    from jobs.lake.storage import Storage
    from jobs.state.model_store import has_models
    from moon_model.detection.detector import compute_detector_version
    from moon_model.fingerprint import list_weight_files, resolve_model_folder

    if (settings.model, settings.detector) == (None, None) or has_models(
        Storage(settings.lake, settings.storage_options())
    ):
        return
    try:
        if settings.model is not None:
            list_weight_files(resolve_model_folder(settings.model))
        if settings.detector is not None:
            compute_detector_version(settings.detector)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"the model cannot be used ({error}): name its folder with --model or MOON_MODEL, and the detector's with "
            "MOON_DETECTOR; without them the served model is used"
        ) from error


def check_catalog(settings: "Settings", date: str) -> None:
    """Check that a catalogue of this date is there, with a mapping that can be used.

    Raises:
        NightStoppedError: one of them is missing, or the mapping is wrong.
    """
    from jobs.catalog.mapping import has_pattern, locate_catalog, read_mapping

    path = locate_catalog(settings, date)
    if "://" not in path and not Path(path).exists() and not has_pattern(path):
        raise NightStoppedError(
            f"there is no catalogue of {date} at {path}: deliver it, or name another with --catalog or another --date"
        )
    read_mapping(settings, date)


def _check_folder(name: str, path: Path, option: str) -> None:
    from jobs.lake.storage import find_wrong_path

    if problem := find_wrong_path(name, path):
        raise UsageError(f"{problem}: name another with {option}")
