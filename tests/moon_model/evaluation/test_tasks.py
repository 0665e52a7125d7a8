"""Tasks score an embedder by their metrics, and the digest covers all texts and images."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from moon_model.evaluation.tasks import Benchmark, LabellingTask, RetrievalTask
from moon_model.product import Product
from tests.moon_model.evaluation.one_hot import OneHotEmbedder

ITEMS = [Product(str(number), title=f"item {number}") for number in range(12)]


def score(task, *answers):
    """Metrics of an embedder that gives query i the vector of item answers[i]."""
    known = {item.id: int(item.id) for item in ITEMS} | {f"q{i}": at for i, at in enumerate(answers)}
    return dict(task.score(lambda products: OneHotEmbedder(known, 12).embed(products, [])))


def asking(count, relevant, **more):
    return RetrievalTask("t", [Product(f"q{i}", title="?") for i in range(count)], ITEMS, relevant, **more)


def test_one_right_answer_gives_recall():
    found = score(asking(2, [frozenset({3}), frozenset({5})]), 3, 4)
    assert {name: list(values) for name, values in found.items()} == {"R@1": [1, 0], "R@5": [1, 0], "R@10": [1, 1]}


def test_several_right_answers_give_hits_and_gain():
    found = score(asking(2, [frozenset({3, 4}), frozenset({10, 11})]), 3, 3)
    assert set(found) == {"hit@1", "hit@10", "nDCG@10"}
    assert list(found["hit@1"]) == [1, 0]
    assert found["nDCG@10"][0] == pytest.approx((1 + 1 / np.log2(6)) / (1 + 1 / np.log2(3)))


def test_sizes_of_one_product_are_one_answer():
    found = score(asking(1, [frozenset({3, 4})], has_variants=True), 4)
    assert set(found) == {"R@1", "R@5", "R@10"}
    assert list(found["R@1"]) == [1]


def test_a_query_does_not_find_itself():
    task = RetrievalTask("t", ITEMS[:2], ITEMS, [frozenset({0}), frozenset({0})], self_items=[0, 1])
    # 0 may not find itself and every other item is as far: it never counts; 1 finds 0, the first of those left
    assert list(score(task)["R@1"]) == [0, 1]


def test_few_items_cut_the_metrics():
    task = RetrievalTask("t", ITEMS[:2], ITEMS[:6], [frozenset({0}), frozenset({1})])
    assert set(score(task)) == {"R@1", "R@5"}


def test_labels_are_predicted_by_the_nearest_text():
    labels = [Product(f"label {name}", title=name) for name in ("a", "b")]
    task = LabellingTask("t", [Product(str(i), title="?") for i in range(4)], ["a", "a", "b", "b"], labels)
    known = {"label a": 0, "label b": 1, "0": 0, "1": 1, "2": 1, "3": 1}
    found = {name: list(values) for name, values in task.score(lambda each: OneHotEmbedder(known, 2).embed(each, []))}
    assert found["accuracy"] == [1, 0, 1, 1]
    assert found["macro precision"] == pytest.approx([(1 + 2 / 3) / 2])
    assert found["macro recall"] == pytest.approx([0.75])
    assert found["macro f1"] == pytest.approx([(2 / 3 + 4 / 5) / 2])
    assert task.texts is task.texts  # vectors are kept by this object
    assert list(task.texts) == [*task.products, *labels]


def test_the_digest_covers_every_word_and_pixel(tmp_path: Path):
    (tmp_path / "a.jpg").write_bytes(b"one")
    product = Product("1", "title", "words", ("A",), {"b": "c"}, [tmp_path / "a.jpg"])

    def digest(one: Product, name: str = "t") -> str:
        return Benchmark("x", [RetrievalTask(name, [one], ITEMS, [frozenset({0})])]).compute_digest()

    same = digest(product)
    assert digest(replace(product, id="2", images=[b"one"])) == same  # the bytes count, not their place
    changes = [
        {"title": "other"}, {"description": "other"}, {"category": ("B",)}, {"attributes": {"b": "d"}},
        {"images": [b"two"]}, {"images": []}, {"images": [Image.new("RGB", (2, 2))]},
    ]  # fmt: skip
    others = [digest(replace(product, **change)) for change in changes] + [digest(product, "u")]
    assert len({same, *others}) == len(others) + 1
    (tmp_path / "a.jpg").write_bytes(b"two")
    assert digest(product) == others[4]
