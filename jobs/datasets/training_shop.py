"""Writes the shop with which moon-tiny's second stage is trained (``moon training-shop``).

It has a catalogue, a purchase log and a list of variants, which `moon prepare` and `moon make-pairs` read like those of
a real shop. The products are demo products of the training seeds without the held-out types and, optionally, those of
grocery's TRAIN list: each photo of the list counts as a purchase of the product it shows.
"""

import json
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from demo_shop import DemoWorld
from demo_shop.purchases import draw_purchases
from demo_shop.splits import HELD_OUT_TYPES, TRAIN_SEEDS
from demo_shop.vocabulary import PRODUCT_TYPES
from jobs.datasets.demo_catalog import DEMO_MAPPING
from jobs.datasets.demo_products import PhotoFile, build_catalog_row, draw_photos
from jobs.errors import MoonError
from moon_model.evaluation.photo_lists import read_grocery_classes, read_grocery_photos

CATALOG_FILE, PURCHASES_FILE, VARIANTS_FILE = "catalog.jsonl", "purchases.jsonl", "variants.jsonl"


def write_training_shop(
    out: Path, *, products: int, purchases_per_product: int, grocery: Path | None, progress: bool = False
) -> dict[str, int]:
    """Write the shop, except photos that exist, and return its sizes.

    Args:
        out: folder of the shop and of its demo photos; grocery's photos are not copied.
        products: number of demo products of each seed.
        purchases_per_product: number of purchases for each demo product.
        grocery: folder of GroceryStoreDataset; None: demo products only.
        progress: whether to show a progress bar on stderr.

    Returns:
        Numbers of products, purchases and photos by name.

    Raises:
        MoonError: the grocery folder is not that dataset.
    """
    (out / "images").mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    bought: list[dict[str, Any]] = []
    families: list[dict[str, str]] = []
    photos: list[PhotoFile] = []
    for seed in TRAIN_SEEDS:
        world = make_training_world(seed)
        rows += [_make_row(world, index, out, photos) for index in range(products)]
        families += [{"product_id": p.id, "family": p.family} for p in map(world.get_product, range(products))]
        bought += _draw_purchases(world, products, purchases_per_product, out, photos)
    if grocery is not None:
        try:
            rows += _iter_grocery_rows(grocery)
            bought += _iter_grocery_purchases(grocery)
        except (OSError, KeyError, ValueError) as error:
            raise MoonError(f"{grocery} is not the GroceryStoreDataset ({error!r})") from error
    missing = {file.path: file for file in photos if not file.path.is_file()}
    deque(draw_photos(list(missing.values()), progress=progress), maxlen=0)
    for name, lines in ((CATALOG_FILE, rows), (PURCHASES_FILE, bought), (VARIANTS_FILE, families)):
        (out / name).write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), "utf-8")
    (out / "mapping.toml").write_text(DEMO_MAPPING.replace('version_column = "image_versions"\n', ""), encoding="utf-8")
    return {"products": len(rows), "purchases": len(bought), "photos drawn": len(photos)}


def make_training_world(seed: int) -> DemoWorld:
    """Return the demo world of a seed without the types that the benchmark holds out."""
    return DemoWorld(seed, [name for name in PRODUCT_TYPES if name not in HELD_OUT_TYPES])


def _make_row(world: DemoWorld, index: int, out: Path, photos: list[PhotoFile]) -> dict[str, Any]:
    product = world.get_product(index)
    names = [f"images/{product.id}-{number}.jpg" for number in range(product.images)]
    photos += [PhotoFile(out / name, product, number) for number, name in enumerate(names)]
    return build_catalog_row(product, names)


def _draw_purchases(
    world: DemoWorld, products: int, each: int, out: Path, photos: list[PhotoFile]
) -> Iterator[dict[str, Any]]:
    for number, one in enumerate(draw_purchases(world, products, each)):
        line = {"product_id": world.product_id(one.product), "time": _format_time(number), "query": one.query}
        if one.photo is not None:
            name = f"images/{world.product_id(one.wanted)}-{one.photo}.jpg"
            photos.append(PhotoFile(out / name, world.get_product(one.wanted), one.photo))
            line["query_image"] = name
        yield line


def _iter_grocery_rows(folder: Path) -> Iterator[dict[str, Any]]:
    for number, product in read_grocery_classes(folder).items():
        department = product.description.relative_to(folder).parts[1]
        yield {
            "id": f"grocery-{number}",
            "title": product.name,
            "description": product.read_description(),
            "category": "/".join(("Grocery", department, product.coarse)),
            "attributes": {},
            "images": [str(product.iconic.resolve())],
        }


def _iter_grocery_purchases(folder: Path) -> Iterator[dict[str, Any]]:
    for number, (path, product) in enumerate(read_grocery_photos(folder, "train")):
        rng = np.random.default_rng((6, number))
        words = str(rng.choice((product.name, product.name, product.coarse))).lower()
        yield {
            "product_id": f"grocery-{product.number}", "time": _format_time(number), "query": words,
            "query_image": str(path.resolve()),
        }  # fmt: skip


def _format_time(number: int) -> str:
    """Return the time of a purchase: one a minute, from the start of 2026."""
    return str(np.datetime64("2026-01-01T00:00") + np.timedelta64(number, "m"))
