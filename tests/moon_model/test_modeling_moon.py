import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import AutoModel, BertConfig

from moon_model.configuration_moon import CompactConfig, MoonConfig, Segment
from moon_model.modeling_moon import MoonModel

products = st.lists(
    st.fixed_dictionaries(
        {
            "seed": st.integers(0, 1000),
            "images": st.integers(0, 3),
            "crops": st.booleans(),
            "title": st.integers(0, 12),
            "category": st.integers(0, 4),
            "attributes": st.integers(0, 9),
        }
    ).filter(lambda fields: fields["images"] + fields["title"] + fields["category"] + fields["attributes"] > 0),
    min_size=2,
    max_size=5,
)
few = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def encode(model: MoonModel, batch: dict[str, Tensor]) -> Tensor:
    with torch.inference_mode():
        return model(**batch).embedding


def test_output_has_the_promised_shapes(tiny_model, world):
    batch = world.batch([world.product(0), world.product(1, images=3)])
    with torch.inference_mode():
        output = tiny_model(**batch)
    assert output.last_hidden_state.shape == (*batch["input_ids"].shape, 32)
    assert output.embedding.shape == (2, 32)
    assert output.embedding.dtype == torch.float32
    torch.testing.assert_close(output.embedding.norm(dim=-1), torch.ones(2))
    assert output.router_stats.tokens_per_expert.shape == (2, 5)


@few
@given(made=products, padding=st.integers(0, 7), turn=st.randoms(use_true_random=False))
def test_order_size_company_and_padding_change_no_vector(tiny_model, world, made, padding, turn):
    rows = [world.product(**fields) for fields in made]
    alone = torch.cat([encode(tiny_model, world.batch([row])) for row in rows])
    order = list(range(len(rows)))
    turn.shuffle(order)
    together = encode(tiny_model, world.batch([rows[number] for number in order], padding))
    torch.testing.assert_close(together, alone[order], atol=1e-5, rtol=0)


@pytest.mark.long
def test_bfloat16_vectors_keep_their_direction_in_any_company(tiny_model, world):
    torch.manual_seed(0)
    half = MoonModel(tiny_model.config).eval()
    for number, moe in enumerate(half.moe_layers()):
        moe.perturb(0.2, seed=number)  # experts that differ: a token at a tie may change its expert
    half = half.to(torch.bfloat16)
    rows = [world.product(seed, images=seed % 4, title=12 + seed % 20, attributes=8) for seed in range(100)]
    alone = torch.cat([encode(half, world.batch([row])) for row in rows])
    together = torch.cat([encode(half, world.batch(rows[at : at + 20], padding=3)) for at in range(0, 100, 20)])
    cosine = (alone * together).sum(-1)
    assert cosine.min() >= 0.999
    assert (cosine >= 0.9999).float().mean() >= 0.99


@pytest.mark.parametrize("missing", ["images", "title", "category", "attributes"])
def test_each_part_may_be_missing(tiny_model, world, missing):
    whole, without = world.product(3), world.product(3, **{missing: 0})
    vectors = encode(tiny_model, world.batch([whole, without]))
    assert vectors.isfinite().all()
    assert (vectors[0] - vectors[1]).abs().max() > 1e-4


def test_a_product_without_anything_gives_zeros_and_disturbs_nobody(tiny_model, world):
    empty = world.product(0, images=0, title=0, category=0, attributes=0)
    empty.ids, empty.segments = [], []
    other = world.product(1)
    vectors = encode(tiny_model, world.batch([empty, other]))
    assert torch.equal(vectors[0], torch.zeros(32))
    torch.testing.assert_close(vectors[1:], encode(tiny_model, world.batch([other])), atol=1e-5, rtol=0)


def test_what_lies_under_padding_does_not_matter(tiny_model, world):
    batch = world.batch([world.product(0), world.product(1, title=1)], padding=4)
    spoiled = {name: value.clone() for name, value in batch.items()}
    hidden = batch["attention_mask"] == 0
    spoiled["input_ids"][hidden] = 7
    spoiled["segment_ids"][hidden] = Segment.CATEGORY
    torch.testing.assert_close(encode(tiny_model, spoiled), encode(tiny_model, batch), atol=1e-6, rtol=0)


