import pytest
from transformers import AutoConfig, Qwen2_5_VLConfig

from moon_model.configuration_moon import CompactConfig, MoonConfig


@pytest.mark.parametrize("base", [CompactConfig(tokens_per_view=9), Qwen2_5_VLConfig()])
def test_survives_save_and_load(base, tmp_path):
    config = MoonConfig(base_config=base, num_experts=7, guidance="soft", matryoshka_dims=[128, 64])
    config.save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert isinstance(loaded, MoonConfig)
    assert type(loaded.base_config) is type(base)
    assert loaded.to_json_string() == config.to_json_string()
    assert loaded.matryoshka_dims == [64, 128]


def test_defaults_follow_the_backbone():
    compact = MoonConfig()
    assert compact.backbone == "compact"
    assert (compact.moe_layers, compact.moe_intermediate_size) == ([1, 5], 768)
    assert compact.base_config.tokens_per_view == 16
    qwen = MoonConfig(base_config=Qwen2_5_VLConfig(text_config={"num_hidden_layers": 36, "hidden_size": 2048}))
    assert qwen.backbone == "qwen2_5_vl"
    assert qwen.hidden_size == 2048
    assert qwen.moe_layers == [3, 7, 11, 15, 19, 23, 27, 31, 35]
    assert qwen.image_token_id == 151655


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"num_experts": 2}, "at least 3"),
        ({"num_experts": 4, "num_experts_per_token": 3}, "1..2"),
        ({"moe_layers": [6]}, "0..5"),
        ({"moe_layers": [1, 1]}, "different layers"),
        ({"pooling": "last"}, "pooling must be one of"),
        ({"text_share": 1.0}, "text_share must be in"),
        ({"guidance": "firm"}, "guidance must be one of"),
        ({"attention_mask_type": "sliding"}, "attention_mask_type"),
        ({"soft_guidance_weight": 0.0}, "soft_guidance_weight"),
        ({"matryoshka_dims": [576]}, "1..575"),
        ({"max_images": 0}, "max_images"),
        ({"min_pixels": 10, "max_pixels": 5}, "min_pixels"),
        ({"base_config": {"model_type": "bert"}}, "moon_compact or qwen2_5_vl"),
    ],
)
def test_refuses_what_no_model_can_be(fields, complaint):
    with pytest.raises(ValueError, match=complaint):
        MoonConfig(**fields)


@pytest.mark.parametrize("tokens", [0, 5, 64])
def test_refuses_views_that_are_no_square_of_the_grid(tokens):
    with pytest.raises(ValueError, match="tokens_per_view"):
        CompactConfig(tokens_per_view=tokens)
