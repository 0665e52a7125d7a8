"""The demo shop as a benchmark: unseen seeds, separate held-out types, truth from the facts, masked answers."""

import io
import re

import numpy as np
import pytest
from PIL import Image

from demo_shop import DemoWorld
from demo_shop.splits import HELD_OUT_TYPES, TRAIN_SEEDS
from demo_shop.vocabulary import COLOURS
from moon_model.evaluation.demo_shop import build_demo_benchmark
from moon_model.evaluation.tasks import LabellingTask, RetrievalTask
from tests.moon_model.evaluation.one_hot import OneHotEmbedder

SEED, COUNT = 905, 30


@pytest.fixture(scope="module")
def facts():
    return [DemoWorld(SEED).get_product(index) for index in range(COUNT)]


@pytest.fixture(scope="module")
def benchmark():
    return build_demo_benchmark(SEED, COUNT)


@pytest.fixture(scope="module")
def tasks(benchmark):
    return {task.name: task for task in benchmark.tasks}


@pytest.mark.parametrize("seed", TRAIN_SEEDS)
def test_a_seed_of_training_is_refused(seed):
    with pytest.raises(ValueError, match=f"seed {seed} is used in training"):
        build_demo_benchmark(seed, 1)


def test_types_that_training_never_saw_are_apart(tasks, facts):
    apart = " (umbrella and armchair, never trained on)"
    held_out = [one.id for one in facts if one.type in HELD_OUT_TYPES]
    assert held_out
    for name in ("text → item", "image → item", "image and text → item"):
        seen, unseen = tasks[name], tasks[name + apart]
        assert len(unseen.queries) == len(held_out)
        assert len(seen.queries) + len(unseen.queries) == COUNT
        assert seen.items is unseen.items  # found among all products, embedded once
        assert [one.id for one in seen.items] == [one.id for one in facts]


def test_a_text_asks_for_all_products_that_fit(tasks, facts):
    task = tasks["text → item"]
    wanted = [one for one in facts if one.type not in HELD_OUT_TYPES]
    for query, right, one in zip(task.queries, task.relevant, wanted, strict=True):
        alike = {at for at, two in enumerate(facts) if all(
            getattr(one, fact) == getattr(two, fact) for fact in ("type", "colour", "pattern"))}  # fmt: skip
        assert right == alike
        assert not query.images
        assert query.title.lower() not in one.title.lower()


def test_a_photo_asks_for_its_product_in_any_size(tasks, facts):
    for name in ("image → item", "image and text → item"):
        task = tasks[name]
        axes = {one.id: one.index - (one.id != one.family) for one in facts}
        axes |= {f"photo {one}": at for one, at in axes.items()}
        found = dict(task.score(lambda each, axes=axes: OneHotEmbedder(axes, COUNT).embed(each, [])))
        assert found["R@1"].mean() == 1
        assert bool(task.queries[0].title) == ("text" in name)
    catalogue = {image for one in tasks["image → item"].items for image in one.images}
    for query in tasks["image → item"].queries:
        assert not catalogue & set(query.images)
        edge = np.asarray(Image.open(io.BytesIO(query.images[0])).convert("RGB"), dtype=float)[[0, -1]]
        assert edge.std() > 3, "the background of a query photo is cluttered"


def test_one_picture_finds_the_others(tasks, facts):
    task = tasks["image → other images"]
    several = [one for one in facts if one.images > 1]
    assert [one.id for one in task.items] == [one.id for one in several]
    for query, right, one in zip(task.queries, task.relevant, several, strict=True):
        assert {several[at].family for at in right} == {one.family}
        assert not any(set(query.images) & set(task.items[at].images) for at in right)


def test_colours_are_hidden_in_every_word_and_known_from_what_was_drawn(tasks, facts):
    task = tasks["colour"]
    assert isinstance(task, LabellingTask)
    actual = {one.id: one.colour for one in facts}
    assert [actual[one.id] for one in task.products] == list(task.actual)
    words = {word for one in COLOURS.values() for word in (*one.names, *one.query_names)}
    named = re.compile(rf"\b({'|'.join(map(re.escape, words))})\b", re.IGNORECASE)
    assert [one.id for one in facts if named.search(one.title)]
    for one in task.products:
        assert not named.search(f"{one.title} {one.description}")
        assert "colour" not in one.attributes
    assert not any(one.category for one in tasks["type"].products)


def test_the_same_seed_draws_the_same_shop(benchmark):
    small = build_demo_benchmark(SEED, 4)
    assert small.about == {"products": 4, "seed": SEED}
    same, other = build_demo_benchmark(SEED, 4), build_demo_benchmark(SEED + 1, 4)
    assert small.compute_digest() == same.compute_digest() != other.compute_digest()
    assert len(benchmark.tasks) == len([one for one in benchmark.tasks if isinstance(one, RetrievalTask)]) + 6
