"""Tests from products to batches: reading order, segments, token budgets, padding."""

import pickle
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoProcessor

from moon_model.configuration_moon import CompactConfig, MoonConfig, Segment
from moon_model.modeling_moon import MoonModel
from moon_model.processing_moon import ImageFailure, MoonProcessor, PreparedProduct, View
from moon_model.product import Product
from moon_model.tokenization import IMAGE_ID, PAD_ID, SEPARATOR_ID, SPECIAL_TOKENS, START_ID, cut_vocabulary

BYTES = {
    "model": {
        "type": "BPE",
        "merges": [],
        "vocab": {letter: index for index, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))},
    }
}
ROWS = len(SPECIAL_TOKENS) + 256
VIEW_TOKENS = 4


def config(**fields: object) -> MoonConfig:
    base = CompactConfig(
        vocab_size=ROWS, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, image_size=64, tokens_per_view=VIEW_TOKENS, initializer_range=0.2,
    )  # fmt: skip
    return MoonConfig(**{"base_config": base, "num_experts": 4, **fields})


def processor(**fields: object) -> MoonProcessor:
    """A tokenizer with one token per byte, so that the text gives the counts; the leading space counts."""
    return MoonProcessor(config(**fields), cut_vocabulary(BYTES, ROWS))


def view(crop: bool = True) -> View:
    return View(Image.new("RGB", (50, 40), "red"), Image.new("RGB", (20, 20), "blue") if crop else None)


def runs(prepared: PreparedProduct) -> list[tuple[Segment, int]]:
    """Run lengths of the segments, in reading order."""
    out: list[tuple[Segment, int]] = []
    for value in map(Segment, prepared.segment_ids):
        out = [*out[:-1], (value, out[-1][1] + 1)] if out and out[-1][0] == value else [*out, (value, 1)]
    return out


MUG = Product("7", "mug", "tea", "A/B", {"c": "red"})


def test_views_prepared_before_are_taken_as_they_are() -> None:
    ready = processor()
    pictures = view()
    arrays = View(ready.views.prepare(pictures.image), ready.views.prepare(pictures.crop))
    before, again = (ready.prepare(MUG, [one]) for one in (pictures, arrays))
    assert runs(again) == runs(before)
    assert all((a == b).all() for a, b in zip(before.views, again.views, strict=True))
    assert again.views[0] is arrays.image


def test_the_reading_order_is_the_papers() -> None:
    assert runs(processor().prepare(MUG, [view(), view(crop=False)])) == [
        (Segment.NONE, 1),
        (Segment.IMAGE, 4), (Segment.CROP, 4), (Segment.IMAGE, 4), (Segment.NONE, 1),
        (Segment.TITLE, 4), (Segment.NONE, 1), (Segment.TITLE, 4), (Segment.NONE, 1),
        (Segment.CATEGORY, 6), (Segment.NONE, 1), (Segment.ATTRIBUTE, 7),
    ]  # fmt: skip


def test_ids_and_views_stand_where_the_segments_say() -> None:
    prepared = processor().prepare(MUG, [view()])
    assert prepared.input_ids[0] == START_ID
    visual = np.isin(prepared.segment_ids, [Segment.IMAGE, Segment.CROP])
    assert (prepared.input_ids[visual] == IMAGE_ID).all()
    assert not (prepared.input_ids[~visual] == IMAGE_ID).any()
    assert (prepared.input_ids[1:][prepared.segment_ids[1:] == Segment.NONE] == SEPARATOR_ID).all()
    assert [tuple(pixels[32, 32]) for pixels in prepared.views] == [(255, 0, 0), (0, 0, 255)]


@pytest.mark.parametrize(
    ("product", "views", "present"),
    [
        (Product("7", "mug"), [], {Segment.TITLE}),
        (Product("7", description="tea"), [], {Segment.TITLE}),
        (Product("7", category="A"), [], {Segment.CATEGORY}),
        (Product("7", attributes={"c": "red"}), [], {Segment.ATTRIBUTE}),
        (Product("7"), [view(crop=False)], {Segment.IMAGE}),
        (Product("7"), [view()], {Segment.IMAGE, Segment.CROP}),
    ],
)
def test_every_part_may_be_absent(product: Product, views: Sequence[View], present: set[Segment]) -> None:
    prepared = processor().prepare(product, views)
    assert set(prepared.segment_ids) - {Segment.NONE} == present
    assert prepared.input_ids[-1] != SEPARATOR_ID
    assert not prepared.is_empty


def test_budgets_hold_and_a_category_keeps_its_leaf() -> None:
    tight = processor(max_title_tokens=5, max_description_tokens=3, max_category_tokens=6, max_attribute_tokens=9)
    product = Product("7", "t" * 99, "d" * 99, ["root", "leaf"], {"a": "x" * 99})
    prepared = tight.prepare(product)
    assert runs(prepared)[1::2] == [
        (Segment.TITLE, 5), (Segment.TITLE, 3), (Segment.CATEGORY, 6), (Segment.ATTRIBUTE, 9),
    ]  # fmt: skip
    category = prepared.input_ids[prepared.segment_ids == Segment.CATEGORY]
    assert tight.tokenizer.decode(category) == "/ leaf"
    assert prepared.cut_texts == ("title", "description", "category", "attributes")


def test_a_text_that_fits_exactly_is_not_called_cut() -> None:
    exact = processor(max_title_tokens=4, max_description_tokens=3, max_category_tokens=6, max_attribute_tokens=7)
    assert exact.prepare(MUG).cut_texts == ("description",)


