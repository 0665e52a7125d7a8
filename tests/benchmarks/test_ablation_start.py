"""Tests of the ablation's start model: the first stage in fewer dimensions, equal but for each variant's change."""

import pytest
import torch

from benchmarks.ablation_plan import ABLATION_VARIANTS
from benchmarks.ablation_start import WIDTH, StartModelBuilder
from moon_model import checkpoint_dir
from moon_model.modeling_moon import MoonModel
from moon_model.processing_moon import MoonProcessor
from moon_model.product import Product
from moon_model.training.trainable_model import bypass_decoder_layers
from recipes.weight_import.decoder import get_compact_backbone

TINY = checkpoint_dir("moon-tiny")


@pytest.fixture(scope="module")
def start() -> StartModelBuilder:
    return StartModelBuilder(TINY)


def embed(model: MoonModel, *texts: str) -> torch.Tensor:
    processor = MoonProcessor.from_pretrained(TINY, model.config)
    prepared = [processor.prepare(Product(text, text), []) for text in texts]
    with torch.inference_mode(), bypass_decoder_layers(model.eval()):
        return model(**processor(prepared)).embedding


def test_words_mean_what_they_meant(start: StartModelBuilder) -> None:
    texts = ("red mug", "crimson cup", "leather boots", "acoustic guitar")
    small, whole = (
        embed(model, *texts) for model in (start.build(ABLATION_VARIANTS["full"], 1), MoonModel.from_pretrained(TINY))
    )
    assert small.shape == (len(texts), WIDTH)
    assert (small @ small.T - torch.eye(4)).argmax(1).tolist()[:2] == [1, 0]
    off = ~torch.eye(4, dtype=torch.bool)
    agreement = torch.corrcoef(torch.stack([(small @ small.T)[off], (whole.float() @ whole.float().T)[off]]))
    assert agreement[0, 1] > 0.8


def test_only_the_variants_fields_differ(start: StartModelBuilder) -> None:
    full, other, segments = (
        start.build(ABLATION_VARIANTS[name], seed)
        for name, seed in (("full", 1), ("full", 2), ("pooling: segments", 1))
    )
    for name, value in full.state_dict().items():
        torch.testing.assert_close(value, segments.state_dict()[name])
    assert (full.config.pooling, segments.config.pooling) == ("modalities", "segments")
    assert not torch.equal(full.moe_layers()[0].down_proj, other.moe_layers()[0].down_proj)


def test_a_dense_layer_costs_what_the_experts_of_a_token_cost(start: StartModelBuilder) -> None:
    experts, ffn = (
        get_compact_backbone(start.build(ABLATION_VARIANTS[name], 1)).decoder.layers[0].mlp
        for name in ("full", "dense FFNs of the same compute")
    )
    assert experts.top_k * experts.down_proj.shape[2] == ffn.down_proj.weight.shape[1]


def test_what_the_stages_leave_alone_is_left_alone(start: StartModelBuilder) -> None:
    trained = {name for name, one in start.build(ABLATION_VARIANTS["full"], 1).named_parameters() if one.requires_grad}
    assert not any(name.startswith(("backbone.vision", "backbone.projector.linear")) for name in trained)
    assert {"backbone.projector.fc1.weight", "backbone.decoder.embed_tokens.weight"} <= trained
