"""Configuration of MOON: every point that the paper leaves open is a named field (docs/paper.md).

Relies on transformers' configuration dataclasses (5.17-5.23): a subclass of ``PreTrainedConfig`` is a
dataclass, unknown keyword arguments become attributes, ``__post_init__`` runs last.
"""

import math
from dataclasses import fields
from enum import IntEnum
from typing import Any, ClassVar, Literal, get_args, get_origin

from transformers import CONFIG_MAPPING, AutoConfig, LlamaConfig, PreTrainedConfig

Guidance = Literal["hard", "soft"]
RouterScore = Literal["softmax", "sigmoid"]
AttentionMask = Literal["causal", "bidirectional"]
Pooling = Literal["tokens", "segments", "modalities"]


class Segment(IntEnum):
    """Part of the product that a token comes from, used by guidance and pooling.

    NONE marks padding, template and special tokens: they are neither guided nor pooled. A (truncated) description
    belongs to TITLE.
    """

    NONE = 0
    IMAGE = 1
    CROP = 2
    TITLE = 3
    CATEGORY = 4
    ATTRIBUTE = 5


class CompactConfig(LlamaConfig):
    """Shape of the compact backbone: EfficientNet-Lite0 grid, projector, SmolLM2-like decoder layers.

    The decoder's fields are those of ``LlamaConfig`` with SmolLM2-135M's values, fewer layers and a
    narrower FFN (see the size table in the model card). Three fields are ours:

    Attributes:
        image_size: Side of the square view in pixels; EfficientNet-Lite0 was trained with 224.
        tokens_per_view: Visual tokens of one view (a square number): the 7x7 grid is average-pooled to
            this many. 16 keep a coarse layout and make the decoder three times cheaper than 49.
        image_token_id: Vocabulary row of a visual position in ``input_ids``; its embedding is replaced by the
            projected grid.
    """

    model_type = "moon_compact"
    default_theta = 100000.0  # SmolLM2's RoPE base

    vocab_size: int = 12288
    hidden_size: int = 576
    intermediate_size: int = 768
    num_hidden_layers: int = 6
    num_attention_heads: int = 9
    num_key_value_heads: int | None = 3
    max_position_embeddings: int = 2048
    rms_norm_eps: float = 1e-5
    initializer_range: float = 0.02
    use_cache: bool = False
    pad_token_id: int | None = 0
    bos_token_id: int | None = 2
    eos_token_id: int | list[int] | None = 3
    image_size: int = 224
    tokens_per_view: int = 16
    image_token_id: int = 1

    def __post_init__(self, **kwargs: Any) -> None:
        """Fill in derived fields; raises ValueError when ``tokens_per_view`` is no square number of 1 to 49."""
        side = math.isqrt(self.tokens_per_view)
        if side * side != self.tokens_per_view or not 1 <= side <= 7:
            raise ValueError(f"tokens_per_view must be one of 1, 4, 9 … 49, got {self.tokens_per_view}")
        super().__post_init__(**kwargs)


