"""Each baseline reads its own part of a product and nothing else, and gives zeros where that part is missing."""

import io
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import BertConfig, BertModel, BertTokenizerFast

from moon_model.evaluation.baselines import (
    ConcatenatedEmbedder,
    FrozenVision,
    MoonEmbedder,
    RandomEmbedder,
    TextTeacher,
    WordsAndColours,
    build_baselines,
)
from moon_model.product import Product, join_text


def photo(colour: str, size: int = 90) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (size, size), colour).save(stream, "PNG")
    return stream.getvalue()


LETTERS = "abcdefghijklmnopqrstuvwxyz"
RED, BLUE = photo("red"), photo("blue")
FULL = Product("1", "mug", "for tea", ("Kitchen",), {"colour": "red"}, [RED])
PRODUCTS = [FULL, Product("2", "blue bowl"), Product("3", images=[RED, BLUE]), Product("4")]


@pytest.fixture(scope="session")
def minilm(tmp_path_factory) -> Path:
    """A folder in the form of all-MiniLM-L6-v2: one random layer of the true width."""
    folder = tmp_path_factory.mktemp("minilm")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, *(f"##{letter}" for letter in LETTERS)]
    BertTokenizerFast(vocab={word: number for number, word in enumerate(words)}).save_pretrained(folder)
    torch.manual_seed(0)
    shape = BertConfig(
        vocab_size=len(words), hidden_size=384, num_hidden_layers=1, num_attention_heads=4, intermediate_size=64
    )
    BertModel(shape).save_pretrained(folder)
    return folder


@pytest.fixture
def embedders(encoder, minilm):
    return {one.name: one for one in [MoonEmbedder(encoder), *build_baselines(encoder, minilm, 0)]}


def test_all_of_them_are_in_the_table(embedders, encoder, minilm):
    names = [
        "EfficientNet-Lite0",
        "all-MiniLM-L6-v2",
        "EfficientNet-Lite0 + all-MiniLM-L6-v2",
        "TF-IDF + colours",
        "chance",
    ]
    assert list(embedders) == ["MOON", *names]
    without = [one.name for one in build_baselines(encoder, None, 0)]
    assert without == [names[0], *names[3:]]
    with pytest.raises(FileNotFoundError, match="holds no all-MiniLM-L6-v2; get it with"):
        build_baselines(encoder, minilm / "nothing", 0)


def test_vectors_have_length_one_or_nothing_to_say(embedders):
    silent = {
        "MOON": [3], "EfficientNet-Lite0": [1, 3], "all-MiniLM-L6-v2": [2, 3],
        "EfficientNet-Lite0 + all-MiniLM-L6-v2": [3], "TF-IDF + colours": [3], "chance": [],
    }  # fmt: skip
    for name, embedder in embedders.items():
        vectors = embedder.embed(PRODUCTS, PRODUCTS)
        assert vectors.dtype == np.float32
        lengths = np.linalg.norm(vectors, axis=1)
        assert np.flatnonzero(lengths == 0).tolist() == silent[name], name
        assert lengths[lengths > 0] == pytest.approx(1, abs=1e-3)


def test_the_model_column_is_the_model_itself(encoder):
    assert np.array_equal(MoonEmbedder(encoder).embed(PRODUCTS[:3], []), encoder.encode(PRODUCTS[:3]))


def test_the_vision_tower_sees_pixels_only(encoder):
    tower = FrozenVision(encoder)
    same = [FULL, Product("x", "other words", images=[RED])]
    red, blue, both = tower.embed([*same, Product("b", images=[BLUE]), PRODUCTS[2]], [])[[0, 2, 3]]
    assert np.array_equal(*tower.embed(same, []))
    middle = red + blue
    assert both == pytest.approx(middle / np.linalg.norm(middle), abs=1e-5)


def test_the_text_teacher_reads_every_word_and_no_pixel(minilm):
    teacher = TextTeacher(minilm)
    one, same, other = teacher.embed([FULL, Product("x", join_text(FULL), images=[BLUE]), Product("y", "mug")], [])
    assert one == pytest.approx(same, abs=1e-3)
    assert one @ other < 0.999
    assert join_text(FULL) == "mug for tea Kitchen colour: red"
    assert join_text(PRODUCTS[3]) == ""


def test_two_side_by_side_weigh_the_same(minilm, encoder):
    first, second = FrozenVision(encoder), TextTeacher(minilm)
    joined = ConcatenatedEmbedder(first, second).embed([FULL], [])[0]
    parts = [part.embed([FULL], [])[0] for part in (first, second)]
    assert joined == pytest.approx(np.concatenate(parts) / np.sqrt(2), abs=1e-3)


def test_words_count_by_how_rare_they_are_and_colours_by_their_share():
    shop = [Product(str(i), title) for i, title in enumerate(("a red mug", "a red bowl", "a red cup", "a blue mug"))]
    vectors = WordsAndColours().embed(shop, shop)
    assert vectors[0] @ vectors[3] > vectors[0] @ vectors[1]  # a shared mug tells more than a shared red
    unknown = WordsAndColours().embed([Product("q", "zebra"), Product("r", images=[RED])], shop)
    assert not unknown[0].any()  # only the items' words count
    shown = [Product("1", images=[RED]), Product("2", images=[photo("#f00808", 300)]), Product("3", images=[BLUE])]
    red, alike, blue = WordsAndColours().embed(shown, shop)
    assert red @ alike > 0.99
    assert red @ blue < 0.01


def test_a_broken_image_is_left_out_and_said(encoder, caplog):
    broken, whole = Product("torn", images=[RED, b"no image"]), Product("whole", images=[RED])
    one, two = FrozenVision(encoder).embed([broken, whole], [])
    assert np.array_equal(one, two)
    assert "torn: an image is left out" in caplog.text


def test_chance_is_of_a_seed():
    draws = [RandomEmbedder(seed).embed(PRODUCTS, []) for seed in (1, 1, 2)]
    assert np.array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[0], draws[2])


def test_only_a_compact_model_has_a_tower_of_its_own():
    other = SimpleNamespace(model=SimpleNamespace(backbone=object()))
    with pytest.raises(ValueError, match="only a compact model"):
        FrozenVision(other)
    assert [one.name for one in build_baselines(other, None, 0)] == ["TF-IDF + colours", "chance"]
