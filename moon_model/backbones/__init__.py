"""Backbones of MOON, which map pixels and token ids to hidden states: one interface, two implementations."""

from moon_model.backbones.base import Backbone
from moon_model.backbones.compact import CompactBackbone
from moon_model.backbones.qwen2_5_vl import Qwen2_5VLBackbone
from moon_model.configuration_moon import MoonConfig

BACKBONES: dict[str, type[Backbone]] = {"compact": CompactBackbone, "qwen2_5_vl": Qwen2_5VLBackbone}


def build_backbone(config: MoonConfig) -> Backbone:
    """Build the backbone that ``config.base_config`` names, with random weights."""
    return BACKBONES[config.backbone](config)
