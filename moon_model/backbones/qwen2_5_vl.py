"""Qwen2.5-VL as MOON's backbone, from transformers' own classes.

Some FFNs of the decoder are replaced by ``GuidedMoE``, the vision tower's attention by ``WindowAttention``. Relies on
``Qwen2_5_VLModel`` (``visual``, ``language_model``, ``get_image_features``) and ``Qwen2VLImageProcessorPil`` of
transformers 5.17-5.23; neither needs torchvision.

Shape letters: V views, M visual tokens of the batch, B products, L positions, D hidden size.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import Qwen2_5_VLModel, Qwen2VLImageProcessorPil

from moon_model.backbones.base import Backbone, compute_sequential_positions, install_experts
from moon_model.backbones.window_attention import WindowAttention
from moon_model.configuration_moon import MoonConfig


class Qwen2_5VLBackbone(Backbone):
    """Vision tower, merger and decoder of Qwen2.5-VL.

    Its inputs are those of transformers' image processor: ``pixel_values`` are flattened patches, float32
    [patches, patch_dim], and ``image_grid_thw`` is int64 [V, 3], the (frames, rows, columns) of patches of each view.
    """

    def __init__(self, config: MoonConfig) -> None:
        super().__init__(config)
        if "sliding_attention" in config.text_config.layer_types:
            raise ValueError("sliding-window Qwen2.5-VL checkpoints are not supported; set use_sliding_window=False")
        self.merge_size = config.base_config.vision_config.spatial_merge_size  # type: ignore[union-attr]
        self.use_modules(Qwen2_5_VLModel._from_config(config.base_config, attn_implementation="sdpa"), config)

    def use_modules(self, model: Qwen2_5_VLModel, config: MoonConfig) -> None:
        """Take over the modules of a transformers model, which is changed; experts become copies of its FFNs."""
        self.visual: Any = model.visual
        for block in self.visual.blocks:
            block.attn = WindowAttention(block.attn)
        self.decoder = model.language_model
        install_experts(self.decoder.layers, config)

    def embed_views(self, pixel_values: Tensor, image_grid_thw: Tensor | None) -> Tensor:
        """Patches [patches, patch_dim] of views [V, 3] -> [M, D], M = sum of rows · columns / merge².

        Raises:
            ValueError: ``image_grid_thw`` is None.
        """
        if image_grid_thw is None:
            raise ValueError("qwen2_5_vl needs image_grid_thw beside pixel_values")
        views: Tensor = self.visual(pixel_values.to(self.visual.dtype), grid_thw=image_grid_thw).pooler_output
        return views

    def compute_positions(self, input_ids: Tensor, attention_mask: Tensor, image_grid_thw: Tensor | None) -> Tensor:
        """Positions (time, row, column) for multimodal RoPE, int64 [3, B, L]."""
        if image_grid_thw is None:
            return compute_sequential_positions(attention_mask).expand(3, -1, -1)
        image = (input_ids == self.image_token_id) & attention_mask.bool()
        return compute_mrope_positions(image, attention_mask, image_grid_thw, self.merge_size)


def compute_mrope_positions(image: Tensor, attention_mask: Tensor, grid_thw: Tensor, merge_size: int) -> Tensor:
    """Positions (time, row, column) of Qwen2.5-VL's rotary embedding, int64 [3, B, L]; 0 at padding.

    A text token increases all three numbers by one. The tokens of a view have the same time and different rows and
    columns; the tokens after the view are shifted by its longer side. The numbers are those of transformers'
    ``get_rope_index``, computed without its loop over rows; views without text between them are supported as well.

    Args:
        image: bool [B, L], True at visual tokens.
        attention_mask: [B, L], 1 at real tokens.
        grid_thw: int64 [V, 3], patches of each view, in reading order.
        merge_size: patches merged into one token, along a side.
    """
    # Tokens of each view: (frames, rows, columns) after merging.
    grid_V3 = grid_thw.to(image.device) // grid_thw.new_tensor([1, merge_size, merge_size]).to(image.device)
    sizes_V = grid_V3.prod(-1)
    # For each visual token: its view, and its number inside the view.
    view_M = torch.repeat_interleave(sizes_V)
    first_V = sizes_V.cumsum(0) - sizes_V
    inside_M = torch.arange(view_M.shape[0], device=view_M.device) - first_V[view_M]
    # Its frame, row and column inside the view.
    rows_M = grid_V3[view_M, 1]
    columns_M = grid_V3[view_M, 2]
    offsets_3M = torch.stack([inside_M // (rows_M * columns_M), inside_M // columns_M % rows_M, inside_M % columns_M])
    # Shift of the tokens after each token: 1 for text, the longer side for the first token of a view, 0 for its others.
    step_BL = attention_mask.long().clone()
    step_BL[image] = torch.where(inside_M == 0, grid_V3[view_M, 1:].amax(-1), 0)
    start_BL = step_BL.cumsum(-1) - step_BL
    # Visual tokens: the start of their view's first token plus their offsets.
    positions_3BL = start_BL.expand(3, -1, -1).clone()
    positions_3BL[:, image] = start_BL[image][first_V[view_M]] + offsets_3M
    return positions_3BL * attention_mask.long()


def build_image_processor(vision: Any, min_pixels: int, max_pixels: int) -> Qwen2VLImageProcessorPil:
    """Image preprocessing of Qwen2.5-VL, from RGB PIL images to ``pixel_values`` and ``image_grid_thw``.

    Call the result with ``images=views, return_tensors="pt"``. A view takes ``grid.prod() // merge_size²`` tokens.

    Args:
        vision: the checkpoint's ``vision_config``.
        min_pixels: number of pixels to which a smaller view is enlarged.
        max_pixels: number of pixels to which a larger view is reduced.
    """
    return Qwen2VLImageProcessorPil(
        size={"shortest_edge": min_pixels, "longest_edge": max_pixels},
        patch_size=vision.patch_size,
        temporal_patch_size=vision.temporal_patch_size,
        merge_size=vision.spatial_merge_size,
    )