def test_category_and_attribute_tokens_reach_their_expert_in_every_layer(tiny_model, world):
    rows = [world.product(0, category=3, attributes=4), world.product(1, category=2, attributes=0)]
    with torch.inference_mode():
        stats = tiny_model(**world.batch(rows)).router_stats
        query = tiny_model(**world.batch([world.product(2, category=0, attributes=0)])).router_stats
    assert stats.tokens_per_expert[:, 3:].tolist() == [[5, 4]] * 2
    assert query.tokens_per_expert[:, 3:].tolist() == [[0, 0]] * 2


def test_a_training_step_moves_every_trained_part(tiny_compact_config, make_world):
    torch.manual_seed(0)
    model = MoonModel(tiny_compact_config()).train()
    world = make_world(model.config)
    batch = world.batch([world.product(seed, images=2, attributes=6) for seed in range(4)])
    gradients = []
    for checkpointing in (False, True):
        if checkpointing:
            getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)()
            assert model.backbone.gradient_checkpointing
        model.zero_grad()
        output = model(**batch)
        (output.embedding[:, 0].sum() + output.router_stats.balance_loss).backward()
        gradients.append({name: weight.grad.clone() for name, weight in model.named_parameters()})
    for name, gradient in gradients[0].items():
        assert gradient.abs().max() > 0, name
        torch.testing.assert_close(gradients[1][name], gradient, msg=name)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_save_and_load_change_no_vector(tiny_model, world, tmp_path, dtype):
    batch = world.batch([world.product(0), world.product(1, images=2)])
    tiny_model.save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "model.safetensors"}
    loaded = AutoModel.from_pretrained(tmp_path, dtype=dtype)
    assert isinstance(loaded, MoonModel)
    assert loaded.moe_layers()[0].down_proj.dtype == dtype
    assert loaded.moe_layers()[0].router.weight.dtype == torch.float32
    tolerance = 1e-6 if dtype == torch.float32 else 0.05
    torch.testing.assert_close(encode(loaded, batch), encode(tiny_model, batch), atol=tolerance, rtol=0)


def test_compact_storage_is_read_by_its_own_reader(tiny_compact_config, tmp_path, monkeypatch):
    """``config.moon_storage`` hands the weights to checkpoint.load_state_dict; saved again, they are ordinary."""
    torch.manual_seed(0)
    model = MoonModel(tiny_compact_config(moon_storage={"format": "int8-channel", "version": 1}))
    model.config.save_pretrained(tmp_path)
    asked = []

    def load_state_dict(path: Path) -> dict[str, Tensor]:
        asked.append(path)
        return model.state_dict()

    monkeypatch.setitem(sys.modules, "moon_model.checkpoint", SimpleNamespace(load_state_dict=load_state_dict))
    for load in (MoonModel.from_pretrained, AutoModel.from_pretrained):
        loaded = load(tmp_path, dtype=torch.bfloat16)
        assert loaded.config.moon_storage is None
        assert torch.equal(loaded.moe_layers()[0].router.weight, model.moe_layers()[0].router.weight)
        assert torch.equal(loaded.backbone.decoder.norm.weight, model.backbone.decoder.norm.weight.bfloat16())
    assert asked == [tmp_path, tmp_path]
    loaded.save_pretrained(tmp_path / "again")
    MoonModel.from_pretrained(tmp_path / "again")
    assert len(asked) == 2


def test_compact_tower_stays_float32_in_a_bfloat16_model(tiny_compact_config, tmp_path):
    MoonModel(tiny_compact_config()).save_pretrained(tmp_path)
    loaded = MoonModel.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert loaded.backbone.vision.trunk.stem.weight.dtype == torch.float32
    assert loaded.backbone.projector.fc1.weight.dtype == torch.bfloat16
    assert loaded.dtype == torch.bfloat16


