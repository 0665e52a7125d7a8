"""TextQueryEncoder: encodes a text query with numpy alone, from the files of a compact checkpoint.

A command that encodes one short text spends most of its time on imports of torch and transformers. This module computes
the same vector from the same files without them (docs/decisions/0058-text-queries-without-torch.md). A text query has
title tokens only: none is guided to an expert, and every kind of pooling is the mean of the title's tokens. Other
inputs and other backbones need `moon_model.MoonEncoder`.

Shape letters: L tokens, D hidden size, H heads, G heads of keys and values, E size of a head, I width of an FFN.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from tokenizers import Tokenizer

from moon_model.fingerprint import CONFIG_FILE, PROCESSOR_FILE, TOKENIZER_FILE, list_weight_files
from moon_model.product import clean_text
from moon_model.tokenization import START_ID, encode_text, is_lowercased

Floats = NDArray[np.float32]

PREFIX = "backbone.decoder."
"""Start of the names of the decoder's weights in a checkpoint; the vision tower is not read."""

SUPPORTED = {
    "model_type": "moon_compact",
    "hidden_act": "silu",
    "attention_bias": False,
    "mlp_bias": False,
}
"""Values of a backbone's configuration that the computation below assumes."""

READ_KEYS = ("max_title_tokens", "prompt", "moe_layers", "attention_mask_type", "router_score", "num_experts_per_token")
READ_BASE_KEYS = ("head_dim", "num_hidden_layers", "rms_norm_eps")
"""What the computation reads of a model's configuration and of its backbone's."""


class UnsupportedModelError(ValueError):
    """The checkpoint is of another kind: load it with `moon_model.MoonEncoder`."""


class TextQueryEncoder:
    """Encodes text queries to vectors that equal those of `moon_model.MoonEncoder` up to rounding (cosine ≥ 0.9999).

    Args:
        folder: folder of a saved compact model.
        model_version: version of the model with its detector, see ``moon_model.fingerprint``.

    Raises:
        FileNotFoundError: the folder holds no model.
        UnsupportedModelError: the model is of another kind.
    """

    def __init__(self, folder: str | Path, model_version: str) -> None:
        folder = Path(folder)
        self.model_version = model_version
        self._config = json.loads((folder / CONFIG_FILE).read_text())
        self._base = self._config.get("base_config") or {}
        rope = self._base.get("rope_parameters") or {}
        wrong = [name for name, value in SUPPORTED.items() if self._base.get(name) != value]
        wrong += [name for name in READ_KEYS if name not in self._config]
        wrong += [name for name in READ_BASE_KEYS if name not in self._base]
        wrong += ["rope_type"] if rope.get("rope_type") != "default" else []
        if wrong:
            raise UnsupportedModelError(f"{folder} is no compact model that this code knows: {', '.join(wrong)}")
        self._theta = float(rope["rope_theta"])
        self._tokenizer = Tokenizer.from_file(str(folder / TOKENIZER_FILE))
        self._tokenizer.encode_special_tokens = True  # "<|image|>" in a query is ordinary text
        processor = folder / PROCESSOR_FILE
        stored = json.loads(processor.read_text()).get("lowercase") if processor.is_file() else None
        self._lowercase = is_lowercased(stored, compact=True)
        self._weights = _DecoderWeights(folder, (self._config.get("moon_storage") or {}).get("repeated", {}))

    def encode_queries(self, texts: Sequence[str] | None = None, images: Sequence[Any] | None = None) -> Floats:
        """Vectors of text queries: float32 [N, D], rows of length 1.

        Args:
            texts: one text per query.
            images: must be None; the argument is there because `moon_model.MoonEncoder` has it.

        Raises:
            ValueError: there are images, or a text is empty.
        """
        if images is not None or not texts:
            raise ValueError("this encoder takes texts, and no images")
        return np.stack([self._encode(text) for text in texts])

    def _encode(self, text: str) -> Floats:
        config, tokenizer = self._config, self._tokenizer
        title = encode_text(tokenizer, clean_text(text), lowercase=self._lowercase)[: config["max_title_tokens"]]
        if not title:
            raise ValueError("the text is empty")
        prompt = tokenizer.encode(config["prompt"], add_special_tokens=False).ids if config["prompt"] else []
        hidden_LD = self._decode([START_ID, *prompt, *title])
        mean_D = hidden_LD[-len(title) :].mean(0)
        vector: Floats = mean_D / np.linalg.norm(mean_D)
        return vector

    def _decode(self, ids: Sequence[int]) -> Floats:
        """Hidden states [L, D] after the final norm."""
        hidden_LD = self._weights.read("embed_tokens", np.asarray(ids))
        rotation = self._compute_rotation(len(ids))
        for number in range(self._base["num_hidden_layers"]):
            layer = f"layers.{number}."
            hidden_LD = hidden_LD + self._attend(layer, self._norm(hidden_LD, f"{layer}input_layernorm"), rotation)
            normed_LD = self._norm(hidden_LD, f"{layer}post_attention_layernorm")
            run = self._mix_experts if number in self._config["moe_layers"] else self._run_ffn
            hidden_LD = hidden_LD + run(f"{layer}mlp.", normed_LD)
        return self._norm(hidden_LD, "norm")

    def _norm(self, hidden_LD: Floats, name: str) -> Floats:
        variance = np.mean(hidden_LD**2, axis=-1, keepdims=True)
        normed: Floats = hidden_LD / np.sqrt(variance + np.float32(self._base["rms_norm_eps"]))
        return normed * self._weights.read(name)

    def _compute_rotation(self, length: int) -> tuple[Floats, Floats]:
        """Cosines and sines [L, 1, E] of the rotary embedding."""
        size = self._base["head_dim"]
        steps = self._theta ** -(np.arange(0, size, 2, dtype=np.float32) / size)
        angles = np.tile(np.arange(length, dtype=np.float32)[:, None] * steps, 2)[:, None, :]
        return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)

    def _attend(self, layer: str, hidden_LD: Floats, rotation: tuple[Floats, Floats]) -> Floats:
        size, length = self._base["head_dim"], len(hidden_LD)

        def project(name: str) -> Floats:
            heads: Floats = hidden_LD @ self._weights.read(f"{layer}self_attn.{name}_proj").T
            return heads.reshape(length, -1, size)

        queries_LHE, keys_LGE = _rotate(project("q"), *rotation), _rotate(project("k"), *rotation)
        shared = queries_LHE.shape[1] // keys_LGE.shape[1]  # heads that use the same keys
        keys_LHE, values_LHE = np.repeat(keys_LGE, shared, axis=1), np.repeat(project("v"), shared, axis=1)
        scores_HLL = np.einsum("qhe,khe->hqk", queries_LHE, keys_LHE) / np.float32(size**0.5)
        if self._config["attention_mask_type"] == "causal":
            scores_HLL = np.where(np.tril(np.ones((length, length), dtype=bool)), scores_HLL, -np.inf)
        mixed_LHE = np.einsum("hqk,khe->qhe", _softmax(scores_HLL), values_LHE)
        attended: Floats = mixed_LHE.reshape(length, -1) @ self._weights.read(f"{layer}self_attn.o_proj").T
        return attended

    def _run_ffn(self, layer: str, hidden_LD: Floats) -> Floats:
        gate_LI, up_LI = (hidden_LD @ self._weights.read(f"{layer}{name}_proj").T for name in ("gate", "up"))
        output: Floats = (_silu(gate_LI) * up_LI) @ self._weights.read(f"{layer}down_proj").T
        return output

    def _mix_experts(self, layer: str, hidden_LD: Floats) -> Floats:
        """Sum of the outputs of each token's best general experts, weighted by its gates; as `guided_moe.GuidedMoE`."""
        logits = hidden_LD @ self._weights.read(f"{layer}router").T
        scores = _softmax(logits) if self._config["router_score"] == "softmax" else 1 / (1 + np.exp(-logits))
        chosen = np.argsort(-scores, axis=-1, kind="stable")[:, : self._config["num_experts_per_token"]]
        gates = np.take_along_axis(scores, chosen, axis=-1)
        gates = gates / np.maximum(gates.sum(-1, keepdims=True), np.finfo(np.float32).tiny)
        mixed_LD = np.zeros_like(hidden_LD)
        for expert in np.unique(chosen):
            rows, slots = np.nonzero(chosen == expert)
            pairs = hidden_LD[rows] @ self._weights.read(f"{layer}gate_up_proj", expert).T
            gate, up = np.split(pairs, 2, axis=-1)
            output = (_silu(gate) * up) @ self._weights.read(f"{layer}down_proj", expert).T
            mixed_LD[rows] += output * gates[rows, slots][:, None]
        return mixed_LD


