"""``moon training-shop``: what moon-tiny's second stage learns from, as a shop like any other.

A catalogue, a purchase log and a list of variants, which `moon prepare` and `moon make-pairs` read as they read a real
shop's: demo products of the training seeds without the held-out types, and, where it is given, grocery's TRAIN list:
each photo counts as a purchase of the product it shows (its iconic picture and texts).
"""

import csv
import json
import os
from collections.abc import Iterable, Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from demo_shop import DemoWorld, save_jpeg, take_photo
from demo_shop.purchases import draw_purchases
from demo_shop.splits import HELD_OUT_TYPES, TRAIN_SEEDS
from demo_shop.vocabulary import PRODUCT_TYPES
from jobs.datasets.demo_catalog import DEMO_MAPPING
from jobs.errors import MoonError

CATALOG_FILE, PURCHASES_FILE, VARIANTS_FILE = "catalog.jsonl", "purchases.jsonl", "variants.jsonl"

PhotoJob = tuple[Path, int, int, int]
"""File, seed, product, number."""


def write_training_shop(
    out: Path, *, products: int, purchases_per_product: int, grocery: Path | None, progress: bool = False
) -> dict[str, int]:
    """Write the shop; photos that are there already are kept.

    Args:
        out: folder; images of the demo products lie in it, grocery's stay where they are.
        products: demo products of each seed.
        purchases_per_product: purchases with each demo product in mind.
        grocery: GroceryStoreDataset; None: demo products alone.
        progress: show a bar on stderr.

    Returns:
        How many products, purchases and photos there are.

    Raises:
        MoonError: the grocery folder is not that dataset.
    """
    (out / "images").mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    bought: list[dict[str, Any]] = []
    families: list[dict[str, str]] = []
    photos: list[PhotoJob] = []
    for seed in TRAIN_SEEDS:
        world = make_training_world(seed)
        rows += [_make_row(world, index, out, photos) for index in range(products)]
        families += [{"product_id": p.id, "family": p.family} for p in map(world.get_product, range(products))]
        bought += _draw_purchases(world, products, purchases_per_product, out, photos)
    if grocery is not None:
        rows += _iter_grocery_rows(grocery)
        bought += _iter_grocery_purchases(grocery)
    _draw_all(photos, progress)
    for name, lines in ((CATALOG_FILE, rows), (PURCHASES_FILE, bought), (VARIANTS_FILE, families)):
        (out / name).write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), "utf-8")
    (out / "mapping.toml").write_text(DEMO_MAPPING.replace('version_column = "image_versions"\n', ""), encoding="utf-8")
    return {"products": len(rows), "purchases": len(bought), "photos drawn": len(photos)}


def make_training_world(seed: int) -> DemoWorld:
    """Return the demo world of a seed without the types that the benchmark holds out."""
    return DemoWorld(seed, [name for name in PRODUCT_TYPES if name not in HELD_OUT_TYPES])


def _make_row(world: DemoWorld, index: int, out: Path, photos: list[PhotoJob]) -> dict[str, Any]:
    product = world.get_product(index)
    names = [f"images/{product.id}-{number}.jpg" for number in range(product.images)]
    photos += [(out / name, world.seed, index, number) for number, name in enumerate(names)]
    return {
        "id": product.id,
        "title": product.title,
        "description": product.description,
        "category": "/".join(product.category),
        "attributes": dict(product.attributes),
        "images": names,
    }


def _draw_purchases(
    world: DemoWorld, products: int, each: int, out: Path, photos: list[PhotoJob]
) -> Iterator[dict[str, Any]]:
    for number, one in enumerate(draw_purchases(world, products, each)):
        line = {"product_id": world.product_id(one.product), "time": _format_time(number), "query": one.query}
        if one.photo is not None:
            name = f"images/{world.product_id(one.wanted)}-{one.photo}.jpg"
            photos.append((out / name, world.seed, one.wanted, one.photo))
            line["query_image"] = name
        yield line


def _read_grocery_classes(folder: Path) -> dict[int, dict[str, str]]:
    try:
        with (folder / "classes.csv").open(encoding="utf-8") as stream:
            return {int(row["Class ID (int)"]): row for row in csv.DictReader(stream)}
    except (OSError, KeyError, ValueError) as error:
        raise MoonError(f"{folder} is not the GroceryStoreDataset ({error!r})") from error


def _iter_grocery_rows(folder: Path) -> Iterator[dict[str, Any]]:
    for number, row in _read_grocery_classes(folder).items():
        iconic = folder / row["Iconic Image Path (str)"].strip("/")
        about = Path(row["Product Description Path (str)"].strip("/"))
        yield {
            "id": f"grocery-{number}",
            "title": row["Class Name (str)"].replace("-", " "),
            "description": (folder / about).read_text(encoding="utf-8").strip(),
            "category": "/".join(("Grocery", about.parts[1], row["Coarse Class Name (str)"].replace("-", " "))),
            "attributes": {},
            "images": [str(iconic.resolve())],
        }


def _iter_grocery_purchases(folder: Path) -> Iterator[dict[str, Any]]:
    classes = _read_grocery_classes(folder)
    for number, line in enumerate((folder / "train.txt").read_text().splitlines()):
        path, fine, _ = (part.strip() for part in line.split(","))
        name, coarse = (classes[int(fine)][f"{key} Name (str)"] for key in ("Class", "Coarse Class"))
        rng = np.random.default_rng((6, number))
        words = str(rng.choice((name, name, coarse))).replace("-", " ").lower()
        image = str((folder / path).resolve())
        yield {"product_id": f"grocery-{int(fine)}", "time": _format_time(number), "query": words, "query_image": image}


def _format_time(number: int) -> str:
    """A purchase a minute, from the start of a year that no test looks at."""
    return str(np.datetime64("2026-01-01T00:00") + np.timedelta64(number, "m"))


def _draw_all(photos: Iterable[PhotoJob], progress: bool) -> None:
    missing = [photo for photo in dict.fromkeys(photos) if not photo[0].is_file()]
    with get_context("spawn").Pool(len(os.sched_getaffinity(0))) as pool:
        drawn = pool.imap_unordered(_draw, missing, chunksize=16)
        for _ in track(drawn, "drawing photos", total=len(missing), disable=not progress):
            continue


def _draw(photo: PhotoJob) -> None:
    path, seed, index, number = photo
    # Shoppers' photos and later catalogue pictures have their own ground; see `take_photo`.
    save_jpeg(take_photo(make_training_world(seed).get_product(index), number).image, path)
