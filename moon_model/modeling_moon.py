"""MoonModel: encodes a batch of products to one vector each (arXiv 2508.11999), with Hugging Face conventions.

vision tower -> projector -> decoder with guided MoE -> pooling -> L2 norm (docs/paper.md, "Model"). Relies on
transformers 5.17-5.23 (``PreTrainedModel``, safetensors only) and torch 2.11-2.13.

Shape letters: B products, L positions of the padded batch, V views, D hidden size.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, cast

import torch
from torch import Tensor, nn
from torch.nn.attention import sdpa_kernel
from transformers import AutoConfig, AutoModel, PreTrainedModel, Qwen2_5_VLModel
from transformers.utils import ModelOutput

from moon_model.backbones import build_backbone
from moon_model.backbones.base import FUSED_ATTENTION_BACKENDS
from moon_model.backbones.compact import SameConv
from moon_model.backbones.qwen2_5_vl import Qwen2_5VLBackbone
from moon_model.configuration_moon import MoonConfig
from moon_model.guided_moe import Guide, GuidedMoE, RouterStats
from moon_model.pooling import normalise_vectors, pool, truncate_embedding


@dataclass
class MoonOutput(ModelOutput):
    """Output of ``MoonModel``.

    Attributes:
        last_hidden_state: [B, L, D] in the model's dtype, after the final norm.
        router_stats: Tokens per expert and the load-balance loss, see ``RouterStats``.
        embedding: float32 [B, D] (or [B, dim] for a Matryoshka size), rows of length 1.
    """

    last_hidden_state: Tensor | None = None
    router_stats: RouterStats | None = None
    embedding: Tensor | None = None


class MoonModel(PreTrainedModel):
    """Encoder of products; load it with ``from_pretrained`` or ``from_backbone``. ``MoonConfig`` has its settings."""

    config: MoonConfig
    base_model_prefix = "moon"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _no_split_modules = ["LlamaDecoderLayer", "Qwen2_5_VLDecoderLayer", "Qwen2_5_VLVisionBlock"]  # noqa: RUF012
    # Experts are chosen in float32. The compact tower (3.4M parameters) also runs in float32: in bfloat16 the cosine of
    # its vectors with the float32 ones is only 0.98.
    _keep_in_fp32_modules_strict = {"router", "vision"}  # noqa: RUF012

    def __init__(self, config: MoonConfig) -> None:
        super().__init__(config)
        if config._attn_implementation != "sdpa":
            raise ValueError(
                f"MoonModel runs on torch's fused SDPA kernels; got attn_implementation={config._attn_implementation!r}"
            )
        self.backbone = build_backbone(config)
        self.post_init()

    @classmethod
    def from_backbone(
        cls, path: str | Path, config: MoonConfig | None = None, *, dtype: torch.dtype = torch.float32
    ) -> Self:
        """MOON on a Qwen2.5-VL checkpoint, each expert a copy of a dense FFN: it computes the same hidden states.

        Args:
            path: directory or hub id of the checkpoint.
            config: settings of MOON; its ``base_config`` must have the checkpoint's shape. None: the defaults.
            dtype: dtype of the weights.

        Raises:
            ValueError: the checkpoint is no Qwen2.5-VL, or ``config`` does not fit it.
        """
        # Compare the shape in the settings with the checkpoint's own.
        base_config = AutoConfig.from_pretrained(path)
        config = config or MoonConfig(base_config=base_config)
        own = MoonConfig(base_config=base_config).text_config
        sizes = ("hidden_size", "num_hidden_layers", "intermediate_size", "vocab_size")
        given = {name: getattr(config.text_config, name) for name in sizes}
        if config.backbone != "qwen2_5_vl" or given != {name: getattr(own, name) for name in sizes}:
            raise ValueError(
                f"from_backbone needs config.base_config to be the checkpoint's own: "
                f"MoonConfig(base_config=AutoConfig.from_pretrained({str(path)!r}), …); got {config.backbone} {given}"
            )
        if config.moe_intermediate_size != own.intermediate_size:
            raise ValueError("experts start as copies of the checkpoint's FFNs; set moe_intermediate_size to None")
        # Build the model without memory for weights, then take the modules of the loaded checkpoint.
        config.base_config = base_config
        source = Qwen2_5_VLModel.from_pretrained(path, dtype=dtype, attn_implementation="sdpa")
        with torch.device("meta"):
            model = cls(config)
        assert isinstance(model.backbone, Qwen2_5VLBackbone)  # noqa: S101  # checked above
        model.backbone.use_modules(source, config)
        config.dtype = dtype
        model.eval()
        return model

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> Self:
        """Load a saved MoonModel, in full precision or in compact storage (``config.moon_storage``, checkpoint.py).

        The arguments are those of ``PreTrainedModel.from_pretrained``.

        Raises:
            ValueError: weights are missing, which transformers would initialise with random values.
        """
        path = pretrained_model_name_or_path
        config = kwargs.get("config")
        if path is not None and not isinstance(config, MoonConfig):
            config = MoonConfig.from_pretrained(config or path)
        source = path
        if path is not None and config is not None and config.moon_storage is not None:
            from moon_model.checkpoint import load_state_dict  # noqa: PLC0415  # only compact storage needs it

            config.moon_storage = None  # save_pretrained of the loaded model writes ordinary safetensors
            kwargs |= {"config": config, "state_dict": load_state_dict(Path(path))}
            source = None
        wants_info = kwargs.pop("output_loading_info", False)
        loaded: Any = super().from_pretrained(source, *args, output_loading_info=True, **kwargs)
        model, info = loaded
        if missing := sorted(info["missing_keys"]):
            raise ValueError(
                f"{path} lacks {len(missing)} of the model's weights ({', '.join(missing[:3])}, …): it was written by "
                "another version of moon_model; train it again with this version, or install the other one"
            )
        return cast("Self", loaded if wants_info else model)

    def get_input_embeddings(self) -> nn.Module:
        """Token embedding of the decoder."""
        embedding: nn.Module = self.backbone.decoder.embed_tokens
        return embedding

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the token embedding of the decoder."""
        self.backbone.decoder.embed_tokens = value

    def moe_layers(self) -> list[GuidedMoE]:
        """Guided FFNs of the decoder, first layer first."""
        return [module for module in self.backbone.decoder.modules() if isinstance(module, GuidedMoE)]

    def perturb_experts(self) -> None:
        """Add the configured seeded noise to all experts, so that copies differ; call it once, before training."""
        for number, moe in enumerate(self.moe_layers()):
            moe.perturb(self.config.expert_noise, self.config.expert_noise_seed + number)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        segment_ids: Tensor,
        pixel_values: Tensor | None = None,
        image_grid_thw: Tensor | None = None,
        dim: int | None = None,
    ) -> MoonOutput:
        """Embeddings of a batch of products, as ``MoonProcessor`` builds it.

        Args:
            input_ids: int64 [B, L], right padded; ``config.image_token_id`` at visual positions.
            attention_mask: [B, L], 1 at real tokens.
            segment_ids: int64 [B, L], the ``Segment`` of each token.
            pixel_values: All views in reading order; the backbone's class describes the shape.
            image_grid_thw: int64 [V, 3], patch grid of each view; qwen2_5_vl only.
            dim: Matryoshka size of the embedding; None: D.

        Raises:
            ValueError: shapes do not match, padding is not on the right, or the number of image tokens differs from
                that of the views' tokens.
        """
        _check_batch(input_ids, attention_mask, segment_ids)
        segments = segment_ids * attention_mask.long()  # padding is set to segment NONE, whatever the caller passed
        guide = Guide.build(attention_mask, segments, self.config.num_experts)
        with sdpa_kernel(FUSED_ATTENTION_BACKENDS):
            embeds = self.backbone.embed(input_ids, pixel_values, image_grid_thw)
            positions = self.backbone.compute_positions(input_ids, attention_mask, image_grid_thw)
            hidden, stats = self.backbone.decode(embeds, attention_mask, positions, guide)
        embedding = normalise_vectors(pool(hidden, segments, self.config.pooling, self.config.text_share))
        return MoonOutput(
            last_hidden_state=hidden,
            router_stats=RouterStats.stack(stats, hidden, self.config.num_experts),
            embedding=embedding if dim is None else truncate_embedding(embedding, dim),
        )

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, SameConv):  # no norms follow: keep the variance through ReLU6
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.zeros_(module.bias)
        elif isinstance(module, GuidedMoE):
            module.reset_parameters(self.config.initializer_range)
        else:
            super()._init_weights(module)


def _check_batch(input_ids: Tensor, attention_mask: Tensor, segment_ids: Tensor) -> None:
    if not input_ids.shape == attention_mask.shape == segment_ids.shape or input_ids.ndim != 2:
        raise ValueError(
            "input_ids, attention_mask and segment_ids must all be [B, L], got "
            f"{tuple(input_ids.shape)}, {tuple(attention_mask.shape)}, {tuple(segment_ids.shape)}"
        )
    mask = attention_mask.bool()
    if bool((mask[:, 1:] & ~mask[:, :-1]).any()):
        raise ValueError("attention_mask has a real token after padding; pad on the right")


AutoModel.register(MoonConfig, MoonModel, exist_ok=True)
