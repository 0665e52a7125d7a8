"""Model version, preprocessing digest and shape of a checkpoint, read from its files without torch or transformers.

Every process of a run needs them, and importing torch would take longer than reading the files.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from moon_model import checkpoint_dir

DEFAULT_MODEL = "moon-tiny"
CONFIG_FILE = "config.json"
TOKENIZER_FILE = "tokenizer.json"
PROCESSOR_FILE = "processor_config.json"


@dataclass(frozen=True)
class ModelShape:
    """Properties of a model that are known without loading it.

    Attributes:
        dimension: D, the number of components of a vector.
        max_images: maximum number of images of a product that the model uses.
    """

    dimension: int
    max_images: int


def resolve_model_folder(path: str | Path | None = None) -> Path:
    """Folder of a saved model; None is ``checkpoints/moon-tiny``.

    Raises:
        FileNotFoundError: the folder holds no model.
    """
    folder = Path(path) if path is not None else checkpoint_dir(DEFAULT_MODEL)
    if not (folder / CONFIG_FILE).is_file():
        raise FileNotFoundError(
            f"no model in {folder} ({CONFIG_FILE} is missing); MoonModel.save_pretrained writes one, and "
            "`python -m recipes.weight_import --help` explains how moon-tiny is built"
        )
    return folder


def list_weight_files(folder: Path) -> list[Path]:
    """Weight files of a saved model, in compact or full format, sorted by name.

    Raises:
        FileNotFoundError: there is none.
    """
    if files := sorted(folder.glob("model*.safetensors")):
        return files
    raise FileNotFoundError(f"{folder} holds no model*.safetensors: no model was saved there")


def read_model_shape(path: str | Path | None = None) -> ModelShape:
    """Shape of a model, from its configuration file.

    Args:
        path: folder of the model; None is ``checkpoints/moon-tiny``.

    Raises:
        FileNotFoundError: the folder holds no model.
        ValueError: the configuration is not that of a MoonModel.
    """
    file = resolve_model_folder(path) / CONFIG_FILE
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
        base = stored["base_config"]
        return ModelShape(base.get("text_config", base)["hidden_size"], stored["max_images"])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{file} is not the configuration of a MoonModel ({error!r})") from error


def compute_model_version(path: str | Path | None = None, detector_path: str | Path | None = None) -> str:
    """Digest of weights, preprocessing and detector, 64 hex digits; reads the files without loading the model.

    Args:
        path: folder of the model; None is ``checkpoints/moon-tiny``.
        detector_path: folder of the detector; None is ``checkpoints/detector``.

    Raises:
        FileNotFoundError: model or detector is missing.
    """
    from moon_model.detection.detector import compute_detector_version  # noqa: PLC0415  # .venv-train lacks onnxruntime

    return combine_version(path, compute_detector_version(detector_path))


def combine_version(path: str | Path | None, detector: str) -> str:
    """Model version of a model with a detector of the given version.

    Args:
        path: folder of the model; None is ``checkpoints/moon-tiny``.
        detector: version of the detector; "none" for a model without crops.

    Raises:
        FileNotFoundError: the model is missing.
    """
    folder = resolve_model_folder(path)
    return _compute_digest([*_list_input_files(folder), *list_weight_files(folder)], detector)


def compute_preprocessing_digest(path: str | Path | None = None) -> str:
    """Digest of the files that decide how a product becomes the model's input, 64 hex digits.

    Args:
        path: folder of the model; None is ``checkpoints/moon-tiny``.

    Raises:
        FileNotFoundError: the folder holds no model.
    """
    return _compute_digest(_list_input_files(resolve_model_folder(path)))


def _list_input_files(folder: Path) -> list[Path]:
    return [folder / name for name in (CONFIG_FILE, PROCESSOR_FILE, TOKENIZER_FILE)]


def _compute_digest(files: Iterable[Path], detector: str = "") -> str:
    digest = hashlib.sha256(f"detector {detector}\n".encode())
    for file in files:
        with file.open("rb") as stream:
            digest.update(f"{file.name} {hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()
