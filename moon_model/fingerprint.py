"""What a checkpoint is, told by its files alone: version, input digest and shape, without torch or transformers.

A night asks for this in every process it starts, and importing torch would take longer than the answer.
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
    """What callers need to know of a model before they load it.

    Attributes:
        dimension: D, the length of a vector.
        max_images: images of a product that reach the model.
    """

    dimension: int
    max_images: int


def resolve_model_folder(path: str | Path | None = None) -> Path:
    """Folder of a saved model; None is ``checkpoints/moon-tiny``.

    Raises:
        FileNotFoundError: when the folder holds no model.
    """
    folder = Path(path) if path is not None else checkpoint_dir(DEFAULT_MODEL)
    if not (folder / CONFIG_FILE).is_file():
        raise FileNotFoundError(
            f"no model in {folder} ({CONFIG_FILE} is missing); MoonModel.save_pretrained writes one, and "
            "`python -m recipes.weight_import --help` tells how moon-tiny is built"
        )
    return folder


def list_weight_files(folder: Path) -> list[Path]:
    """The weight files of a stored model, of either format, sorted by name.

    Raises:
        FileNotFoundError: when there is none.
    """
    if files := sorted(folder.glob("model*.safetensors")):
        return files
    raise FileNotFoundError(f"{folder} holds no model*.safetensors: no model was saved there")


def read_model_shape(path: str | Path | None = None) -> ModelShape:
    """Read a model's shape from its configuration file.

    Raises:
        FileNotFoundError: when the folder holds no model.
        ValueError: when the configuration is not that of a MoonModel.
    """
    file = resolve_model_folder(path) / CONFIG_FILE
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
        base = stored["base_config"]
        return ModelShape(base.get("text_config", base)["hidden_size"], stored["max_images"])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{file} is not the configuration of a MoonModel ({error!r})") from error


def compute_model_version(path: str | Path | None = None, detector_path: str | Path | None = None) -> str:
    """Digest of weights, processing configuration and detector, 64 hex digits; reads files, loads nothing.

    Args:
        path: folder of the model; None is ``checkpoints/moon-tiny``.
        detector_path: folder of the detector; None is ``checkpoints/detector``.

    Raises:
        FileNotFoundError: when one of them is missing.
    """
    from moon_model.detection.detector import compute_detector_version  # noqa: PLC0415  # .venv-train lacks onnxruntime

    return combine_version(path, compute_detector_version(detector_path))


def combine_version(path: str | Path | None, detector: str) -> str:
    """``compute_model_version`` beside a detector that is known by its own version ("none": without crops).

    Raises:
        FileNotFoundError: when the model is missing.
    """
    folder = resolve_model_folder(path)
    return _digest([*_input_files(folder), *list_weight_files(folder)], detector)


def compute_preprocessing_digest(path: str | Path | None = None) -> str:
    """Digest of what decides how a product becomes the model's input, 64 hex digits; reads three small files.

    Raises:
        FileNotFoundError: when the folder holds no model.
    """
    return _digest(_input_files(resolve_model_folder(path)))


def _input_files(folder: Path) -> list[Path]:
    return [folder / name for name in (CONFIG_FILE, PROCESSOR_FILE, TOKENIZER_FILE)]


def _digest(files: Iterable[Path], detector: str = "") -> str:
    digest = hashlib.sha256(f"detector {detector}\n".encode())
    for file in files:
        with file.open("rb") as stream:
            digest.update(f"{file.name} {hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()
