"""Tests of cached features: equal to the model's, kept after the process ends, and not used for another tower."""

import gc
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch

from moon_model.backbones.compact import VisionTower
from moon_model.modeling_moon import MoonModel
from moon_model.processing_moon import MoonProcessor
from moon_model.training import feature_cache
from moon_model.training.config import DataSection
from moon_model.training.examples import Examples
from moon_model.training.feature_cache import FeatureCache, bypass_tower, collate_cached
from moon_model.training.run import open_pairs


@pytest.fixture
def parts(shop: Path) -> tuple[MoonModel, MoonProcessor]:
    return MoonModel.from_pretrained(shop / "model").eval(), MoonProcessor.from_pretrained(shop / "model")


def views(count: int, seed: int = 0) -> list[np.ndarray]:
    return list(np.random.default_rng(seed).integers(0, 256, (count, 64, 64, 3), dtype=np.uint8))


def test_the_model_answers_the_same_with_cached_features(shop: Path, parts: tuple[MoonModel, MoonProcessor]) -> None:
    model, processor = parts
    data = DataSection(pairs=shop / "pairs", image_roots=[shop / "images"], reader="arrow", batch_size=8)
    pairs = next(open_pairs(data).iter_epoch(0))
    prepared = Examples(processor, data.image_roots).prepare([pair.item for pair in pairs])
    cache = FeatureCache(model, processor)
    with torch.inference_mode():
        wanted = model(**processor(prepared)).embedding
        with bypass_tower(model):
            found = model(**collate_cached(processor, cache, prepared)).embedding
            again = model(**collate_cached(processor, cache, prepared)).embedding
    torch.testing.assert_close(found, wanted, atol=2e-3, rtol=0)  # float16 features
    assert torch.equal(found, again)
    assert isinstance(model.backbone.vision, VisionTower)


def test_each_view_is_computed_once_also_by_a_later_process(
    tmp_path: Path, parts: tuple[MoonModel, MoonProcessor], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, processor = parts
    seen: list[int] = []
    real = FeatureCache._compute_grids
    monkeypatch.setattr(FeatureCache, "_compute_grids", lambda self, new: (seen.append(len(new)), real(self, new))[1])
    first, second = views(5), views(3, seed=1)
    cache = FeatureCache(model, processor, tmp_path)
    wanted = cache.get_features([*first, first[0]])
    assert torch.equal(wanted[0], wanted[5])
    cache.close()
    later = FeatureCache(model, processor, tmp_path)
    assert torch.equal(later.get_features(first), wanted[:5])
    later.get_features([*second, *first])
    assert (seen, len(later)) == ([5, 3], 8)


def test_a_view_seen_again_is_known_without_hashing_and_an_array_that_is_gone_is_forgotten(
    parts: tuple[MoonModel, MoonProcessor], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, shown = FeatureCache(*parts), views(3)
    wanted = cache.get_features(shown)
    hashed: list[bytes] = []
    monkeypatch.setattr(feature_cache, "sha256", lambda data: hashed.append(data) or sha256(data))
    assert torch.equal(cache.get_features(shown), wanted)
    assert not hashed
    same_pixels = [view.copy() for view in shown]
    assert torch.equal(cache.get_features(same_pixels), wanted)
    assert len(hashed) == 3
    del shown, same_pixels
    gc.collect()
    assert cache.get_features(views(3, seed=1)).shape == wanted.shape  # new arrays may lie where the old ones lay
    assert len(hashed) == 6
    assert len(cache) == 6


def test_a_torn_end_is_cut_off(tmp_path: Path, parts: tuple[MoonModel, MoonProcessor]) -> None:
    cache = FeatureCache(*parts, tmp_path)
    wanted = cache.get_features(views(3))
    cache.close()
    (grids,) = tmp_path.glob("*/grids.f16")
    with grids.open("r+b") as file:
        file.truncate(grids.stat().st_size - 7)
    later = FeatureCache(*parts, tmp_path)
    assert len(later) == 2
    assert torch.equal(later.get_features(views(3)), wanted)


def test_another_tower_has_another_folder(tmp_path: Path, parts: tuple[MoonModel, MoonProcessor]) -> None:
    model, processor = parts
    FeatureCache(model, processor, tmp_path).get_features(views(2))
    with torch.no_grad():
        model.backbone.vision.trunk.stem.weight.mul_(1.01)
    assert len(FeatureCache(model, processor, tmp_path)) == 0


def test_a_tower_with_other_features_has_another_folder(
    tmp_path: Path, parts: tuple[MoonModel, MoonProcessor], monkeypatch: pytest.MonkeyPatch
) -> None:
    FeatureCache(*parts, tmp_path).get_features(views(2))
    monkeypatch.setattr(feature_cache, "GRID_FEATURES", feature_cache.GRID_FEATURES + 8)  # as many colours more
    assert len(FeatureCache(*parts, tmp_path)) == 0


def test_the_tower_comes_back_after_an_error(parts: tuple[MoonModel, MoonProcessor]) -> None:
    model, _ = parts
    tower = model.backbone.vision
    with pytest.raises(KeyError), bypass_tower(model):
        assert model.backbone.vision is not tower
        raise KeyError
    assert model.backbone.vision is tower
