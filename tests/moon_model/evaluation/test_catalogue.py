"""Catalogue tasks: relevant items and labels are right, answers are masked, and too small tasks are left out."""

import pytest

from moon_model.evaluation.catalogue import (
    MAX_ATTRIBUTES,
    MAX_LABELS,
    MIN_PRODUCTS,
    build_catalogue_tasks,
    build_probes,
)
from moon_model.evaluation.tasks import LabellingTask, RetrievalTask
from moon_model.product import Product
from tests.moon_model.evaluation.one_hot import OneHotEmbedder

COLOURS, TYPES = ("red", "blue", "green"), ("mug", "bowl")


def product(number: int) -> Product:
    colour, kind = COLOURS[number % 3], TYPES[number % 2]
    return Product(
        str(number), f"A {colour} {kind} no {number}", f"{kind.title()}s of {colour}.", ("Kitchen", f"{kind}s"),
        {"colour": colour, "maker": "us"}, [b"front %d" % number, b"back %d" % number][: 1 + number % 2],
    )  # fmt: skip


SHOP = [product(number) for number in range(2 * MIN_PRODUCTS)]


@pytest.fixture(scope="module")
def tasks():
    return {task.name: task for task in build_catalogue_tasks(SHOP)}


def test_every_part_of_a_product_is_asked_about(tasks):
    assert list(tasks) == [
        "text → item", "image → item", "image → other images", "product → same category",
        "category 2", "category 2, images only", "colour", "colour, images only",
    ]  # fmt: skip  # level 1 and the maker are the same for all: nothing to tell


@pytest.mark.parametrize("name", ["text → item", "image → item", "image → other images"])
def test_a_part_finds_its_own_product(tasks, name):
    task = tasks[name]
    axes = {one.id: int(one.id.split()[0]) for one in (*task.queries, *task.items)}
    found = dict(task.score(lambda each: OneHotEmbedder(axes, len(SHOP)).embed(each, [])))
    assert found["R@1"].mean() == 1
    for query, right in zip(task.queries, task.relevant, strict=True):
        (item,) = (task.items[at] for at in right)
        assert not set(query.images) & set(item.images)
        assert not (query.title and item.title)
        assert not item.category or not item.images


def test_neighbours_are_of_the_category_and_never_the_product_itself(tasks):
    task = tasks["product → same category"]
    assert len(task.queries) == len(SHOP)
    for own, right in zip(task.self_items, task.relevant, strict=True):
        assert {SHOP[at].category for at in right} == {SHOP[own].category}
        assert own not in right
        assert len(right) == len(SHOP) // 2 - 1
    assert not any(one.category for one in task.items)
    assert not any(kind in f"{one.title} {one.description}".lower() for one in task.items for kind in TYPES)


def test_a_product_without_a_neighbour_is_found_but_does_not_ask():
    lonely = Product("lonely", "One of a kind", category=("Garden",))
    task = next(one for one in build_catalogue_tasks([*SHOP, lonely]) if one.name == "product → same category")
    assert (len(task.queries), len(task.items)) == (len(SHOP), len(SHOP) + 1)


def test_a_hidden_field_cannot_be_read(tasks):
    for name, words in (("category 2", TYPES), ("colour", COLOURS)):
        task = tasks[name]
        assert isinstance(task, LabellingTask)
        assert [one.title for one in task.labels] == sorted(set(task.actual))
        texts = [f"{one.title} {one.description} {one.attributes.get('colour', '')}".lower() for one in task.products]
        assert not [text for text in texts if name == "colour" and any(word in text.split() for word in words)]
        assert not [one for one in task.products if name in one.attributes or len(one.category) > 1 > len(name)]
    assert {len(one.category) for one in tasks["category 2"].products} == {1}
    assert {one.attributes.get("maker") for one in tasks["colour"].products} == {"us"}
    for one in tasks["colour, images only"].products:
        assert one == Product(one.id, images=one.images)


def test_a_level_may_name_several_things():
    shelves = [("Bags & Purses",), ("Shoes, Boots and Laces",)] * 10
    shop = [Product(str(i), f"Purse, boot, lace {i}", category=shelf) for i, shelf in enumerate(shelves)]
    task = next(task for task in build_catalogue_tasks(shop) if task.name == "category 1")
    assert {one.title for one in task.products} == {f", , {number}" for number in range(20)}


def test_several_values_are_masked_each():
    shop = [
        Product(str(i), f"Red and blue cup {i}", attributes={"colour": ["red", "blue"][: 1 + i % 2]}) for i in range(20)
    ]
    task = next(task for task in build_catalogue_tasks(shop) if task.name == "colour")
    assert [one.title for one in task.labels] == ["red", "red, blue"]
    assert {one.title for one in task.products} == {f"and cup {number}" for number in range(20)}


def test_what_says_nothing_is_left_out():
    assert build_catalogue_tasks([]) == []
    assert build_catalogue_tasks(SHOP[: MIN_PRODUCTS - 1]) == []
    wordless = [Product(one.id, images=one.images[:1]) for one in SHOP]
    assert build_catalogue_tasks(wordless) == []
    one_label = list(build_probes("x", SHOP, ["same"] * len(SHOP), lambda one: one))
    too_many = list(
        build_probes("x", [SHOP[0]] * (MAX_LABELS + 1), list(map(str, range(MAX_LABELS + 1))), lambda one: one)
    )
    assert one_label == too_many == []


def test_of_many_attributes_the_commonest_are_asked():
    names = [f"a{number}" for number in range(MAX_ATTRIBUTES + 1)]
    told = [{name: str(i % 2) for name in names[i % 4 == 0 :]} for i in range(40)]
    shop = [Product(str(i), "x", attributes=attributes) for i, attributes in enumerate(told)]
    asked = [task.name for task in build_catalogue_tasks(shop) if isinstance(task, LabellingTask)]
    assert len(asked) == MAX_ATTRIBUTES
    assert "a0" not in asked


def test_products_of_which_nothing_is_left_are_not_asked_about():
    shop = [Product(str(i), COLOURS[i % 3], attributes={"colour": COLOURS[i % 3]}) for i in range(20)]
    shop += [Product(f"b{i}", f"{COLOURS[i % 3]} mug", attributes={"colour": COLOURS[i % 3]}) for i in range(12)]
    (task,) = (task for task in build_catalogue_tasks(shop) if isinstance(task, LabellingTask))
    assert {one.title for one in task.products} == {"mug"}
    assert len(task.actual) == 12
    assert not [task for task in build_catalogue_tasks(shop) if isinstance(task, RetrievalTask)]
