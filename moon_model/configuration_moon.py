"""Configuration of MOON: what the paper fixes is code, what it leaves open is a named field here.

Relies on transformers' configuration dataclasses (5.17-5.23): a subclass of ``PreTrainedConfig`` is a
dataclass, unknown keyword arguments become attributes, ``__post_init__`` runs last.
"""

import math
from enum import IntEnum
from typing import Any, ClassVar, Literal, get_args

from transformers import CONFIG_MAPPING, AutoConfig, LlamaConfig, PreTrainedConfig

Guidance = Literal["hard", "soft"]
RouterScore = Literal["softmax", "sigmoid"]
AttentionMask = Literal["causal", "bidirectional"]
Pooling = Literal["tokens", "segments", "modalities"]


class Segment(IntEnum):
    """Where a token of the input comes from; the guidance and the pooling read it.

    NONE marks padding, template and special tokens: they are never guided and never pooled.
    A (truncated) description belongs to TITLE.
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
        image_size: Side of the square view in pixels; EfficientNet-Lite0 was trained at 224.
        tokens_per_view: Visual tokens of one view (a square number): the 7x7 grid is average-pooled to
            this many. 16 keeps a coarse layout and makes the decoder three times cheaper than 49.
        image_token_id: Vocabulary row that marks a visual position in ``input_ids``; its embedding is
            replaced by the projected grid.
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
        """Fill in derived fields; raise ValueError on a token count that is no square of at most 7x7."""
        side = math.isqrt(self.tokens_per_view)
        if side * side != self.tokens_per_view or not 1 <= side <= 7:
            raise ValueError(f"tokens_per_view must be one of 1, 4, 9 … 49, got {self.tokens_per_view}")
        super().__post_init__(**kwargs)


class MoonConfig(PreTrainedConfig):
    """All settings of a ``MoonModel``. Defaults are ours wherever the paper is silent ([?] in the notes).

    Attributes:
        base_config: The backbone's own configuration: ``CompactConfig`` (default) or transformers'
            ``Qwen2_5_VLConfig`` (the paper's base is Qwen2.5-VL-3B, by readers' notes). Its ``model_type``
            chooses the backbone.
        num_experts: N of the paper: N-2 general FFNs + FFN_cate + FFN_attr. N is not published; 6 gives
            four general experts, the smallest number at which top-2 routing has a real choice.
        num_experts_per_token: k of the top-k router. Not published; 2 as in Mixtral, so that the router
            receives gradients from a comparison of experts.
        moe_layers: Decoder layers (0-based) whose FFN is replaced. Not published; None becomes every
            fourth layer counted back from the last: late layers carry the semantics that guidance is
            about, and replacing all 36 layers of a 3B base would make it 15B.
        moe_intermediate_size: Width of an expert. None: the dense FFN's width, without which an expert
            cannot start as its copy.
        guidance: "hard": a category token goes to FFN_cate alone with weight 1, an attribute token to
            FFN_attr (how we read the paper's figure). "soft": it is shared with the general experts.
        soft_guidance_weight: Share of the guided expert in soft mode; the rest goes to the router's mix.
            One half until someone measures better.
        router_score: Score from which gates are chosen and renormalised to sum 1: "softmax" over the
            general experts (as most MoE models) or independent "sigmoid" scores. Formula not published.
        router_aux_loss_coef: Weight of the load-balance loss (Switch, eq. 4, general experts only); the
            paper names none, 0.01 is the customary value. 0 switches it off.
        expert_noise: Standard deviation of the perturbation that separates copied experts when training
            starts, as a share of each weight's own standard deviation. Inference never sees it; identical
            experts would receive identical gradients for ever.
        expert_noise_seed: Seed of that perturbation.
        attention_mask_type: "causal" keeps the base model's own mask (step 0 equals the base);
            "bidirectional" as in the follow-up MOON Embedding. The paper does not say.
        pooling: "tokens": mean over all visual and text tokens, as the paper; "segments": mean of the
            means of the segments present, so that three images do not drown a title (ours); "modalities":
            the mean of the visual tokens beside the mean of the text tokens, each of length 1, so that neither
            do three images drown a title nor does a brand count as much as title and description together (ours).
        text_share: Weight of the text tokens' mean in "modalities", where a product has both; 0.5 treats words
            and pictures alike.
        matryoshka_dims: Sizes, smaller than D, that an embedding may be cut to and renormalised (follow-up
            MOON Embedding). Empty: the full size only.
        max_images: Images of one product that reach the model, each followed by its crop. The paper shows
            one; 3 covers front, back and detail at bounded cost.
        max_title_tokens: Tokens kept of a title. These four budgets bound a text at 256 tokens; catalogue
            titles rarely pass 40.
        max_description_tokens: Tokens kept of a description, which belongs to the title's segment.
        max_category_tokens: Tokens kept of the category path.
        max_attribute_tokens: Tokens kept of the attribute list.
        prompt: Instruction put before everything, marked ``Segment.NONE``. Unknown in the paper; empty
            costs nothing and lets queries and products share one space.
        min_pixels: Smallest view in pixels, qwen2_5_vl only (its checkpoints' own lower bound, 4 tokens).
        max_pixels: Largest view in pixels, qwen2_5_vl only. M, the visual tokens of a view, is not published;
            256 tokens (448 x 448) resolve a product photo and keep three images with crops under 1,600 tokens.
        initializer_range: Standard deviation of the router's (and of untrained experts') initial weights.
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
        """Resolve defaults that depend on the backbone, then check every field (ValueError)."""
        self.base_config = _base_config(self.base_config)
        text = self.text_config
        if self.moe_layers is None:
            self.moe_layers = list(range(text.num_hidden_layers - 1, -1, -4))
        self.moe_layers = sorted(self.moe_layers)
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
        """D: size of a hidden state and of the full embedding."""
        size: int = self.text_config.hidden_size
        return size

    @property
    def num_general_experts(self) -> int:
        """N-2: experts under the learned router."""
        return self.num_experts - 2

    @property
    def image_token_id(self) -> int:
        """Token id that marks a visual position in ``input_ids``."""
        token: int = self.base_config.image_token_id  # type: ignore[union-attr]
        return token

    @property
    def compact_tokens_per_view(self) -> int:
        """Visual tokens of one view of the compact backbone; AttributeError for another backbone."""
        tokens: int = self.base_config.tokens_per_view  # type: ignore[union-attr]
        return tokens

    def _check(self) -> None:
        layers = self.text_config.num_hidden_layers
        rules = {
            f"num_experts must be at least 3 (one general expert, FFN_cate, FFN_attr), got {self.num_experts}":
                self.num_experts >= 3,
            f"num_experts_per_token must lie in 1..{self.num_general_experts} (num_experts - 2), "
            f"got {self.num_experts_per_token}":
                1 <= self.num_experts_per_token <= self.num_general_experts,
            f"moe_layers must be different layers of 0..{layers - 1}, got {self.moe_layers}":
                set(self.moe_layers or []) <= set(range(layers))
                and len(set(self.moe_layers or [])) == len(self.moe_layers or []),
            f"soft_guidance_weight must lie in (0, 1], got {self.soft_guidance_weight}":
                0 < self.soft_guidance_weight <= 1,
            f"text_share must lie in (0, 1), got {self.text_share}": 0 < self.text_share < 1,
            f"matryoshka_dims must lie in 1..{self.hidden_size - 1}, got {self.matryoshka_dims}":
                all(0 < size < self.hidden_size for size in self.matryoshka_dims or []),
            f"max_images must be at least 1, got {self.max_images}": self.max_images >= 1,
            f"min_pixels must lie in 1..max_pixels, got {self.min_pixels}, {self.max_pixels}":
                1 <= self.min_pixels <= self.max_pixels,
        }  # fmt: skip
        choices = {
            "guidance": Guidance, "router_score": RouterScore,
            "attention_mask_type": AttentionMask, "pooling": Pooling,
        }  # fmt: skip
        for name, allowed in choices.items():
            message = f"{name} must be one of {get_args(allowed)}, got {getattr(self, name)!r}"
            rules[message] = getattr(self, name) in get_args(allowed)
        broken = [message for message, holds in rules.items() if not holds]
        if broken:
            raise ValueError("MoonConfig: " + "; ".join(broken))


def _base_config(given: dict[str, Any] | PreTrainedConfig | None) -> PreTrainedConfig:
    """Return the backbone's configuration object; raise ValueError for a backbone MOON does not know."""
    if given is None:
        return CompactConfig()
    model_type = given.get("model_type") if isinstance(given, dict) else given.model_type
    if model_type not in (CompactConfig.model_type, "qwen2_5_vl"):
        raise ValueError(f"base_config.model_type must be moon_compact or qwen2_5_vl, got {model_type!r}")
    if isinstance(given, dict):
        return CONFIG_MAPPING[model_type](**given)
    return given


AutoConfig.register("moon_compact", CompactConfig, exist_ok=True)
AutoConfig.register("moon", MoonConfig, exist_ok=True)
