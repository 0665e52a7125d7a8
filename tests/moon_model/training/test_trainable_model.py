"""Tests of which parameters are trained, and that a saved model loads completely."""

import sys
from pathlib import Path

import pytest
import torch

from moon_model.modeling_moon import MoonModel
from moon_model.training.config import ConfigError, ModelSection
from moon_model.training.trainable_model import TrainableModel, bypass_decoder_layers, has_identical_experts


def test_frozen_parts_need_no_gradient(shop: Path) -> None:
    model = TrainableModel.load(ModelSection(path=str(shop / "model"), frozen=["backbone.vision"])).model
    trained = {name for name, one in model.named_parameters() if one.requires_grad}
    assert trained
    assert not any(name.startswith("backbone.vision") for name in trained)
    assert model.training


def test_a_misspelt_part_lists_the_parts(shop: Path) -> None:
    with pytest.raises(ConfigError, match=r"'vision'; parts are backbone.decoder, backbone.projector, backbone.vision"):
        TrainableModel.load(ModelSection(path=str(shop / "model"), frozen=["vision"]))


def test_no_model_is_explained(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model.path .* cannot be trained"):
        TrainableModel.load(ModelSection(path=str(tmp_path)))


def test_copied_experts_are_set_apart_once(shop: Path, tmp_path: Path) -> None:
    model = MoonModel.from_pretrained(shop / "model")
    with torch.no_grad():
        for moe in model.moe_layers():
            moe.down_proj.copy_(moe.down_proj[:1].expand_as(moe.down_proj))
    assert has_identical_experts(model)
    TrainableModel.load(ModelSection(path=str(shop / "model"))).processor.save_pretrained(tmp_path)
    model.save_pretrained(tmp_path)
    first, second = (TrainableModel.load(ModelSection(path=str(tmp_path))).model for _ in range(2))
    assert not has_identical_experts(first)
    for mine, theirs in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_amplified_embeddings_make_the_layers_softer_and_change_nothing_without_them(shop: Path) -> None:
    plain, loud = (
        TrainableModel.load(ModelSection(path=str(shop / "model"), amplify=factor)).model.eval() for factor in (1, 1000)
    )
    batch = {
        "input_ids": torch.tensor([[2, 40, 41, 42]]), "attention_mask": torch.ones(1, 4, dtype=torch.long),
        "segment_ids": torch.tensor([[0, 3, 3, 4]]),
    }  # fmt: skip
    with torch.inference_mode():
        soft = loud(**batch).embedding
        with bypass_decoder_layers(plain), bypass_decoder_layers(loud):
            bare = plain(**batch).embedding
            torch.testing.assert_close(loud(**batch).embedding, bare, atol=1e-3, rtol=0)  # but for the norm's epsilon
        torch.testing.assert_close(soft, bare, atol=0.01, rtol=0)
        assert (plain(**batch).embedding - bare).abs().max() > 0.05
    assert len(plain.backbone.decoder.layers) == 2  # they came back


def test_what_is_saved_loads_whole(shop: Path, tmp_path: Path) -> None:
    trainable = TrainableModel.load(ModelSection(path=str(shop / "model"), frozen=["backbone.vision"]))
    trainable.save(tmp_path)
    again = TrainableModel.load(ModelSection(path=str(tmp_path)))
    for (name, mine), theirs in zip(again.model.named_parameters(), trainable.model.parameters(), strict=True):
        assert torch.equal(mine, theirs), name
    assert again.processor.lowercase == trainable.processor.lowercase


def test_lora_trains_adapters_and_what_is_named_and_merges(shop: Path, tmp_path: Path) -> None:
    pytest.importorskip("peft", reason="peft is in .venv-train")
    TrainableModel.load(ModelSection(path=str(shop / "model"))).save(tmp_path / "base")  # experts set apart
    settings = ModelSection(
        path=str(tmp_path / "base"), lora_rank=2, lora_targets=r".*\.(q_proj|v_proj)", full=[r"\.router\."]
    )
    trainable = TrainableModel.load(settings)
    trained = [name for name, one in trainable.model.named_parameters() if one.requires_grad]
    assert trained
    assert all("lora_" in name or ".router." in name for name in trained)
    with torch.no_grad():
        for name, one in trainable.model.named_parameters():
            if "lora_B" in name:
                one.fill_(0.1)
    trainable.save(tmp_path / "merged")
    before, after = (MoonModel.from_pretrained(tmp_path / name).state_dict() for name in ("base", "merged"))
    assert before.keys() == after.keys()
    changed = {name for name, one in after.items() if not torch.equal(one, before[name])}
    assert changed
    assert all(name.endswith(("q_proj.weight", "v_proj.weight")) for name in changed)


def test_lora_without_peft_says_where_it_is(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ConfigError, match=r"needs peft, which is in \.venv-train"):
        TrainableModel.load(ModelSection(path=str(shop / "model"), lora_rank=2))
