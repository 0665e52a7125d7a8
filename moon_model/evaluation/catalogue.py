"""Tasks for any catalogue, without a single annotation: parts of a product have to find the rest of it.

Texts find pictures, pictures find texts, one picture finds the others; categories and attributes that the catalogue
tells are hidden and predicted, from all that is left and from the pictures alone.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from moon_model.evaluation.leakage_masking import keep_images, keep_texts, make_label_product, mask_field
from moon_model.evaluation.tasks import LabellingTask, Products, RetrievalTask, Task
from moon_model.product import VALUE_SEPARATOR, Product

MIN_PRODUCTS = 10
"""A retrieval among fewer says nothing, a label set seen on fewer neither."""

MAX_LABELS = 200
MAX_ATTRIBUTES = 5


def build_catalogue_tasks(products: Sequence[Product]) -> list[Task]:
    """Return the tasks that the products allow; those with too few products are left out."""
    return [
        task
        for make in (_finding, _neighbours, _categories, _attributes)
        for task in make(products)
        if len(task.queries if isinstance(task, RetrievalTask) else task.products) >= MIN_PRODUCTS
    ]


def _finding(products: Products) -> Iterator[Task]:
    """A title finds its pictures, a picture its texts, a picture the other pictures; one answer each."""
    both = [one for one in products if one.images and one.title]
    pictures = [keep_images(one) for one in both]
    yield _one_each("text → item", [Product(f"{one.id} title", title=one.title) for one in both], pictures)
    yield _one_each("image → item", [Product(f"{one.id} image", images=one.images[:1]) for one in both],
                    [keep_texts(one) for one in both])  # fmt: skip
    several = [one for one in products if len(one.images) > 1]
    first = [Product(f"{one.id} first", images=one.images[:1]) for one in several]
    yield _one_each("image → other images", first, [Product(one.id, images=one.images[1:]) for one in several])


def _one_each(name: str, queries: Products, items: Products) -> RetrievalTask:
    return RetrievalTask(name, queries, items, [frozenset({index}) for index in range(len(items))])


def _neighbours(products: Products) -> Iterator[Task]:
    """A product finds products of its category, although the category is hidden."""
    with_mates = [one for one in products if one.category]
    shelves = Counter(tuple(one.category) for one in with_mates)
    words = {word for shelf in shelves for level in shelf for word in _words_of(level)}
    items = [mask_field(one, words, level=0) for one in with_mates]
    mates = [
        frozenset(other for other, two in enumerate(with_mates) if other != index and two.category == one.category)
        for index, one in enumerate(with_mates)
    ]
    if len(shelves) < 2:
        return  # every answer would be right
    asking = [index for index, found in enumerate(mates) if found]
    yield RetrievalTask("product → same category", [items[index] for index in asking], items,
                    [mates[index] for index in asking], self_items=asking)  # fmt: skip


def _categories(products: Products) -> Iterator[Task]:
    deepest = max((len(one.category) for one in products), default=0)
    for level in range(deepest):
        told = [one for one in products if len(one.category) > level]
        yield from build_probes(
            f"category {level + 1}", told, [tuple(one.category)[level] for one in told], _hidden_level(told, level)
        )


def _hidden_level(products: Products, level: int) -> Callable[[Product], Product]:
    words = {word for one in products for name in tuple(one.category)[level:] for word in _words_of(name)}
    return lambda product: mask_field(product, words, level=level)


def _words_of(level: str) -> set[str]:
    """A level may name several things: "Bags & Purses" tells of either."""
    return {level, *re.split(r"\s*[&+/,;]\s*|\s+and\s+", level)}


def _attributes(products: Products) -> Iterator[Task]:
    counts = Counter(name for one in products for name in one.attributes)
    for name, _ in counts.most_common(MAX_ATTRIBUTES):
        told = [one for one in products if name in one.attributes]
        values = [one.attributes[name] for one in told]
        yield from build_probes(name, told, values, _hidden_attribute(name, set(values)))


def _hidden_attribute(name: str, values: set[str]) -> Callable[[Product], Product]:
    words = {word for value in values for word in (value, *value.split(VALUE_SEPARATOR))}
    return lambda product: mask_field(product, words, attribute=name)


def build_probes(
    name: str, products: Products, actual: Sequence[str], hidden: Callable[[Product], Product]
) -> Iterator[LabellingTask]:
    """Yield the labelling of a field, from all other fields and from images alone; none if there is nothing to tell.

    Args:
        name: of the field.
        products: all N.
        actual: their labels.
        hidden: takes the answer out of a product.
    """
    counts = Counter(actual)
    if not 1 < len(counts) <= MAX_LABELS:
        return
    labels = [make_label_product(text) for text in sorted(counts)]
    left = [(hidden(one), truth) for one, truth in zip(products, actual, strict=True)]
    told = [(one, truth) for one, truth in left if one.images or one.title or one.description]
    yield LabellingTask(name, [one for one, _ in told], [truth for _, truth in told], labels)
    seen = [(keep_images(one), truth) for one, truth in left if one.images]
    yield LabellingTask(f"{name}, images only", [one for one, _ in seen], [truth for _, truth in seen], labels)