class MoonConfig(PreTrainedConfig):
    """All settings of a ``MoonModel``; where the paper leaves a point open the default is ours (docs/paper.md).

    Attributes:
        base_config: The backbone's own configuration: ``CompactConfig`` (default) or transformers'
            ``Qwen2_5_VLConfig`` (the paper's base is Qwen2.5-VL-3B, by readers' notes). Its ``model_type``
            chooses the backbone.
        num_experts: N of the paper: N-2 general FFNs + FFN_cate + FFN_attr. N is not published; 6 gives
            four general experts, the smallest number that leaves top-2 routing a choice.
        num_experts_per_token: k of the top-k router. Not published; 2 as in Mixtral, so that the router
            gets gradients from a comparison of experts.
        moe_layers: Decoder layers (0-based) whose FFN is replaced. Not published; None becomes every
            fourth layer counted back from the last: late layers hold the semantics that guidance is
            about, and with all 36 layers replaced a 3B base would have 15B parameters.
        moe_intermediate_size: Width of an expert. None: the width of the dense FFN, which an expert needs to
            start as a copy of it.
        guidance: "hard": a category token goes only to FFN_cate with weight 1, an attribute token to
            FFN_attr (our reading of the paper's figure). "soft": general experts get a share of it.
        soft_guidance_weight: Weight of the guided expert in "soft"; the rest goes to the router's experts.
            One half, not tuned.
        router_score: Score from which experts are chosen, renormalised to sum 1: "softmax" over the
            general experts (as in most MoE models) or independent "sigmoid" scores. Not published.
        router_aux_loss_coef: Weight of the load-balance loss (Switch, eq. 4, general experts only); the
            paper names none, 0.01 is customary. 0 switches it off.
        expert_noise: Standard deviation of the noise that makes copied experts differ when training
            starts, as a share of each weight's own standard deviation. Equal experts would always get
            equal gradients. Inference adds no noise.
        expert_noise_seed: Seed of that noise.
        attention_mask_type: "causal" keeps the base model's own mask (step 0 equals the base);
            "bidirectional" as in the follow-up MOON Embedding. Not published.
        pooling: "tokens": mean over all visual and text tokens, as in the paper; "segments" and "modalities"
            (ours) keep three images from outweighing a title, see ``moon_model.pooling.pool`` and
            docs/decisions/0023-pooling-by-modality.md.
        text_share: Weight of the text tokens' mean in "modalities", where a product has text and images.
        matryoshka_dims: Sizes, smaller than D, that an embedding may be cut to and renormalised (follow-up
            MOON Embedding). Empty: the full size only.
        max_images: Images of one product that the model uses, each followed by its crop. The paper shows
            one; 3 cover front, back and detail at bounded cost.
        max_title_tokens: Tokens kept of a title. The four budgets limit a text to 256 tokens; catalogue
            titles rarely have more than 40.
        max_description_tokens: Tokens kept of a description, which belongs to the title's segment.
        max_category_tokens: Tokens kept of the category path.
        max_attribute_tokens: Tokens kept of the attribute list.
        prompt: Instruction at the start of the input, of ``Segment.NONE``. Not published; empty by default,
            which costs no tokens and gives queries and products the same form.
        min_pixels: Smallest view in pixels, qwen2_5_vl only (the lower bound of its checkpoints, 4 tokens).
        max_pixels: Largest view in pixels, qwen2_5_vl only. M, the visual tokens of a view, is not published;
            256 tokens (448 x 448) resolve a product photo and keep three images with crops under 1,600 tokens.
        initializer_range: Standard deviation of the initial weights of the router and of untrained experts.
        moon_storage: Set by ``moon_model.checkpoint`` in the config.json of a compactly stored model (int8);
            None means ordinary safetensors.
    """

    model_type = "moon"
    sub_configs: ClassVar[dict[str, Any]] = {"base_config": AutoConfig}

    base_config: dict[str, Any] | PreTrainedConfig | None = None
    num_experts: int = 6
    num_experts_per_token: int = 2
    moe_layers: list[int] | None = None
    moe_intermediate_size: int | None = None
    guidance: Guidance = "hard"
    soft_guidance_weight: float = 0.5
    router_score: RouterScore = "softmax"
    router_aux_loss_coef: float = 0.01
    expert_noise: float = 0.01
    expert_noise_seed: int = 0
    attention_mask_type: AttentionMask = "causal"
    pooling: Pooling = "tokens"
    text_share: float = 0.5
    matryoshka_dims: list[int] | None = None
    max_images: int = 3
    max_title_tokens: int = 64
    max_description_tokens: int = 64
    max_category_tokens: int = 32
    max_attribute_tokens: int = 96
    prompt: str = ""
    min_pixels: int = 56 * 56
    max_pixels: int = 448 * 448
    initializer_range: float = 0.02
    moon_storage: dict[str, Any] | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        """Resolve defaults that depend on the backbone, then check every field; raises ValueError."""
        self.base_config = _resolve_base_config(self.base_config)
        text = self.text_config
        every_fourth = range(text.num_hidden_layers - 1, -1, -4)
        self.moe_layers = sorted(every_fourth if self.moe_layers is None else self.moe_layers)
        if self.moe_intermediate_size is None:
            self.moe_intermediate_size = text.intermediate_size
        self.matryoshka_dims = sorted(self.matryoshka_dims or [])
        super().__post_init__(**kwargs)
        self._check()

    @property
    def backbone(self) -> str:
        """Name of the backbone: "compact" or "qwen2_5_vl"."""
        model_type = self.base_config.model_type  # type: ignore[union-attr]
        return "compact" if model_type == CompactConfig.model_type else model_type

    @property
    def text_config(self) -> PreTrainedConfig:
        """Configuration of the decoder: hidden size, layers, FFN width, vocabulary."""
        text: PreTrainedConfig = getattr(self.base_config, "text_config", self.base_config)  # type: ignore[assignment]
        return text

    @property
    def hidden_size(self) -> int:
        """D, the size of a hidden state and of the full embedding."""
        return int(self.text_config.hidden_size)

    @property
    def num_general_experts(self) -> int:
        """Number of experts under the learned router, N-2."""
        return self.num_experts - 2

    @property
    def image_token_id(self) -> int:
        """Token id of a visual position in ``input_ids``."""
        return int(self.base_config.image_token_id)  # type: ignore[union-attr]

    def _check(self) -> None:
        layers = self.text_config.num_hidden_layers
        valid_layers = sorted(set(range(layers)) & set(self.moe_layers or []))
        general = self.num_general_experts
        sizes = self.matryoshka_dims or []
        # Name of a field -> whether its value is allowed, and what is.
        rules = {
            "num_experts": (self.num_experts >= 3, "at least 3 (one general expert, FFN_cate, FFN_attr)"),
            "num_experts_per_token": (1 <= self.num_experts_per_token <= general, f"in 1..{general} (num_experts - 2)"),
            "moe_layers": (self.moe_layers == valid_layers, f"different layers of 0..{layers - 1}"),
            "soft_guidance_weight": (0 < self.soft_guidance_weight <= 1, "in (0, 1]"),
            "text_share": (0 < self.text_share < 1, "in (0, 1)"),
            "matryoshka_dims": (all(0 < size < self.hidden_size for size in sizes), f"in 1..{self.hidden_size - 1}"),
            "max_images": (self.max_images >= 1, "at least 1"),
            "min_pixels": (1 <= self.min_pixels <= self.max_pixels, f"in 1..max_pixels ({self.max_pixels})"),
        }
        for field in fields(self):
            if get_origin(field.type) is Literal:
                choices = get_args(field.type)
                rules[field.name] = (getattr(self, field.name) in choices, f"one of {choices}")
        broken = [f"{key} must be {wanted}, got {vars(self)[key]!r}" for key, (ok, wanted) in rules.items() if not ok]
        if broken:
            raise ValueError("MoonConfig: " + "; ".join(broken))


def _resolve_base_config(value: dict[str, Any] | PreTrainedConfig | None) -> PreTrainedConfig:
    """Configuration object of the backbone; raises ValueError for a backbone that MOON does not support."""
    if value is None:
        return CompactConfig()
    model_type = value.get("model_type") if isinstance(value, dict) else value.model_type
    if model_type not in (CompactConfig.model_type, "qwen2_5_vl"):
        raise ValueError(f"base_config.model_type must be moon_compact or qwen2_5_vl, got {model_type!r}")
    return CONFIG_MAPPING[model_type](**value) if isinstance(value, dict) else value


AutoConfig.register("moon_compact", CompactConfig, exist_ok=True)
AutoConfig.register("moon", MoonConfig, exist_ok=True)
