"""The model as training sees it: loaded, parts frozen, LoRA added, experts set apart; and saved whole at the end."""

import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig

from moon_model.backbones.compact import CompactBackbone
from moon_model.configuration_moon import MoonConfig
from moon_model.modeling_moon import MoonModel
from moon_model.processing_moon import MoonProcessor
from moon_model.training.config import ConfigError, ModelSection


@dataclass(frozen=True)
class TrainableModel:
    """A model in training.

    Attributes:
        model: its trained parameters require gradients and are float32.
        processor: its own.
        adapters: peft's wrapper around ``model``; None without LoRA.
    """

    model: MoonModel
    processor: MoonProcessor
    adapters: Any = None

    @classmethod
    def load(cls, settings: ModelSection) -> "TrainableModel":
        """Load a MoonModel, or build one on a Qwen2.5-VL checkpoint, and choose what is trained.

        Raises:
            ConfigError: there is no model, a name in ``frozen`` or ``full`` matches nothing, or peft is missing.
        """
        dtype = getattr(torch, settings.dtype)
        try:
            known = AutoConfig.from_pretrained(settings.path)
            if isinstance(known, MoonConfig):
                model = MoonModel.from_pretrained(settings.path, dtype=dtype)
            else:
                config = MoonConfig(base_config=known, **settings.settings)
                model = MoonModel.from_backbone(settings.path, config, dtype=dtype)
            processor = MoonProcessor.from_pretrained(settings.path, model.config)
        except (OSError, ValueError, TypeError) as error:
            raise ConfigError(f"model.path {settings.path!r} cannot be trained: {error}") from error
        if has_identical_experts(model):
            model.perturb_experts()
        if settings.amplify != 1.0:
            _amplify(model, settings.amplify)
        adapters = _add_lora(model, settings) if settings.lora_rank else None
        _freeze(model, settings.frozen)
        if settings.gradient_checkpointing:
            model.gradient_checkpointing_enable()
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
        return cls(model.train(), processor, adapters)

    def save(self, folder: Path) -> None:
        """Write the whole model with its processor, LoRA merged, for ``MoonModel`` and ``MoonEncoder`` to load.

        The folder appears when all of it is written: whoever finds it, finds a whole model.
        """
        model = self.adapters.merge_and_unload() if self.adapters is not None else self.model
        model.eval()
        unfinished = folder.with_name(f"{folder.name}.unfinished")
        model.save_pretrained(unfinished)
        self.processor.save_pretrained(unfinished)
        if folder.is_dir():
            shutil.rmtree(folder)
        unfinished.replace(folder)


def has_identical_experts(model: MoonModel) -> bool:
    """Whether all experts are still one dense FFN: then training must set them apart once."""
    layers = model.moe_layers()
    return bool(layers) and all(bool((one.down_proj[1:] == one.down_proj[:1]).all()) for one in layers)


@contextmanager
def bypass_decoder_layers(model: MoonModel) -> Iterator[None]:
    """Let visual and text tokens go straight to the pooling while the block runs; the layers come back afterwards."""
    decoder = model.backbone.decoder
    layers, decoder.layers = decoder.layers, nn.ModuleList()
    try:
        yield
    finally:
        decoder.layers = layers


@torch.no_grad()
def _amplify(model: MoonModel, factor: float) -> None:
    if not isinstance(model.backbone, CompactBackbone):
        raise ConfigError(f"model.amplify is for the compact backbone, not for {model.config.backbone}")
    projector = model.backbone.projector
    embedded = model.backbone.decoder.embed_tokens.weight
    for entering in (embedded, projector.fc2.weight, projector.fc2.bias, projector.linear.weight):
        entering.mul_(factor)


def _freeze(model: MoonModel, prefixes: Sequence[str]) -> None:
    for prefix in prefixes:
        found = [one for name, one in model.named_parameters() if name.startswith(prefix)]
        if not found:
            parts = sorted({".".join(name.split(".")[:2]) for name, _ in model.named_parameters()})
            raise ConfigError(f"model.frozen: no parameter starts with {prefix!r}; parts are {', '.join(parts)}")
        for parameter in found:
            parameter.requires_grad_(False)


def _add_lora(model: MoonModel, settings: ModelSection) -> Any:
    """Wrap the model with peft; LoRA and the parameters that ``full`` names are trained, nothing else."""
    try:
        from peft import LoraConfig, get_peft_model  # noqa: PLC0415  # .venv-train
    except ImportError as error:
        raise ConfigError("model.lora_rank needs peft, which is in .venv-train: `make setup-train`") from error
    lora = LoraConfig(r=settings.lora_rank or 1, lora_alpha=settings.lora_alpha, target_modules=settings.lora_targets)
    try:
        adapters = get_peft_model(model, lora)  # changes the model in place
    except ValueError as error:
        raise ConfigError(f"model.lora_targets: {error}") from error
    for pattern in settings.full:
        found = [one for name, one in model.named_parameters() if re.search(pattern, name)]
        if not found:
            raise ConfigError(f"model.full: no parameter name has {pattern!r} in it")
        for parameter in found:
            parameter.requires_grad_(True)
    return adapters
