"""The model of a training run: loaded with frozen parts and LoRA, and saved complete at the end."""

import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
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
    """A model in training mode with its processor.

    Attributes:
        model: its trained parameters require gradients and are float32.
        processor: processor of the model.
        adapters: peft's wrapper around ``model``; None without LoRA.
    """

    model: MoonModel
    processor: MoonProcessor
    adapters: Any = None

    @classmethod
    def load(cls, settings: ModelSection) -> "TrainableModel":
        """Return a saved MoonModel, or a new one on a Qwen2.5-VL checkpoint, with the parameters to train selected.

        Raises:
            ConfigError: there is no model, ``frozen`` or ``full`` matches no parameter, or peft is missing.
        """
        dtype = getattr(torch, settings.dtype)
        try:
            stored = AutoConfig.from_pretrained(settings.path)
            if isinstance(stored, MoonConfig):
                model = MoonModel.from_pretrained(settings.path, dtype=dtype)
            else:
                config = MoonConfig(base_config=stored, **settings.settings)
                model = MoonModel.from_backbone(settings.path, config, dtype=dtype)
            processor = MoonProcessor.from_pretrained(settings.path, model.config)
        except (OSError, ValueError, TypeError) as error:
            raise ConfigError(f"model.path {settings.path!r} cannot be trained: {error}") from error
        if has_identical_experts(model):
            model.perturb_experts()
        if settings.amplify != 1.0:
            _amplify(model, settings.amplify)
        adapters = _add_lora(model, settings) if settings.lora_rank else None
        _require_gradients(model, "frozen", re.match, settings.frozen, required=False)
        if settings.gradient_checkpointing:
            model.gradient_checkpointing_enable()
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
        return cls(model.train(), processor, adapters)

    def save(self, folder: Path) -> None:
        """Write model and processor, with LoRA merged, so that ``MoonModel`` and ``MoonEncoder`` load the folder.

        The folder gets its name when it is complete.
        """
        model = self.adapters.merge_and_unload() if self.adapters is not None else self.model
        model.eval()
        unfinished = folder.with_name(f"{folder.name}.unfinished")
        model.save_pretrained(unfinished)
        self.processor.save_pretrained(unfinished)
        shutil.rmtree(folder, ignore_errors=True)
        unfinished.replace(folder)


def has_identical_experts(model: MoonModel) -> bool:
    """Return whether all experts of a layer are still copies of the dense FFN; then they must be perturbed once."""
    layers = model.moe_layers()
    return bool(layers) and all(bool((layer.down_proj[1:] == layer.down_proj[:1]).all()) for layer in layers)


def bypass_decoder_layers(model: MoonModel) -> AbstractContextManager[None]:
    """Return a context in which embedded tokens are pooled without the decoder's layers; then these are restored."""
    return replace_module(model.backbone.decoder, "layers", nn.ModuleList())


@contextmanager
def replace_module(parent: nn.Module, name: str, module: nn.Module) -> Iterator[None]:
    """Put another module in the place of a child of ``parent`` within the block; the child is restored afterwards."""
    child = getattr(parent, name)
    setattr(parent, name, module)
    try:
        yield
    finally:
        setattr(parent, name, child)


@torch.no_grad()
def _amplify(model: MoonModel, factor: float) -> None:
    """Multiply the outputs of token embedding and projector by a factor."""
    if not isinstance(model.backbone, CompactBackbone):
        raise ConfigError(f"model.amplify is for the compact backbone, not for {model.config.backbone}")
    projector = model.backbone.projector
    token_rows = model.backbone.decoder.embed_tokens.weight
    for weight in (token_rows, projector.fc2.weight, projector.fc2.bias, projector.linear.weight):
        weight.mul_(factor)


def _require_gradients(
    model: MoonModel, setting: str, find: Callable[[str, str], Any], patterns: Sequence[str], *, required: bool
) -> None:
    """Train, or freeze, the parameters whose names match one of the setting's patterns by ``find`` (of ``re``)."""
    for pattern in patterns:
        matching = [parameter for name, parameter in model.named_parameters() if find(pattern, name)]
        if not matching:
            parts = sorted({".".join(name.split(".")[:2]) for name, _ in model.named_parameters()})
            raise ConfigError(f"model.{setting}: no parameter matches {pattern!r}; parts are {', '.join(parts)}")
        for parameter in matching:
            parameter.requires_grad_(required)


def _add_lora(model: MoonModel, settings: ModelSection) -> Any:
    """Return peft's wrapper of the model. Only LoRA and the parameters that match ``full`` are trained then."""
    try:
        from peft import LoraConfig, get_peft_model  # noqa: PLC0415  # .venv-train
    except ImportError as error:
        raise ConfigError("model.lora_rank needs peft, which is in .venv-train: `make setup-train`") from error
    lora = LoraConfig(r=settings.lora_rank or 1, lora_alpha=settings.lora_alpha, target_modules=settings.lora_targets)
    try:
        adapters = get_peft_model(model, lora)  # changes the model in place
    except ValueError as error:
        raise ConfigError(f"model.lora_targets: {error}") from error
    _require_gradients(model, "full", re.search, settings.full, required=True)
    return adapters
