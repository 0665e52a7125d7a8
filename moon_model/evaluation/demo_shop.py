"""The demo shop as a benchmark: seeds that training never uses, and separate tasks for the held-out product types."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from demo_shop import DemoProduct, DemoWorld, encode_jpeg, take_photo
from demo_shop.queries import draw_query
from demo_shop.splits import HELD_OUT_TYPES, TRAIN_SEEDS
from demo_shop.vocabulary import COLOURS, PATTERNS, PRODUCT_TYPES
from moon_model.evaluation.catalogue import build_probes
from moon_model.evaluation.leakage_masking import mask_field
from moon_model.evaluation.tasks import Benchmark, Products, RetrievalTask, Task
from moon_model.product import Product

QUERY_PHOTO_NUMBER = 50
"""Number of the photo in a query: it is not in the catalogue or in training, and always has a cluttered background."""


def build_demo_benchmark(seed: int, products: int) -> Benchmark:
    """Return the tasks of a drawn shop.

    Args:
        seed: seed of the shop.
        products: number of products in it.

    Raises:
        ValueError: training uses the seed.
    """
    if seed in TRAIN_SEEDS:
        raise ValueError(f"seed {seed} is used in training; take another than {', '.join(map(str, TRAIN_SEEDS))}")
    world = DemoWorld(seed)
    facts = [world.get_product(index) for index in range(products)]
    items = [_list_product(one) for one in facts]
    tasks = [*_build_retrieval_tasks(facts, items, seed), *_build_fact_probes(facts, items)]
    return Benchmark(f"demo shop {seed}", tasks, {"products": products, "seed": seed})


def _list_product(product: DemoProduct) -> Product:
    images = [encode_jpeg(take_photo(product, number).image) for number in range(product.images)]
    return Product(product.id, product.title, product.description, product.category, dict(product.attributes), images)


def _find_families(wanted: Sequence[DemoProduct], facts: Sequence[DemoProduct]) -> list[frozenset[int]]:
    """Return the indices of all sizes of each wanted product: they look the same, so each of them is relevant."""
    return [frozenset(at for at, two in enumerate(facts) if two.family == one.family) for one in wanted]


def _build_retrieval_tasks(facts: Sequence[DemoProduct], items: Products, seed: int) -> Iterator[Task]:
    """Yield text, photo, or both → item, separately for trained and held-out types, then image → other images."""
    seen = [one for one in facts if one.type not in HELD_OUT_TYPES]
    unseen = [one for one in facts if one.type in HELD_OUT_TYPES]
    for suffix, wanted in (("", seen), (f" ({' and '.join(HELD_OUT_TYPES)}, never trained on)", unseen)):
        if not wanted:
            continue
        queries = [draw_query(one, np.random.default_rng((seed, one.index, 21))) for one in wanted]
        photos = [encode_jpeg(take_photo(one, QUERY_PHOTO_NUMBER, cluttered=True).image) for one in wanted]
        matches = [frozenset(at for at, one in enumerate(facts) if query.matches(one)) for query in queries]
        families = _find_families(wanted, facts)
        texts = [Product(f"query {one.text}", title=one.text) for one in queries]
        shown = [Product(f"photo {one.id}", images=[photo]) for one, photo in zip(wanted, photos, strict=True)]
        both = [replace(one, title=query.text) for one, query in zip(shown, queries, strict=True)]
        yield RetrievalTask(f"text → item{suffix}", texts, items, matches)
        yield RetrievalTask(f"image → item{suffix}", shown, items, families, has_variants=True)
        yield RetrievalTask(f"image and text → item{suffix}", both, items, families, has_variants=True)
    several = [index for index, item in enumerate(items) if len(item.images) > 1]
    first = [Product(f"{items[index].id} first", images=items[index].images[:1]) for index in several]
    rest = [Product(items[index].id, images=items[index].images[1:]) for index in several]
    pictured = [facts[index] for index in several]
    yield RetrievalTask("image → other images", first, rest, _find_families(pictured, pictured), has_variants=True)


def _build_fact_probes(facts: Sequence[DemoProduct], items: Products) -> Iterator[Task]:
    """Yield the tasks of predicting type, colour and pattern; labels are the drawn facts, even if no text has them."""
    words = {
        "type": {word for one in PRODUCT_TYPES.values() for word in (*one.names, *one.query_names, *one.category)},
        "colour": {word for one in COLOURS.values() for word in (*one.names, *one.query_names)},
        "pattern": {word for one in PATTERNS.values() for word in (*one.names, *one.query_names, *one.phrases)},
    }
    for fact, names in words.items():
        mask = partial(mask_field, words=names, level=0 if fact == "type" else None, attribute=fact)
        yield from build_probes(fact, items, [getattr(one, fact) for one in facts], mask)