def test_perturbation_is_the_configured_one_and_differs_by_layer(tiny_compact_config):
    torch.manual_seed(0)
    models = [MoonModel(tiny_compact_config(expert_noise_seed=seed)) for seed in (3, 3, 4)]
    for model in models[1:]:
        model.load_state_dict(models[0].state_dict())
    start = [moe.down_proj.clone() for moe in models[0].moe_layers()]
    for model in models:
        model.perturb_experts()
    moved = [[moe.down_proj for moe in model.moe_layers()] for model in models]
    assert torch.equal(moved[0][0], moved[1][0])
    assert not torch.equal(moved[0][0], moved[2][0])
    first, second = (new - old for new, old in zip(moved[0], start, strict=True))
    assert abs(torch.cosine_similarity(first.flatten(), second.flatten(), dim=0)) < 0.1, "layers share their noise"


def test_matryoshka_size_is_cut_and_renormalised(tiny_model, world):
    batch = world.batch([world.product(0)])
    with torch.inference_mode():
        full, cut = tiny_model(**batch).embedding, tiny_model(**batch, dim=8).embedding
    assert cut.shape == (1, 8)
    torch.testing.assert_close(cut, torch.nn.functional.normalize(full[:, :8], dim=-1))


def test_segment_pooling_is_what_config_decides(tiny_compact_config, make_world):
    torch.manual_seed(0)
    by_tokens = MoonModel(tiny_compact_config()).eval()
    by_segments = MoonModel(tiny_compact_config(pooling="segments")).eval()
    by_segments.load_state_dict(by_tokens.state_dict())
    world = make_world(by_tokens.config)
    batch = world.batch([world.product(0, images=3)])
    assert (encode(by_tokens, batch) - encode(by_segments, batch)).abs().max() > 1e-3


def test_refuses_batches_that_would_give_wrong_vectors(tiny_model, world):
    batch = world.batch([world.product(0), world.product(1, title=1)])
    with pytest.raises(ValueError, match="pad on the right"):
        tiny_model(**{**batch, "attention_mask": batch["attention_mask"].flip(1)})
    with pytest.raises(ValueError, match=r"must all be \[B, L\]"):
        tiny_model(**{**batch, "segment_ids": batch["segment_ids"][:, 1:]})
    with pytest.raises(ValueError, match="pixel_values is None"):
        tiny_model(**{**batch, "pixel_values": None})
    with pytest.raises(ValueError, match="the same MoonProcessor"):
        tiny_model(**{**batch, "input_ids": batch["input_ids"].clamp(max=59)})


def test_refuses_another_attention_and_another_base(tiny_compact_config, tmp_path):
    config = tiny_compact_config()
    config._attn_implementation = "eager"
    with pytest.raises(ValueError, match="fused SDPA"):
        MoonModel(config)
    BertConfig().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="moon_compact or qwen2_5_vl"):
        MoonModel.from_backbone(tmp_path)


def test_a_slow_attention_path_is_an_error_not_a_fallback(tiny_compact_config, make_world, monkeypatch):
    monkeypatch.setattr("moon_model.modeling_moon.FUSED_ATTENTION_BACKENDS", [])
    model = MoonModel(tiny_compact_config())
    world = make_world(model.config)
    with pytest.raises(RuntimeError):
        model(**world.batch([world.product(0)]))


def test_imports_none_of_the_pipeline_and_no_torchvision():
    code = (
        "import sys, moon_model.modeling_moon\n"
        "banned = {'pyspark', 'airflow', 'pymilvus', 'deltalake', 'pyarrow', 'torchvision', 'flash_attn'}\n"
        "sys.exit(str(banned & set(sys.modules)) if banned & set(sys.modules) else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_default_moon_has_the_documented_shape():
    with torch.device("meta"):
        model = MoonModel(MoonConfig(base_config=CompactConfig()))
    assert len(model.moe_layers()) == 2
    assert 37e6 < sum(weight.numel() for weight in model.parameters()) < 39e6
