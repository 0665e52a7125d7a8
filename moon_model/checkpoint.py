"""Compact storage of a MoonModel: int8 matrices in safetensors shards that are small enough for a Git repository.

A matrix is stored as int8 with one float32 scale per output row, a quarter of its size. Where that would change the
matrix by more than ``MAX_INT8_ERROR``, each block of 64 columns of a row has its own scale (some columns of the token
embedding are much larger than the others). Where the error is still too large, the matrix is stored as bfloat16.
Vectors stay float32.

``MoonModel.from_pretrained`` recognises such a folder by ``config.moon_storage`` and computes with the restored
float32 weights. ``MoonModel.save_pretrained`` writes the other format, in full precision.
"""

import copy
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from huggingface_hub import split_torch_state_dict_into_shards
from safetensors.torch import load_file, save_file
from torch import Tensor

from moon_model.configuration_moon import MoonConfig

STORAGE_FORMAT = "int8-rows"
STORAGE_VERSION = 1
INDEX_FILE = "model.safetensors.index.json"
MAX_SHARD_BYTES = 15 * 2**20 - 2**18
"""Maximum tensor bytes of a file: with its header the file stays under 15 MiB."""

MAX_INT8_ERROR = 0.015
"""Largest relative error (Frobenius norm) for which int8 is used; that of bfloat16 is 0.002."""

SCALE_BLOCK = 64
"""Number of columns that share a scale if one scale per row is not accurate enough."""

_SCALE = ".scale"
_PATTERN = "model{suffix}.safetensors"


@dataclass(frozen=True)
class PartSize:
    """Size of one part of a stored model.

    Attributes:
        part: common start of its tensors' names, such as ``decoder.layers``.
        parameters: number of weights after loading.
        stored: bytes in the files, scales included.
        kinds: dtypes of its stored tensors, most bytes first.
    """

    part: str
    parameters: int
    stored: int
    kinds: str


