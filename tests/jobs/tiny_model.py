"""A random compact MOON that reads bytes as tokens; it loads in a second and encodes quickly."""

from pathlib import Path


def write_tiny_checkpoint(folder: Path) -> None:
    """Write a checkpoint of hidden size 32; its weights are the same in every call."""
    import torch

    from moon_model.configuration_moon import CompactConfig, MoonConfig
    from moon_model.modeling_moon import MoonModel
    from moon_model.processing_moon import MoonProcessor
    from moon_model.tokenization import cut_vocabulary

    torch.manual_seed(0)
    base = CompactConfig(
        vocab_size=264, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, image_size=64, tokens_per_view=4, initializer_range=0.2,
    )  # fmt: skip
    config = MoonConfig(base_config=base, num_experts=4, moe_layers=[1], max_images=2)
    MoonModel(config).save_pretrained(folder)
    MoonProcessor(config, cut_vocabulary({"model": {"type": "BPE", "merges": []}}, 264)).save_pretrained(folder)
