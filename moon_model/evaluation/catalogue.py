"""Benchmark tasks for any catalogue, without annotation: retrieve or predict one part of a product from another.

Retrieval: images by title, texts by image, further images by the first one. Categories and attributes of the catalogue
are removed and predicted, from the remaining fields and from images only.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from moon_model.evaluation.leakage_masking import keep_images, keep_texts, make_label_product, mask_field
from moon_model.evaluation.tasks import LabellingTask, Products, RetrievalTask, Task
from moon_model.product import VALUE_SEPARATOR, Product

MIN_PRODUCTS = 10
"""Tasks with fewer queries or labelled products are left out, because their figures would have no meaning."""

MAX_LABELS = 200
MAX_ATTRIBUTES = 5


def build_catalogue_tasks(products: Sequence[Product]) -> list[Task]:
    """Return the tasks that a catalogue's products allow; tasks with fewer than `MIN_PRODUCTS` are left out."""
    return [
        task
        for build in (_build_part_tasks, _build_category_retrieval, _build_category_probes, _build_attribute_probes)
        for task in build(products)
        if len(task.queries if isinstance(task, RetrievalTask) else task.products) >= MIN_PRODUCTS
    ]


def _build_part_tasks(products: Products) -> Iterator[Task]:
    """Yield title → images, first image → texts and first image → other images, each with one relevant item."""
    both = [one for one in products if one.images and one.title]
    titles = [Product(f"{one.id} title", title=one.title) for one in both]
    images = [Product(f"{one.id} image", images=one.images[:1]) for one in both]
    yield _pair_up("text → item", titles, [keep_images(one) for one in both])
    yield _pair_up("image → item", images, [keep_texts(one) for one in both])
    several = [one for one in products if len(one.images) > 1]
    first = [Product(f"{one.id} first", images=one.images[:1]) for one in several]
    yield _pair_up("image → other images", first, [Product(one.id, images=one.images[1:]) for one in several])


def _pair_up(name: str, queries: Products, items: Products) -> RetrievalTask:
    """Return the task in which item i is the relevant item of query i."""
    return RetrievalTask(name, queries, items, [frozenset({index}) for index in range(len(items))])


def _build_category_retrieval(products: Products) -> Iterator[Task]:
    """Yield the task of finding products of the same category with the category removed from all of them."""
    listed = [one for one in products if one.category]
    categories = {tuple(one.category) for one in listed}
    if len(categories) < 2:
        return  # every item would be relevant
    # Mask the category itself and its names in the texts.
    words = {word for category in categories for level in category for word in _split_level_name(level)}
    items = [mask_field(one, words, level=0) for one in listed]
    # Relevant for a product are the others of its category; products without any are no queries.
    mates = [
        frozenset(other for other, two in enumerate(listed) if other != index and two.category == one.category)
        for index, one in enumerate(listed)
    ]
    asking = [index for index, found in enumerate(mates) if found]
    yield RetrievalTask("product → same category", [items[index] for index in asking], items,
                    [mates[index] for index in asking], self_items=asking)  # fmt: skip


def _build_category_probes(products: Products) -> Iterator[Task]:
    """Yield the tasks of predicting each category level, with this level and all below it masked."""
    for level in range(max((len(one.category) for one in products), default=0)):
        labelled = [one for one in products if len(one.category) > level]
        actual = [tuple(one.category)[level] for one in labelled]
        words = {word for one in labelled for name in tuple(one.category)[level:] for word in _split_level_name(name)}
        mask = partial(mask_field, words=words, level=level)
        yield from build_probes(f"category {level + 1}", labelled, actual, mask)


def _split_level_name(level: str) -> set[str]:
    """Return the names that reveal a category level: "Bags & Purses" is also "Bags" and "Purses"."""
    return {level, *re.split(r"\s*[&+/,;]\s*|\s+and\s+", level)}


def _build_attribute_probes(products: Products) -> Iterator[Task]:
    """Yield the tasks of predicting the most frequent attributes."""
    for name, _ in Counter(key for one in products for key in one.attributes).most_common(MAX_ATTRIBUTES):
        labelled = [one for one in products if name in one.attributes]
        values = [one.attributes[name] for one in labelled]
        words = {word for value in values for word in (value, *value.split(VALUE_SEPARATOR))}
        yield from build_probes(name, labelled, values, partial(mask_field, words=words, attribute=name))


def build_probes(
    name: str, products: Products, actual: Sequence[str], mask: Callable[[Product], Product]
) -> Iterator[LabellingTask]:
    """Yield the tasks of predicting a field from all other fields, and from images only.

    Nothing is yielded for a field with one label or with more than `MAX_LABELS`.

    Args:
        name: name of the field.
        products: the N products.
        actual: their N labels.
        mask: returns a product without the answer (`mask_field`).
    """
    counts = Counter(actual)
    if not 1 < len(counts) <= MAX_LABELS:
        return
    labels = [make_label_product(text) for text in sorted(counts)]
    masked = [(mask(one), label) for one, label in zip(products, actual, strict=True)]
    whole = [(one, label) for one, label in masked if one.images or one.title or one.description]
    yield LabellingTask(name, [one for one, _ in whole], [label for _, label in whole], labels)
    seen = [(keep_images(one), label) for one, label in masked if one.images]
    yield LabellingTask(f"{name}, images only", [one for one, _ in seen], [label for _, label in seen], labels)
