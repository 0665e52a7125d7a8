"""Tests that the projector's ridge regression fits a known linear relation."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from moon_model.backbones.compact import GRID_FEATURES
from moon_model.configuration_moon import CompactConfig, MoonConfig
from moon_model.modeling_moon import MoonModel
from moon_model.processing_moon import MoonProcessor
from moon_model.product import Product
from moon_model.tokenization import cut_vocabulary
from moon_model.training.examples import Examples
from moon_model.training.feature_cache import FeatureCache
from moon_model.training.pairs import parse_item
from recipes.moon_tiny.distillation_targets import VisualBasis
from recipes.moon_tiny.teachers import CaptionedPhoto
from recipes.weight_import.alignment import extract_photo_features, fit_projector

BYTES = {"model": {"type": "BPE", "merges": [], "vocab": {}}}


@pytest.fixture
def model() -> MoonModel:
    return small_model(64)


@pytest.fixture
def wide() -> MoonModel:
    """A model with room for visual dimensions after the text teacher's 384."""
    return small_model(448)


def small_model(hidden_size: int) -> MoonModel:
    torch.manual_seed(0)
    base = CompactConfig(
        vocab_size=264, hidden_size=hidden_size, intermediate_size=32, num_hidden_layers=1, num_attention_heads=4,
        num_key_value_heads=2, tokens_per_view=4, image_size=64,
    )  # fmt: skip
    return MoonModel(MoonConfig(base_config=base, num_experts=4)).eval()


def photo(folder: Path, name: str, colour: str, vectors: np.ndarray) -> CaptionedPhoto:
    Image.new("RGB", (30, 40), colour).save(folder / name)
    item = parse_item(1, {"id": name, "images": [name], "regions": [[0.2, 0.2, 0.8, 0.8]]})
    return CaptionedPhoto(item, [Product("", colour)] * len(vectors), vectors)


def test_photos_are_measured_with_the_mean_of_what_is_said(model: MoonModel, tmp_path: Path) -> None:
    eye = np.eye(3, dtype=np.float16)
    photos = [photo(tmp_path, "a.png", "red", eye[:2]), photo(tmp_path, "b.png", "blue", eye[2:])]
    processor = MoonProcessor(model.config, cut_vocabulary(BYTES, 264))
    cache = FeatureCache(model, processor)
    found = extract_photo_features(photos, Examples(processor, [tmp_path]), cache)
    assert found.cells.shape == (2, 4, GRID_FEATURES)
    assert len(cache) == 4  # original and crop of each
    assert not torch.equal(found.summaries[0], found.summaries[1])
    half = 0.5**0.5
    torch.testing.assert_close(
        found.text_vectors, torch.tensor([[half, half, 0.0], [0.0, 0.0, 1.0]]), atol=1e-3, rtol=0
    )
    basis = VisualBasis(torch.zeros(GRID_FEATURES), torch.eye(GRID_FEATURES)[:, :5])
    targets = found.compute_targets(basis, 16)
    torch.testing.assert_close(targets[:, :3] * 2**0.5, found.text_vectors)
    assert targets[:, 8:].abs().sum() == 0


def test_a_learnable_relation_is_learned_and_generalises(model: MoonModel) -> None:
    draw = torch.Generator().manual_seed(0)
    kinds, centres = 8, torch.randn(8, GRID_FEATURES, generator=draw)
    words = torch.randn(8, model.config.hidden_size, generator=draw)

    def photos(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        kind = torch.randint(kinds, (count,), generator=draw)
        return centres[kind][:, None] + 0.5 * torch.randn(count, 4, GRID_FEATURES, generator=draw), kind

    cells, kind = photos(300)
    assert fit_projector(model, cells, words[kind]) > 0.9
    unseen, kind = photos(40)
    assert torch.equal(torch.cdist(_project(model, unseen), words).argmin(1), kind)


def test_what_is_seen_goes_through_the_linear_map_and_so_reaches_photos_of_any_kind(wide: MoonModel) -> None:
    draw = torch.Generator().manual_seed(0)
    cells = torch.randn(3000, 4, GRID_FEATURES, generator=draw)
    seen = torch.randn(GRID_FEATURES, 50, generator=draw) / GRID_FEATURES**0.5

    def targets(cells: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.pad(cells.mean(1) @ seen, (384, wide.config.hidden_size - 434))

    fit_projector(wide, cells, targets(cells))
    strange = 5 * torch.randn(40, 4, GRID_FEATURES, generator=draw)  # much further out than any cell of the fit
    with torch.no_grad():
        linear = wide.backbone.projector.linear(strange.mean(1))
    torch.testing.assert_close(linear, targets(strange), atol=0.05, rtol=0.05)
    assert linear[:, :384].abs().max() == 0, "what is said is the MLP's to guess"


def _project(model: MoonModel, cells: torch.Tensor) -> torch.Tensor:
    """Mean visual token of photos given as cells [N, 4, C]: [N, D]."""
    with torch.no_grad():
        return model.backbone.projector(cells.transpose(1, 2).unflatten(2, (2, 2))).mean(1)
