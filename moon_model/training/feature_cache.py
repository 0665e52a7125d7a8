"""Features of a frozen compact vision tower, computed once and kept on disk.

The tower takes most of the time of a training step on a CPU and, frozen, gives the same grid for the same view every
epoch. The projector pools the grid to ``tokens_per_view`` cells anyway, so the pooled grid [1376, s, s] is kept, in
float16: 43 KB a view at 4×4, 24 KB at 3×3.
"""

import importlib.util
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO
from weakref import ref

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from moon_model.backbones.compact import GRID_FEATURES, CompactBackbone, EfficientNetLite0, VisionTower
from moon_model.modeling_moon import MoonModel
from moon_model.processing_moon import MoonBatch, MoonProcessor, PreparedProduct
from moon_model.views import Pixels

_KEY = 32
_BATCH = 16


class FeatureCache:
    """Pooled grids by the SHA-256 of a view's pixels, in a folder named after the tower's weights.

    Two append-only files: 32-byte keys, and float16 grids in the same order. Keys are written after their grids, so a
    killed run leaves whole entries; a torn one is cut off when the cache is opened. One process per folder.

    Args:
        model: whose tower is frozen; it is used as long as it is in place.
        processor: normalises views.
        folder: None keeps features in memory of this process alone.

    Raises:
        ValueError: the model's backbone is not the compact one.
    """

    def __init__(self, model: MoonModel, processor: MoonProcessor, folder: Path | None = None) -> None:
        backbone = model.backbone
        if not isinstance(backbone, CompactBackbone):
            raise ValueError(f"features are cached for the compact backbone, not for {model.config.backbone}")
        self.side = backbone.projector.side
        self.shape = (GRID_FEATURES, self.side, self.side)
        self._tower: nn.Module = backbone.vision
        if model.device.type == "cpu":
            self._tower = _fast(backbone.vision)
        self._views = processor.views
        self._device = model.device
        self._places: dict[bytes, int] = {}
        self._names: dict[int, tuple[ref[Pixels], bytes]] = {}
        self._memory: list[NDArray[np.float16]] = []
        self._keys: BinaryIO | None = None
        self._grids: BinaryIO | None = None
        if folder is not None:
            self._open(
                folder / compute_tower_digest(backbone.vision, self.side)[:16]
            )  # torch's weights: ONNX Runtime shows none

    def __len__(self) -> int:
        return len(self._places)

    def features(self, views: Sequence[Pixels]) -> Tensor:
        """Return the pooled grids float32 [V, 1376, s, s] of views, computing those that are new."""
        names = [self._name(view) for view in views]
        new = {name: view for name, view in zip(names, views, strict=True) if name not in self._places}
        for start in range(0, len(new), _BATCH):
            part = list(new.items())[start : start + _BATCH]
            self._add([name for name, _ in part], self._compute_grids([view for _, view in part]))
        return torch.from_numpy(np.stack([self._get(self._places[name]) for name in names])).float()

    def _name(self, view: Pixels) -> bytes:
        """SHA-256 of a view's pixels, remembered as long as that array lives: kept photos come every epoch."""
        known = self._names.get(id(view))
        if known is not None and known[0]() is view:
            return known[1]
        name = sha256(view.tobytes()).digest()
        self._names[id(view)] = (ref(view, partial(self._forget, id(view))), name)
        return name

    def _forget(self, key: int, gone: ref[Pixels]) -> None:
        if self._names.get(key, (None,))[0] is gone:
            del self._names[key]

    def close(self) -> None:
        """Close the files; what was computed is on disk."""
        for file in (self._grids, self._keys):
            if file is not None:
                file.close()

    @torch.no_grad()
    def _compute_grids(self, views: Sequence[Pixels]) -> NDArray[np.float16]:
        pixels = self._views.collate(views)["pixel_values"].to(self._device)
        grid = F.adaptive_avg_pool2d(self._tower(pixels).float(), self.side)
        return grid.cpu().numpy().astype(np.float16)

    def _add(self, names: Sequence[bytes], grids: NDArray[np.float16]) -> None:
        for name, grid in zip(names, grids, strict=True):
            self._places[name] = len(self._places)
            if self._grids is None or self._keys is None:
                self._memory.append(grid)
                continue
            self._grids.seek(0, 2)
            self._grids.write(grid.tobytes())
            self._grids.flush()
            self._keys.write(name)
            self._keys.flush()

    def _get(self, place: int) -> NDArray[np.float16]:
        if self._grids is None:
            return self._memory[place]
        size = int(np.prod(self.shape)) * 2
        self._grids.seek(place * size)
        return np.frombuffer(self._grids.read(size), dtype=np.float16).reshape(self.shape)

    def _open(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "about.json").write_text(json.dumps({"dtype": "float16", "shape": self.shape}) + "\n")
        keys_path, grids_path = folder / "keys.bin", folder / "grids.f16"
        keys_path.touch()
        grids_path.touch()
        size = int(np.prod(self.shape)) * 2
        whole = min(keys_path.stat().st_size // _KEY, grids_path.stat().st_size // size)
        self._keys, self._grids = keys_path.open("r+b"), grids_path.open("r+b")
        self._grids.truncate(whole * size)
        self._keys.truncate(whole * _KEY)
        stored = self._keys.read()
        self._places = {stored[at * _KEY : (at + 1) * _KEY]: at for at in range(whole)}


def compute_tower_digest(tower: nn.Module, side: int) -> str:
    """Name a tower by its weights, its features and the size its grid is pooled to: 64 hex digits."""
    digest = sha256(f"side {side}, features {GRID_FEATURES}\n".encode())
    for name, tensor in sorted(tower.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()


def _fast(tower: VisionTower) -> nn.Module:
    """The same tower on ONNX Runtime where that is installed (not in .venv-train), four times faster."""
    if importlib.util.find_spec("onnxruntime") is None:
        return tower
    from moon_model.backbones.onnx_trunk import OnnxTrunk  # noqa: PLC0415  # see above

    assert isinstance(tower.trunk, EfficientNetLite0)  # noqa: S101  # a model in training runs on torch
    fast = VisionTower()
    fast.trunk = OnnxTrunk(tower.trunk)
    return fast


@contextmanager
def bypass_tower(model: MoonModel) -> Iterator[None]:
    """Let the model take pooled grids for ``pixel_values`` while the block runs; the tower comes back afterwards."""
    backbone = model.backbone
    assert isinstance(backbone, CompactBackbone)  # noqa: S101  # FeatureCache refused any other
    tower = backbone.vision
    backbone.vision = nn.Identity()  # type: ignore[assignment]  # pooled grids pass through
    try:
        yield
    finally:
        backbone.vision = tower


def collate_cached(processor: MoonProcessor, cache: FeatureCache, prepared: Sequence[PreparedProduct]) -> MoonBatch:
    """Pad prepared products as the processor does, with cached grids in the place of pixels."""
    bare = [PreparedProduct(item.id, item.input_ids, item.segment_ids) for item in prepared]
    batch = processor(bare)
    views = [view for item in prepared for view in item.views]
    if views:
        batch["pixel_values"] = cache.features(views)
    return batch
