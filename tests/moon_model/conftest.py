"""Tiny random models and products for the model's tests; they take seconds on one core and need no files."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from moon_model.configuration_moon import CompactConfig, MoonConfig, Segment
from moon_model.modeling_moon import MoonModel

IMAGE, START, END = 60, 61, 62
QWEN_GRIDS = ((1, 4, 6), (1, 8, 4), (1, 4, 4))  # patches; merged 2 x 2 into visual tokens


@dataclass
class TinyProduct:
    """Token ids, segments and views of one product, before padding."""

    ids: list[int] = field(default_factory=list)
    segments: list[int] = field(default_factory=list)
    pixels: list[Tensor] = field(default_factory=list)
    grids: list[tuple[int, int, int]] = field(default_factory=list)

    def add(self, ids: Sequence[int], segment: Segment) -> None:
        self.ids += ids
        self.segments += [segment] * len(ids)


@dataclass
class TinyWorld:
    """Makes random products for one backbone and joins them to a batch for the model."""

    config: MoonConfig

    def product(
        self, seed: int, images: int = 1, crops: bool = True, title: int = 5, category: int = 3, attributes: int = 4
    ) -> TinyProduct:
        """A product of the given numbers of images (each with a crop or not) and text tokens."""
        draw = torch.Generator().manual_seed(seed)
        product = TinyProduct()
        for number in range(images * (2 if crops else 1)):
            segment = Segment.CROP if crops and number % 2 else Segment.IMAGE
            self._view(product, segment, draw)
        product.add([2], Segment.NONE)
        for length, segment in (
            (title, Segment.TITLE), (category, Segment.CATEGORY), (attributes, Segment.ATTRIBUTE)
        ):  # fmt: skip
            product.add(torch.randint(3, 60, (length,), generator=draw).tolist(), segment)
        return product

    def _view(self, product: TinyProduct, segment: Segment, draw: torch.Generator) -> None:
        if self.config.backbone == "compact":
            product.pixels.append(torch.randn(1, 3, 64, 64, generator=draw))
            product.add([IMAGE] * self.config.base_config.tokens_per_view, segment)
            return
        grid = QWEN_GRIDS[int(torch.randint(len(QWEN_GRIDS), (1,), generator=draw))]
        patches = grid[1] * grid[2]
        product.pixels.append(torch.randn(patches, 3 * 2 * 14 * 14, generator=draw))
        product.grids.append(grid)
        product.add([START], Segment.NONE)
        product.add([IMAGE] * (patches // 4), segment)
        product.add([END], Segment.NONE)

    def batch(self, products: Sequence[TinyProduct], padding: int = 0) -> dict[str, Tensor]:
        """Right-pad to the longest product plus ``padding`` columns."""
        shape = (len(products), max(len(product.ids) for product in products) + padding)
        ids, mask, segments = (torch.zeros(shape, dtype=torch.long) for _ in range(3))
        for row, product in enumerate(products):
            length = len(product.ids)
            ids[row, :length] = torch.tensor(product.ids)
            segments[row, :length] = torch.tensor(product.segments)
            mask[row, :length] = 1
        batch = {"input_ids": ids, "attention_mask": mask, "segment_ids": segments}
        pixels = [view for product in products for view in product.pixels]
        if pixels:
            batch["pixel_values"] = torch.cat(pixels)
        if pixels and self.config.backbone == "qwen2_5_vl":
            batch["image_grid_thw"] = torch.tensor([grid for product in products for grid in product.grids])
        return batch


def compact_config(**fields: object) -> MoonConfig:
    """A compact MOON of hidden size 32, three layers, MoE in the last two."""
    base = CompactConfig(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, image_size=64, tokens_per_view=4, image_token_id=IMAGE, initializer_range=0.2,
    )  # fmt: skip
    return MoonConfig(**{"base_config": base, "num_experts": 5, "moe_layers": [1, 2], **fields})


def qwen_base_config() -> Qwen2_5_VLConfig:
    """A Qwen2.5-VL of hidden size 32 with windowed vision attention and multimodal RoPE."""
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]}
    text = {
        "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4,
        "num_key_value_heads": 2, "rope_parameters": rope, "max_position_embeddings": 512, "initializer_range": 0.2,
        "bos_token_id": 1, "eos_token_id": 2,
    }  # fmt: skip
    vision = {
        "depth": 3, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "out_hidden_size": 32,
        "fullatt_block_indexes": [1], "window_size": 56, "initializer_range": 0.2,
    }  # fmt: skip
    tokens = {"image_token_id": IMAGE, "video_token_id": 63, "vision_start_token_id": START, "vision_end_token_id": END}
    return Qwen2_5_VLConfig(text_config=text, vision_config=vision, **tokens)


@pytest.fixture(scope="session")
def qwen_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Qwen2.5-VL checkpoint written by transformers' own classes."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("tiny-qwen")
    Qwen2_5_VLForConditionalGeneration(qwen_base_config()).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session", params=["compact", "qwen2_5_vl"])
def tiny_model(request: pytest.FixtureRequest, qwen_dir: Path) -> MoonModel:
    """A tiny MOON in float32, once on each backbone, with experts that differ; tests must not change it."""
    torch.manual_seed(1)
    if request.param == "compact":
        model = MoonModel(compact_config(attention_mask_type="bidirectional"))
    else:
        model = MoonModel.from_backbone(qwen_dir, qwen_config())
    for number, moe in enumerate(model.moe_layers()):
        moe.perturb(0.5, seed=number)
    return model.eval()


def qwen_config(**fields: object) -> MoonConfig:
    """MOON's settings for the tiny Qwen2.5-VL: five experts in layers 1 and 3."""
    return MoonConfig(**{"base_config": qwen_base_config(), "num_experts": 5, "moe_layers": [1, 3], **fields})


@pytest.fixture(scope="session")
def world(tiny_model: MoonModel) -> TinyWorld:
    """Products that fit ``tiny_model``."""
    return TinyWorld(tiny_model.config)


@pytest.fixture(scope="session")
def make_world() -> type[TinyWorld]:
    """Products that fit a configuration of the test's own."""
    return TinyWorld


@pytest.fixture(scope="session")
def tiny_compact_config() -> Callable[..., MoonConfig]:
    """Factory of tiny compact configurations."""
    return compact_config


@pytest.fixture(scope="session")
def tiny_qwen_config() -> Callable[..., MoonConfig]:
    """Factory of tiny Qwen2.5-VL configurations, matching ``qwen_dir``."""
    return qwen_config
