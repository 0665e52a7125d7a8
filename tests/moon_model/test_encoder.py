"""Tests of the whole pipeline from raw products to vectors, on the shipped moon-tiny."""

import io
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from moon_model import checkpoint_dir
from moon_model.checkpoint import count_folder_bytes
from moon_model.configuration_moon import Segment
from moon_model.detection.region import Region
from moon_model.encoder import LENGTH_STEP, MoonEncoder, split_token_batches
from moon_model.fingerprint import combine_version, compute_model_version
from moon_model.modeling_moon import MoonModel
from moon_model.processing_moon import MoonProcessor, PreparedProduct
from moon_model.product import Product
from moon_model.runtime import has_fast_bfloat16

TINY = checkpoint_dir("moon-tiny")
LEFT = Region((0.0, 0.0, 0.5, 1.0), 0.9)


@pytest.fixture(scope="module")
def encoder() -> MoonEncoder:
    return MoonEncoder.from_pretrained(detector=False, dtype="float32", device="cpu")


def photo(colour: str = "red", size: tuple[int, int] = (120, 90)) -> bytes:
    image = Image.new("RGB", size, "white")
    ImageDraw.Draw(image).ellipse((10, 10, size[0] // 2, size[1] - 10), fill=colour)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG")
    return buffer.getvalue()


PRODUCTS = [
    Product("1", "Red mug", "For tea and coffee.", "Home/Kitchen/Mugs", {"colour": "red"}, [photo("red")]),
    Product("2", "Blue rain jacket with hood", images=[photo("blue"), photo("navy", (60, 200))]),
    Product("3", "Climbing rope " * 30, "Long. " * 100, attributes={f"a{i}": "b" * 20 for i in range(20)}),
    Product("4", images=[photo("green"), photo("blue"), photo("red")]),
    Product("5", "x"),
    Product("6", category="Sports > Climbing"),
]


def segments(prepared: PreparedProduct) -> set[Segment]:
    return set(map(Segment, prepared.segment_ids)) - {Segment.NONE}


def test_vectors_are_float32_and_of_length_one(encoder: MoonEncoder) -> None:
    vectors = encoder.encode(PRODUCTS)
    assert (vectors.shape, vectors.dtype) == ((len(PRODUCTS), encoder.dim), np.float32)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert encoder.encode([]).shape == (0, encoder.dim)


def test_a_model_that_loads_in_another_thread_changes_no_vector(encoder: MoonEncoder) -> None:
    """Loading sets torch's default dtype for the whole process; services load the next model while they answer."""
    before = encoder.encode(PRODUCTS)
    torch.set_default_dtype(torch.bfloat16)
    try:
        assert np.array_equal(encoder.encode(PRODUCTS), before)
    finally:
        torch.set_default_dtype(torch.float32)


def test_order_company_and_batch_size_change_no_vector(encoder: MoonEncoder) -> None:
    together = encoder.encode(PRODUCTS)
    alone = np.concatenate([encoder.encode([product]) for product in PRODUCTS])
    backwards = encoder.encode(PRODUCTS[::-1], batch_tokens=1)[::-1]
    small = encoder.encode(PRODUCTS, batch_tokens=200)
    for other in (alone, backwards, small):
        assert np.abs(together - other).max() < 1e-5


def test_dicts_and_generators_will_do(encoder: MoonEncoder) -> None:
    expected = encoder.encode([Product("1", "mug")])
    assert np.array_equal(encoder.encode(product for product in [{"id": 1, "title": "mug"}]), expected)


def test_onnx_runtime_and_torch_agree(encoder: MoonEncoder) -> None:
    torch_only = MoonEncoder(MoonModel.from_pretrained(TINY).eval(), encoder.processor, None, encoder.model_version)
    assert np.abs(torch_only.encode(PRODUCTS) - encoder.encode(PRODUCTS)).max() < 1e-4


@pytest.mark.long
def test_bfloat16_stays_close(encoder: MoonEncoder) -> None:
    half = MoonEncoder.from_pretrained(detector=False, dtype="bfloat16", device="cpu")
    assert half.model.dtype == torch.bfloat16
    vectors = half.encode(PRODUCTS)
    assert (vectors * half.encode(PRODUCTS, batch_tokens=1)).sum(1).min() > 0.999
    assert (vectors * encoder.encode(PRODUCTS)).sum(1).min() > 0.99


def test_the_format_is_chosen_by_capability() -> None:
    chosen = MoonEncoder.from_pretrained(detector=False, device="cpu").model.dtype
    assert chosen == (torch.bfloat16 if has_fast_bfloat16(torch.device("cpu")) else torch.float32)


def test_threads_are_left_alone() -> None:
    before = torch.get_num_threads()
    MoonEncoder.from_pretrained(detector=False, device="cpu")
    assert torch.get_num_threads() == before


def test_a_bad_image_is_reported_and_left_out(encoder: MoonEncoder, caplog: pytest.LogCaptureFixture) -> None:
    broken = Product("9", "Red mug", images=[b"<html>", photo("red"), "/nowhere/a.jpg"])
    prepared = encoder.prepare(broken)
    assert [(f.index, f.reason) for f in prepared.failures] == [(0, "image_format"), (2, "image_unreadable")]
    with caplog.at_level(logging.WARNING):
        vector = encoder.encode([broken])
    assert "9: image 0 is left out (image_format" in caplog.text
    assert np.allclose(vector, encoder.encode([Product("9", "Red mug", images=[photo("red")])]), atol=1e-6)


def test_a_product_of_which_nothing_is_left(encoder: MoonEncoder) -> None:
    prepared = encoder.prepare(Product("9", images=[b"<html>"]))
    assert prepared.is_empty
    with pytest.raises(ValueError, match=r"9 has neither text nor a usable image\. image_format"):
        encoder.encode([Product("9", images=[b"<html>"])])
    with pytest.raises(ValueError, match="nothing to encode"):
        encoder.encode_prepared([prepared])


def test_given_regions_are_cropped(encoder: MoonEncoder) -> None:
    product = Product("9", images=[photo("red"), photo("blue"), photo("green")])
    prepared = encoder.prepare(product, [LEFT, Region.whole_image(), None])
    assert len(prepared.views) == 4
    assert segments(prepared) == {Segment.IMAGE, Segment.CROP}
    crop = Image.fromarray(prepared.views[1])
    assert crop.getpixel((112, 112))[0] > 200 > crop.getpixel((112, 112))[1]
    with pytest.raises(ValueError, match="3 images, but 2 regions"):
        encoder.prepare(product, [LEFT, LEFT])


def test_only_the_first_images_are_looked_at(encoder: MoonEncoder) -> None:
    product = Product("9", images=[photo()] * encoder.max_images + [b"<html>"])
    prepared = encoder.prepare(product)
    assert len(prepared.views) == encoder.max_images == 3
    assert not prepared.failures


class HalfDetector:
    """Returns the left half of every image; counts the images."""

    version = "half"

    def __init__(self) -> None:
        self.shown: list[Image.Image] = []

    def detect(self, images: Sequence[Image.Image]) -> list[Region]:
        self.shown += images
        return [LEFT] * len(images)


def test_the_detector_is_asked_unless_regions_are_known(encoder: MoonEncoder) -> None:
    detector = HalfDetector()
    cropping = MoonEncoder(encoder.model, encoder.processor, detector, "v")
    assert Segment.CROP in segments(cropping.prepare(PRODUCTS[0]))
    assert [image.size for image in detector.shown] == [(120, 90)]
    assert Segment.CROP not in segments(cropping.prepare(PRODUCTS[0], [Region.whole_image()]))
    assert len(detector.shown) == 1


def test_the_shipped_detector_works_with_the_shipped_model() -> None:
    complete = MoonEncoder.from_pretrained(device="cpu")
    assert complete.encode(PRODUCTS[:2]).shape == (2, complete.dim)
    assert complete.model_version == compute_model_version()


def test_prepare_is_safe_in_threads(encoder: MoonEncoder) -> None:
    alone = [encoder.prepare(product) for product in PRODUCTS]
    with ThreadPoolExecutor(4) as pool:
        for one, many in zip(alone * 3, pool.map(encoder.prepare, PRODUCTS * 3), strict=True):
            assert np.array_equal(one.input_ids, many.input_ids)
            assert all(np.array_equal(*pair) for pair in zip(one.views, many.views, strict=True))


def test_queries_by_text_image_and_both(encoder: MoonEncoder) -> None:
    texts, images = ["red mug", "blue jacket"], [photo("red"), photo("blue")]
    for vectors in (
        encoder.encode_queries(texts),
        encoder.encode_queries(images=images),
        encoder.encode_queries(texts, images),
    ):
        assert vectors.shape == (2, encoder.dim)
    pair = encoder.encode([Product("q", texts[1], images=[images[1]])])
    assert np.allclose(encoder.encode_queries(texts, images)[1:], pair, atol=1e-5)


def test_queries_that_cannot_be_answered(encoder: MoonEncoder) -> None:
    with pytest.raises(ValueError, match="needs texts, images or both"):
        encoder.encode_queries()
    with pytest.raises(ValueError, match="1 and 2"):
        encoder.encode_queries(["a"], [photo(), photo()])
    with pytest.raises(ValueError, match="query 1 has neither text"):
        encoder.encode_queries(["a", "  "])


def test_texts_already_find_texts(encoder: MoonEncoder) -> None:
    titles = ["Red coffee mug", "Waterproof rain jacket", "Nylon climbing rope", "Wooden dining table"]
    items = encoder.encode([Product(str(i), title) for i, title in enumerate(titles)])
    queries = encoder.encode_queries(["mug for coffee", "jacket against rain", "rope to climb", "table of wood"])
    assert (queries @ items.T).argmax(1).tolist() == [0, 1, 2, 3]


def test_the_version_says_whether_there_are_crops(encoder: MoonEncoder) -> None:
    assert encoder.model_version == combine_version(TINY, "none") != compute_model_version()


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no model in"):
        MoonEncoder.from_pretrained(tmp_path)


def test_batches_have_few_lengths(encoder: MoonEncoder) -> None:
    prepared = [encoder.prepare(Product(str(words), "mug " * words)) for words in range(1, 40)]
    batches = list(encoder.iter_batches(prepared, batch_tokens=160))
    assert sorted(row for rows, _ in batches for row in rows) == list(range(len(prepared)))
    for rows, batch in batches:
        items, length = batch["input_ids"].shape
        assert items == len(rows)
        assert length % LENGTH_STEP == 0
        assert items == 1 or items * length <= 160
        assert length - max(prepared[row].num_tokens for row in rows) < LENGTH_STEP


@given(st.lists(st.integers(1, 500), max_size=60), st.integers(1, 2000))
def test_token_batches_take_everyone_once_and_keep_to_the_budget(lengths: list[int], budget: int) -> None:
    batches = list(split_token_batches(lengths, budget))
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[index] for index in batch) <= budget


def test_a_qwen_model_encodes_too(qwen_dir: Path, tiny_qwen_config: type) -> None:
    config = tiny_qwen_config(min_pixels=56 * 56, max_pixels=56 * 56)
    small = MoonProcessor.from_pretrained(TINY).tokenizer
    model = MoonModel.from_backbone(qwen_dir, config)
    qwen = MoonEncoder(model, MoonProcessor(config, _fold(small)), None, "v")
    vectors = qwen.encode([Product("1", "mug", images=[photo()]), Product("2", "a", images=[photo(), photo()])])
    alone = qwen.encode([Product("2", "a", images=[photo(), photo()])])
    assert vectors.shape == (2, 32)
    assert np.allclose(vectors[1:], alone, atol=1e-5)


class _FoldedTokenizer:
    """The tiny Qwen of the tests has 64 rows: ids are folded into 3–57."""

    encode_special_tokens = True

    def __init__(self, inner: object) -> None:
        self._inner = inner

    def encode(self, text: str, add_special_tokens: bool = True) -> object:
        ids = [3 + index % 55 for index in self._inner.encode(text, add_special_tokens=add_special_tokens).ids]
        return type("Encoding", (), {"ids": ids})()


def _fold(tokenizer: object) -> _FoldedTokenizer:
    return _FoldedTokenizer(tokenizer)


def test_the_shipped_files_are_small_enough() -> None:
    assert all(path.stat().st_size <= 15 * 2**20 for path in TINY.iterdir())
    assert count_folder_bytes([TINY, checkpoint_dir("detector")]) <= 36 * 2**20
    assert not [path for path in TINY.iterdir() if path.suffix in {".bin", ".pt", ".pth", ".pkl"}]
