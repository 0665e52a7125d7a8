"""A cache of a frozen compact vision tower's features, on disk or in memory.

On a CPU the tower takes most of the time of a training step. When it is frozen, it returns the same grid for the same
view in every epoch. The projector pools the grid to ``tokens_per_view`` cells, so the pooled grid is cached, in
float16: 43 KB per view at 4×4 cells, 24 KB at 3×3.

Shape suffixes: V views, F = 1376 features of a cell, S cells per side of a pooled grid.
"""

import importlib.util
import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.weak import WeakIdKeyDictionary

from moon_model.backbones.compact import GRID_FEATURES, CompactBackbone, EfficientNetLite0, VisionTower
from moon_model.modeling_moon import MoonModel
from moon_model.processing_moon import MoonBatch, MoonProcessor, PreparedProduct
from moon_model.training.trainable_model import replace_module
from moon_model.views import Pixels

_KEY_BYTES = 32  # SHA-256
_TOWER_BATCH = 16


class FeatureCache:
    """Cache of pooled grids, keyed by the SHA-256 of a view's pixels, in a folder named after the tower's weights.

    The folder has two files that are only appended to: ``keys.bin``, 32 bytes per entry, and ``grids.f16``, a float16
    grid per entry in the same order. A key is written after its grid, so after a crash each key has its grid.
    Incomplete entries are cut off at the next start. Only one process may use a folder.

    Args:
        model: model with a frozen compact tower.
        processor: normalises views.
        folder: parent folder of the files. None: the features are kept in memory.

    Raises:
        ValueError: the model's backbone is not the compact one.
    """

    def __init__(self, model: MoonModel, processor: MoonProcessor, folder: Path | None = None) -> None:
        backbone = model.backbone
        if not isinstance(backbone, CompactBackbone):
            raise ValueError(f"features are cached for the compact backbone, not for {model.config.backbone}")
        self.side = backbone.projector.side
        self.shape = (GRID_FEATURES, self.side, self.side)
        self._grid_bytes = int(np.prod(self.shape)) * np.dtype(np.float16).itemsize
        self._tower = _use_onnx_runtime(backbone.vision) if model.device.type == "cpu" else backbone.vision
        self._views = processor.views
        self._device = model.device
        self._rows: dict[bytes, int] = {}
        # Photos that `Examples` keeps are the same array in every epoch: a key is known as long as its array exists.
        self._known_keys = WeakIdKeyDictionary()
        self._keys: BinaryIO = BytesIO()
        self._grids: BinaryIO = BytesIO()
        if folder is not None:
            # The digest is computed from torch's weights, because the ONNX Runtime tower does not expose any.
            self._open(folder / compute_tower_digest(backbone.vision, self.side)[:16])

    def __len__(self) -> int:
        return len(self._rows)

    def get_features(self, views: Sequence[Pixels]) -> Tensor:
        """Return the pooled grids float32 [V, F, S, S] of views. Only views that are not cached are computed."""
        # 1. Views that are not cached yet, each once.
        keys = [self._compute_key(view) for view in views]
        new = [(key, view) for key, view in dict(zip(keys, views, strict=True)).items() if key not in self._rows]
        # 2. Compute them in batches and add them to the cache.
        for start in range(0, len(new), _TOWER_BATCH):
            batch = new[start : start + _TOWER_BATCH]
            self._append([key for key, _ in batch], self._compute_grids([view for _, view in batch]))
        # 3. Read all grids in the order of the views.
        return torch.from_numpy(np.stack([self._read_grid(self._rows[key]) for key in keys])).float()

    def close(self) -> None:
        """Close the files; all computed features are in them."""
        self._grids.close()
        self._keys.close()

    def _compute_key(self, view: Pixels) -> bytes:
        """Return the SHA-256 of a view's pixels, which is computed once for each array."""
        if view not in self._known_keys:
            self._known_keys[view] = sha256(view.tobytes()).digest()
        key: bytes = self._known_keys[view]
        return key

    @torch.no_grad()
    def _compute_grids(self, views: Sequence[Pixels]) -> NDArray[np.float16]:
        """Return the pooled grids float16 [V, F, S, S] of views, computed by the tower."""
        pixels = self._views.collate(views)["pixel_values"].to(self._device)
        grid_vfss = F.adaptive_avg_pool2d(self._tower(pixels).float(), self.side)
        return grid_vfss.cpu().numpy().astype(np.float16)

    def _append(self, keys: Sequence[bytes], grids: NDArray[np.float16]) -> None:
        """Add new entries; each grid is flushed before its key is written."""
        for key, grid in zip(keys, grids, strict=True):
            self._rows[key] = len(self._rows)
            self._grids.seek(0, 2)  # to the end: reading has moved the position
            self._grids.write(grid.tobytes())
            self._grids.flush()
            self._keys.write(key)
            self._keys.flush()

    def _read_grid(self, row: int) -> NDArray[np.float16]:
        """Return the pooled grid float16 [F, S, S] of an entry."""
        self._grids.seek(row * self._grid_bytes)
        return np.frombuffer(self._grids.read(self._grid_bytes), dtype=np.float16).reshape(self.shape)

    def _open(self, folder: Path) -> None:
        """Open the files, cut off incomplete entries and read all keys."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "about.json").write_text(json.dumps({"dtype": "float16", "shape": self.shape}) + "\n")
        # 1. An entry counts if both its grid and its key are complete. The files are opened at their ends.
        self._keys = (folder / "keys.bin").open("a+b")
        self._grids = (folder / "grids.f16").open("a+b")
        complete = min(self._keys.tell() // _KEY_BYTES, self._grids.tell() // self._grid_bytes)
        # 2. Cut off the rest, so that keys and grids that are appended have the same row.
        self._grids.truncate(complete * self._grid_bytes)
        self._keys.truncate(complete * _KEY_BYTES)
        # 3. Read the keys that are left.
        self._keys.seek(0)
        stored = self._keys.read()
        self._rows = {stored[row * _KEY_BYTES : (row + 1) * _KEY_BYTES]: row for row in range(complete)}


def compute_tower_digest(tower: nn.Module, side: int) -> str:
    """Return 64 hex digits that identify a tower's weights, its features and the size to which grids are pooled."""
    digest = sha256(f"side {side}, features {GRID_FEATURES}\n".encode())
    for name, tensor in sorted(tower.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()


def _use_onnx_runtime(tower: VisionTower) -> nn.Module:
    """Return the same tower on ONNX Runtime, four times faster, if that is installed (it is not in .venv-train)."""
    if importlib.util.find_spec("onnxruntime") is None or not isinstance(tower.trunk, EfficientNetLite0):
        return tower
    from moon_model.backbones.onnx_trunk import OnnxTrunk  # noqa: PLC0415  # see above

    fast_tower = VisionTower()
    fast_tower.trunk = OnnxTrunk(tower.trunk)
    return fast_tower


def bypass_tower(model: MoonModel) -> AbstractContextManager[None]:
    """Return a context in which the model accepts pooled grids as ``pixel_values``; then the tower is restored."""
    return replace_module(model.backbone, "vision", nn.Identity())  # pooled grids pass through


def collate_cached(processor: MoonProcessor, cache: FeatureCache, prepared: Sequence[PreparedProduct]) -> MoonBatch:
    """Return a batch as the processor makes it, with cached grids instead of pixels as ``pixel_values``."""
    without_views = [PreparedProduct(item.id, item.input_ids, item.segment_ids) for item in prepared]
    batch = processor(without_views)
    views = [view for item in prepared for view in item.views]
    if views:
        batch["pixel_values"] = cache.get_features(views)
    return batch
