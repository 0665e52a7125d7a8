"""The demo world as a benchmark: unseen seeds, two product types that training never saw reported apart."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from demo_shop import DemoProduct, DemoWorld, encode_jpeg, take_photo
from demo_shop.queries import ShopperQuery, draw_query
from demo_shop.splits import HELD_OUT_TYPES, TRAIN_SEEDS
from demo_shop.vocabulary import COLOURS, PATTERNS, PRODUCT_TYPES
from moon_model.evaluation.catalogue import build_probes
from moon_model.evaluation.leakage_masking import mask_field
from moon_model.evaluation.tasks import Benchmark, Products, RetrievalTask, Task
from moon_model.product import Product

QUERY_PHOTO_NUMBER = 50
"""Number of the photo a shopper takes: on a cluttered ground, no catalogue picture, none that training shows."""


@dataclass(frozen=True)
class _Shelf:
    """The shop's products with what the catalogue tells of them."""

    facts: Sequence[DemoProduct]
    items: Products


def build_demo_benchmark(seed: int, products: int) -> Benchmark:
    """Draw a shop and its tasks.

    Args:
        seed: of the world.
        products: how many it lists.

    Raises:
        ValueError: the seed is one that training uses.
    """
    if seed in TRAIN_SEEDS:
        raise ValueError(f"seed {seed} is used in training; take another than {', '.join(map(str, TRAIN_SEEDS))}")
    world = DemoWorld(seed)
    facts = [world.product(index) for index in range(products)]
    shelf = _Shelf(facts, [_item(one) for one in facts])
    tasks = [*_finding(shelf, seed), *_facts(shelf)]
    return Benchmark(f"demo shop {seed}", tasks, {"products": products, "seed": seed})


def _item(product: DemoProduct) -> Product:
    images = [encode_jpeg(take_photo(product, number).image) for number in range(product.images)]
    return Product(product.id, product.title, product.description, product.category, dict(product.attributes), images)


def _finding(shelf: _Shelf, seed: int) -> Iterator[Task]:
    for apart, chosen in _seen_and_held_out(shelf.facts):
        if not chosen:
            continue
        asked = [draw_query(one, np.random.default_rng((seed, one.index, 21))) for one in chosen]
        photos = [encode_jpeg(take_photo(one, QUERY_PHOTO_NUMBER, cluttered=True).image) for one in chosen]
        sizes = [_family(one, shelf) for one in chosen]
        texts = [Product(f"query {one.text}", title=one.text) for one in asked]
        shown = [Product(f"photo {one.id}", images=[photo]) for one, photo in zip(chosen, photos, strict=True)]
        said = [replace(one, title=query.text) for one, query in zip(shown, asked, strict=True)]
        yield RetrievalTask(f"text → item{apart}", texts, shelf.items, [_fitting(one, shelf) for one in asked])
        yield RetrievalTask(f"image → item{apart}", shown, shelf.items, sizes, has_variants=True)
        yield RetrievalTask(f"image and text → item{apart}", said, shelf.items, sizes, has_variants=True)
    several = [index for index, one in enumerate(shelf.items) if len(one.images) > 1]
    first = [Product(f"{shelf.items[index].id} first", images=shelf.items[index].images[:1]) for index in several]
    rest = [Product(shelf.items[index].id, images=shelf.items[index].images[1:]) for index in several]
    families = [shelf.facts[index].family for index in several]
    same = [frozenset(at for at, two in enumerate(families) if two == one) for one in families]
    yield RetrievalTask("image → other images", first, rest, same, has_variants=True)


def _seen_and_held_out(facts: Sequence[DemoProduct]) -> Iterator[tuple[str, list[DemoProduct]]]:
    yield "", [one for one in facts if one.type not in HELD_OUT_TYPES]
    yield f" ({' and '.join(HELD_OUT_TYPES)}, never trained on)", [one for one in facts if one.type in HELD_OUT_TYPES]


def _fitting(query: ShopperQuery, shelf: _Shelf) -> frozenset[int]:
    return frozenset(at for at, one in enumerate(shelf.facts) if query.matches(one))


def _family(product: DemoProduct, shelf: _Shelf) -> frozenset[int]:
    """Sizes of one product look alike: finding any of them is finding the product."""
    return frozenset(at for at, one in enumerate(shelf.facts) if one.family == product.family)


def _facts(shelf: _Shelf) -> Iterator[Task]:
    """Type, colour and pattern with their words masked; the truth is what was drawn, told or not."""
    told = {
        "type": {word for one in PRODUCT_TYPES.values() for word in (*one.names, *one.asked)},
        "colour": {word for one in COLOURS.values() for word in (*one.names, *one.asked)},
        "pattern": {word for one in PATTERNS.values() for word in (*one.names, *one.asked, *one.phrases)},
    }
    for fact, words in told.items():
        level = 0 if fact == "type" else None
        known = words | ({part for one in PRODUCT_TYPES.values() for part in one.category} if fact == "type" else set())
        actual = [getattr(one, fact) for one in shelf.facts]
        yield from build_probes(
            fact, shelf.items, actual,
            lambda one, known=known, level=level, fact=fact: mask_field(one, known, level=level, attribute=fact),  # type: ignore[misc]
        )  # fmt: skip