def test_images_beyond_the_limit_are_left_out() -> None:
    prepared = processor(max_images=2).prepare(Product("7"), [view(crop=False)] * 5)
    assert len(prepared.views) == 2
    assert (prepared.segment_ids == Segment.IMAGE).sum() == 2 * VIEW_TOKENS


def test_a_prompt_is_template_not_content() -> None:
    prepared = processor(prompt="find").prepare(Product("7", "mug"))
    assert runs(prepared) == [(Segment.NONE, 5), (Segment.TITLE, 4)]


@pytest.mark.parametrize(("same", "other"), [("Red MUG", "red mug"), ("cafe\u0301", "caf\u00e9")])
def test_texts_that_look_alike_are_read_alike(same: str, other: str) -> None:
    pair = [processor().prepare(Product("7", title)).input_ids for title in (same, other)]
    assert np.array_equal(*pair)


def test_lower_case_can_be_switched_off() -> None:
    cased = MoonProcessor(config(), cut_vocabulary(BYTES, ROWS), lowercase=False)
    assert cased.tokenizer.decode(cased.prepare(Product("7", "Red")).input_ids[1:]) == " Red"


@given(st.text(max_size=60))
def test_no_text_can_forge_template_or_image_tokens(text: str) -> None:
    prepared = SHARED.prepare(Product("7", text + "<|image|>"))
    assert (prepared.input_ids[1:] >= len(SPECIAL_TOKENS)).all()


SHARED = processor()


def test_a_batch_is_padded_on_the_right_only() -> None:
    long, short = SHARED.prepare(MUG, [view()]), SHARED.prepare(Product("8", "x"))
    batch = SHARED([long, short])
    assert batch["input_ids"].shape == (2, long.num_tokens)
    assert batch["input_ids"].dtype == batch["segment_ids"].dtype == torch.int64
    assert batch["attention_mask"].sum(1).tolist() == [long.num_tokens, short.num_tokens]
    assert (batch["input_ids"][1, short.num_tokens :] == PAD_ID).all()
    assert (batch["segment_ids"][1, short.num_tokens :] == Segment.NONE).all()
    assert batch["pixel_values"].shape == (2, 3, 64, 64)


def test_a_batch_without_images_has_no_pixels() -> None:
    assert "pixel_values" not in SHARED([SHARED.prepare(Product("8", "x"))])


def test_nothing_to_encode_is_an_error_that_names_the_product() -> None:
    empty = SHARED.prepare(Product("shoe-9"), failures=[ImageFailure(0, "image_unreadable", "empty")])
    assert empty.is_empty
    with pytest.raises(ValueError, match="shoe-9"):
        SHARED([empty])
    with pytest.raises(ValueError, match="at least one"):
        SHARED([])


def test_prepared_travels_between_processes() -> None:
    prepared = SHARED.prepare(MUG, [view()], [ImageFailure(1, "image_format", "no image")])
    again = pickle.loads(pickle.dumps(prepared))  # noqa: S301
    assert np.array_equal(again.input_ids, prepared.input_ids)
    assert again.failures == prepared.failures


def test_the_batch_fits_the_model_and_padding_changes_nothing() -> None:
    torch.manual_seed(0)
    model = MoonModel(config()).eval()
    products = [SHARED.prepare(MUG, [view()]), SHARED.prepare(Product("8", "x")), SHARED.prepare(MUG)]
    with torch.inference_mode():
        together = model(**SHARED(products)).embedding
        alone = torch.cat([model(**SHARED([item])).embedding for item in products])
    assert torch.allclose(together, alone, atol=1e-5)


def test_save_and_load(tmp_path: Path) -> None:
    original = MoonProcessor(config(max_images=2), cut_vocabulary(BYTES, ROWS), lowercase=False)
    assert set(original.save_pretrained(tmp_path)) == {path.name for path in tmp_path.iterdir()}
    for loaded in (MoonProcessor.from_pretrained(tmp_path), AutoProcessor.from_pretrained(tmp_path)):
        assert isinstance(loaded, MoonProcessor)
        assert (loaded.lowercase, loaded.config.max_images) == (False, 2)
        one, two = original.prepare(MUG, [view()]), loaded.prepare(MUG, [view()])
        assert np.array_equal(one.input_ids, two.input_ids)
        assert np.array_equal(one.views[0], two.views[0])


def test_loading_from_elsewhere_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"tokenizer\.json"):
        MoonProcessor.from_pretrained(tmp_path)


def test_qwen_template(tiny_qwen_config: Callable[..., MoonConfig]) -> None:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: index for index, letter in enumerate(letters)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|vision_start|>"])
    settings = tiny_qwen_config(min_pixels=56 * 56, max_pixels=56 * 56)
    qwen = MoonProcessor(settings, tokenizer)
    prepared = qwen.prepare(Product("7", "a<|vision_start|>"), [view(crop=False)])
    base = settings.base_config
    ids = prepared.input_ids.tolist()
    assert ids[:2] == [settings.text_config.bos_token_id, base.vision_start_token_id]
    visual = sum(segment == Segment.IMAGE for segment in prepared.segment_ids)
    assert ids[2 : 2 + visual] == [base.image_token_id] * visual
    assert ids[2 + visual] == base.vision_end_token_id
    assert tokenizer.decode(ids[3 + visual :]) == "\n a<|vision_start|>"
    assert 256 not in ids[3 + visual :]
    assert int(qwen([prepared])["image_grid_thw"].prod()) // 4 == visual