class _DecoderWeights:
    """The decoder's weights as float32, from ordinary or compact storage (`moon_model.checkpoint`).

    Args:
        folder: folder of the checkpoint.
        repeated: names of weights that are stored once, with the number of their copies.
    """

    def __init__(self, folder: Path, repeated: dict[str, int]) -> None:
        self._repeated = repeated
        self._stored: dict[str, NDArray[Any]] = {}
        for file in list_weight_files(folder):
            with safe_open(file, framework="numpy") as tensors:
                for name in tensors.keys():  # noqa: SIM118  (no mapping)
                    if name.startswith(PREFIX):
                        self._stored[name] = tensors.get_tensor(name)

    def read(self, name: str, rows: Any = ...) -> Floats:
        """A weight, or some rows of it (an expert's matrix, the embeddings of tokens)."""
        stem = f"{PREFIX}{name}"
        full = f"{stem}.weight" if f"{stem}.weight" in self._stored else stem  # experts are stacked parameters
        if full in self._repeated and rows is not ...:
            rows = np.zeros_like(rows)  # all copies are the first one
        values: Floats = self._stored[full][rows].astype(np.float32)
        scale = self._stored.get(f"{full}.scale")
        if scale is None:
            return values
        # One scale for a row, or one for each block of its columns.
        wide: Floats = np.repeat(scale[rows], values.shape[-1] // scale.shape[-1], axis=-1)
        return values * wide


def _rotate(heads_LHE: Floats, cosines: Floats, sines: Floats) -> Floats:
    first, second = np.split(heads_LHE, 2, axis=-1)
    turned: Floats = heads_LHE * cosines + np.concatenate([-second, first], axis=-1, dtype=np.float32) * sines
    return turned


def _softmax(scores: Floats) -> Floats:
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    shares: Floats = powers / powers.sum(-1, keepdims=True)
    return shares


def _silu(values: Floats) -> Floats:
    activated: Floats = values / (1 + np.exp(-values))
    return activated