def save_state(
    state: Mapping[str, Tensor], config: MoonConfig, folder: Path, max_shard_bytes: int = MAX_SHARD_BYTES
) -> list[Path]:
    """Write weights and ``config.json``; weights of an earlier save in the folder are removed.

    Args:
        state: a model's ``state_dict()``.
        config: the model's configuration; a copy with ``moon_storage`` set is written.
        folder: created if absent.
        max_shard_bytes: maximum tensor bytes of a file.

    Returns:
        The weight files.

    Raises:
        ValueError: a single tensor is larger than ``max_shard_bytes``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # Pack every tensor; a stack of equal matrices is stored once, with the number of its copies.
    stored: dict[str, Tensor] = {}
    repeated: dict[str, int] = {}
    for name, tensor in state.items():
        copies = _has_equal_slices(tensor)
        if copies:
            repeated[name] = tensor.shape[0]
        stored |= _pack_tensor(name, (tensor[:1] if copies else tensor).detach().cpu())
    # Check the sizes before any file in the folder is replaced.
    largest = max(stored, key=lambda name: stored[name].nbytes)
    if stored[largest].nbytes > max_shard_bytes:
        raise ValueError(f"{largest} alone takes {stored[largest].nbytes:,} bytes, a file at most {max_shard_bytes:,}")
    # Replace the shards and the index, then the configuration, which says how to read them.
    for old in [*folder.glob("model*.safetensors"), folder / INDEX_FILE]:
        old.unlink(missing_ok=True)
    split = split_torch_state_dict_into_shards(stored, filename_pattern=_PATTERN, max_shard_size=max_shard_bytes)
    for file, names in split.filename_to_tensors.items():
        save_file({name: stored[name].contiguous() for name in names}, folder / file, {"format": "pt"})
        (folder / file).chmod(0o644)  # safetensors makes files that only their owner may read
    index = {"metadata": split.metadata, "weight_map": split.tensor_to_filename}
    (folder / INDEX_FILE).write_text(json.dumps(index, indent=1, sort_keys=True) + "\n")
    written = copy.deepcopy(config)
    written.moon_storage = {"format": STORAGE_FORMAT, "version": STORAGE_VERSION, "repeated": repeated}
    written.save_pretrained(folder)
    return [folder / file for file in split.filename_to_tensors]


def load_state_dict(folder: str | Path) -> dict[str, Tensor]:
    """Float32 weights that ``save_state`` wrote, by name.

    Raises:
        FileNotFoundError: the folder or one of its files is missing.
        ValueError: the format is unknown, or the index names a file outside the folder.
    """
    folder = Path(folder)
    storage = json.loads((folder / "config.json").read_text()).get("moon_storage") or {}
    if (storage.get("format"), storage.get("version")) != (STORAGE_FORMAT, STORAGE_VERSION):
        raise ValueError(
            f"{folder} is stored as {storage}; this version of moon_model reads {STORAGE_FORMAT} {STORAGE_VERSION}"
        )
    stored = _read_shards(folder)
    repeated: dict[str, int] = storage["repeated"]
    state: dict[str, Tensor] = {}
    for name, tensor in stored.items():
        if name.endswith(_SCALE):
            continue
        # int8 -> float32 by its scales, bfloat16 -> float32 as it is; then the copies of a repeated matrix.
        scale = stored.get(name + _SCALE)
        restored = tensor.float() if scale is None else _multiply_scales(tensor, scale)
        state[name] = restored.repeat(repeated[name], *[1] * (restored.ndim - 1)) if name in repeated else restored
    return state


def measure_parts(folder: Path) -> list[PartSize]:
    """Sizes of the parts of a compactly stored model, largest first."""
    storage = json.loads((folder / "config.json").read_text())["moon_storage"]
    stored: Counter[str] = Counter()
    parameters: Counter[str] = Counter()
    kinds: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for name, tensor in _read_shards(folder).items():
        part = ".".join(name.removeprefix("backbone.").split(".")[:2])
        stored[part] += tensor.nbytes
        if not name.endswith(_SCALE):
            parameters[part] += tensor.numel() * storage["repeated"].get(name, 1)
            kinds[part][str(tensor.dtype).removeprefix("torch.")] += tensor.nbytes
    return [
        PartSize(part, parameters[part], size, ", ".join(kind for kind, _ in kinds[part].most_common()))
        for part, size in stored.most_common()
    ]


def count_folder_bytes(paths: Iterable[Path]) -> int:
    """Total bytes of all files in the folders."""
    return sum(file.stat().st_size for path in paths for file in path.rglob("*") if file.is_file())


def _pack_tensor(name: str, tensor: Tensor) -> dict[str, Tensor]:
    """The tensors to store for one weight: int8 with scales, bfloat16, or float32 for vectors."""
    values = tensor.float()
    if values.ndim < 2:
        return {name: values}
    # Largest value of each output row (the axes of a kernel belong to its row), [rows, 1 …].
    maxima = [values.abs().amax((1, 2, 3) if values.ndim == 4 else -1, keepdim=True)]
    # Second choice for matrices: the largest value of each block of columns, [rows, blocks].
    if values.ndim == 2 and values.shape[1] % SCALE_BLOCK == 0:
        maxima.append(values.abs().unflatten(1, (-1, SCALE_BLOCK)).amax(-1))
    for maximum in maxima:
        # Symmetric int8: the largest value becomes ±127.
        scale = maximum.clamp(min=1e-12) / 127
        rounded = _multiply_scales(values, 1 / scale).round().clamp(-127, 127)
        if (_multiply_scales(rounded, scale) - values).norm() <= MAX_INT8_ERROR * values.norm().clamp(min=1e-12):
            return {name: rounded.to(torch.int8), name + _SCALE: scale}
    return {name: values.bfloat16()}


def _multiply_scales(tensor: Tensor, scale: Tensor) -> Tensor:
    """Product of the rows, or of a matrix's blocks of columns, with their scales, in float32."""
    if tensor.ndim == 2 and scale.shape[1] > 1:
        blocks: Tensor = tensor.float().unflatten(1, (-1, SCALE_BLOCK))
        return (blocks * scale[..., None]).flatten(1)
    return tensor.float() * scale


def _has_equal_slices(tensor: Tensor) -> bool:
    """Whether a stack of matrices holds copies of one matrix, as untrained experts are."""
    return tensor.ndim == 3 and tensor.shape[0] > 1 and bool((tensor[1:] == tensor[:1]).all())


def _read_shards(folder: Path) -> dict[str, Tensor]:
    """All stored tensors of a folder, by the shards that its index names."""
    index = folder / INDEX_FILE
    if not index.is_file():
        raise FileNotFoundError(f"{folder} has no {INDEX_FILE}")
    names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    if outside := [name for name in names if Path(name).name != name]:
        raise ValueError(f"{index} names files outside its folder: {', '.join(outside)}")
    stored: dict[str, Tensor] = {}
    for name in names:
        stored |= load_file(folder / name)
    return stored
