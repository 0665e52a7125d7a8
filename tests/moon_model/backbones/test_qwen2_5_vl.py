import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLModel

from moon_model.backbones.qwen2_5_vl import build_image_processor, compute_mrope_positions
from moon_model.configuration_moon import CompactConfig, MoonConfig
from moon_model.modeling_moon import MoonModel

CASES = {
    "text only": [{"images": 0}],
    "one image": [{"images": 1, "crops": False}],
    "image and crop": [{"images": 1}],
    "several images": [{"images": 3}],
    "batch": [{"images": 1}, {"images": 3, "title": 9}, {"images": 0}, {"images": 2, "crops": False, "category": 0}],
}


@pytest.fixture(scope="module")
def reference(qwen_dir):
    return Qwen2_5_VLModel.from_pretrained(qwen_dir).eval()


@pytest.mark.parametrize("guidance", ["hard", "soft"])
@pytest.mark.parametrize("rows", CASES.values(), ids=CASES.keys())
def test_copied_experts_give_transformers_hidden_states(
    rows, guidance, reference, qwen_dir, tiny_qwen_config, make_world
):
    model = MoonModel.from_backbone(qwen_dir, tiny_qwen_config(guidance=guidance))
    world = make_world(model.config)
    batch = world.batch([world.product(seed, **fields) for seed, fields in enumerate(rows)])
    seen = {name: value for name, value in batch.items() if name != "segment_ids"}
    seen["mm_token_type_ids"] = (batch["input_ids"] == model.config.image_token_id).int()
    with torch.inference_mode():
        want = reference(**seen).last_hidden_state
        output = model(**batch)
    real = batch["attention_mask"].bool()
    assert want[real].abs().max() > 1
    torch.testing.assert_close(output.last_hidden_state[real], want[real], atol=1e-5, rtol=0)
    pooled = torch.nn.functional.normalize(
        torch.stack([states[row].mean(0) for states, row in zip(want, batch["segment_ids"] > 0, strict=True)]), dim=-1
    )
    torch.testing.assert_close(output.embedding, pooled, atol=1e-5, rtol=0)


def test_bidirectional_mask_changes_what_early_tokens_know(qwen_dir, tiny_qwen_config, make_world):
    batches = []
    for kind in ("causal", "bidirectional"):
        model = MoonModel.from_backbone(qwen_dir, tiny_qwen_config(attention_mask_type=kind))
        world = make_world(model.config)
        with torch.inference_mode():
            batches.append(model(**world.batch([world.product(0)])).last_hidden_state[0, 0])
    assert (batches[0] - batches[1]).abs().max() > 1e-3


@given(
    st.lists(
        st.lists(st.one_of(st.integers(1, 5), st.tuples(st.integers(1, 4), st.integers(1, 4))), min_size=1, max_size=6),
        min_size=1,
        max_size=4,
    )
)
@settings(max_examples=40, deadline=None)
def test_positions_equal_transformers(reference, rows):
    """A row is a list of text runs (their length) and views (rows, columns after merging), text between views."""
    types, grids = [], []
    for row in rows:
        line = [0]
        for part in row:
            if isinstance(part, int):
                line += [0] * part
            else:
                line += [*[1] * (part[0] * part[1]), 0]
                grids.append((1, 2 * part[0], 2 * part[1]))
        types.append(line)
    length = max(map(len, types))
    image = torch.tensor([line + [0] * (length - len(line)) for line in types])
    mask = torch.tensor([[1] * len(line) + [0] * (length - len(line)) for line in types])
    grid = torch.tensor(grids, dtype=torch.long).reshape(-1, 3)
    before = mask.clone()
    got = compute_mrope_positions(image.bool(), mask, grid, 2)
    want, _ = reference.get_rope_index(image, image, image_grid_thw=grid, attention_mask=mask)
    assert torch.equal(got, want)
    assert torch.equal(mask, before)


def test_positions_keep_views_apart_that_touch():
    image = torch.tensor([[True] * 6 + [False]])
    got = compute_mrope_positions(image, torch.ones(1, 7), torch.tensor([[1, 4, 2], [1, 2, 8]]), 2)
    assert got[:, 0].T.tolist() == [
        [0, 0, 0], [0, 1, 0],
        [2, 2, 2], [2, 2, 3], [2, 2, 4], [2, 2, 5],
        [6, 6, 6],
    ]  # fmt: skip


def test_processing_gives_what_the_forward_takes(qwen_dir, tiny_qwen_config):
    config = tiny_qwen_config(max_pixels=112 * 112)
    views = [Image.new("RGB", size, "red") for size in ((640, 480), (30, 200), (56, 56))]
    processor = build_image_processor(config.base_config.vision_config, config.min_pixels, config.max_pixels)
    batch = processor(images=views, return_tensors="pt")
    grid = batch["image_grid_thw"]
    assert (grid.prod(-1) * 14 * 14 <= 112 * 112).all()
    assert batch["pixel_values"].shape == (int(grid.prod(-1).sum()), 3 * 2 * 14 * 14)
    model = MoonModel.from_backbone(qwen_dir, config)
    tokens = grid.prod(-1) // 4
    ids = torch.full((1, int(tokens.sum())), config.image_token_id)
    with torch.inference_mode():
        output = model(ids, torch.ones_like(ids), torch.ones_like(ids), **batch)
    assert output.embedding.isfinite().all()


def test_patches_without_their_grid_are_refused(qwen_dir, tiny_qwen_config, make_world):
    model = MoonModel.from_backbone(qwen_dir, tiny_qwen_config())
    world = make_world(model.config)
    batch = world.batch([world.product(0)])
    del batch["image_grid_thw"]
    with pytest.raises(ValueError, match="image_grid_thw"):
        model(**batch)


def test_experts_of_another_width_cannot_be_copied(qwen_dir, tiny_qwen_config):
    with pytest.raises(ValueError, match="moe_intermediate_size to None"):
        MoonModel.from_backbone(qwen_dir, tiny_qwen_config(moe_intermediate_size=16))


@pytest.mark.parametrize("other", [CompactConfig(), Qwen2_5_VLConfig(text_config={"hidden_size": 64})])
def test_a_configuration_of_another_model_is_refused(other, qwen_dir):
    with pytest.raises(ValueError, match="the checkpoint's own"):
        MoonModel.from_backbone(qwen_dir, MoonConfig(base_config=other))


def test_from_backbone_takes_the_directory_alone_and_any_dtype(qwen_dir):
    model = MoonModel.from_backbone(qwen_dir, dtype=torch.bfloat16)
    assert model.config.num_experts == 6
    for name, weight in model.named_parameters():
        assert weight.dtype == (torch.float32 if ".router." in name else torch.bfloat16), name
    assert not any(weight.is_meta for weight in model.parameters())
