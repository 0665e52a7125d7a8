"""Public photo sets as benchmarks: GroceryStoreDataset (validation list), clothing-dataset, the catalogue of eShop."""

import json
from pathlib import Path

from moon_model.evaluation.catalogue import build_catalogue_tasks, build_probes
from moon_model.evaluation.photo_lists import read_clothing, read_grocery_classes, read_grocery_photos
from moon_model.evaluation.tasks import Benchmark, RetrievalTask, Task
from moon_model.product import Product


class BenchmarkDataError(ValueError):
    """A folder or file does not hold the expected data set; the message names it and what is wrong."""


def build_grocery_benchmark(folder: Path) -> Benchmark:
    """Return the tasks of GroceryStoreDataset: shop photo → product, → name, and prediction of the coarse class.

    Only photos of the validation list are queries. The items are the 81 products with iconic image and description.

    Raises:
        BenchmarkDataError: the folder is not GroceryStoreDataset.
    """
    try:
        classes = sorted(read_grocery_classes(folder).values(), key=lambda product: product.number)
        items = [
            Product(str(one.number), one.name, one.read_description(), (one.coarse,), images=[one.iconic])
            for one in classes
        ]
        photos = read_grocery_photos(folder, "val")
    except (OSError, KeyError, ValueError) as error:
        raise BenchmarkDataError(f"{folder} is not the GroceryStoreDataset ({error!r})") from error
    queries = [Product(path.name, images=[path]) for path, _ in photos]
    right = [frozenset({classes.index(product)}) for _, product in photos]
    coarse = [product.coarse for _, product in photos]
    tasks: list[Task] = [
        RetrievalTask("image → item", queries, items, right),
        RetrievalTask("image → name", queries, [Product(item.id, title=item.title) for item in items], right),
        *list(build_probes("coarse class, images only", queries, coarse, lambda one: one))[:1],
    ]
    return Benchmark("grocery val", tasks, {"photos": len(photos), "products": len(items)})


def build_clothing_benchmark(folder: Path, max_photos: int = 600) -> Benchmark:
    """Return the tasks of clothing-dataset: predict a photo's label, and find photos of the same label.

    Args:
        folder: folder with ``images.csv`` and ``images``.
        max_photos: the first photos that are used.

    Raises:
        BenchmarkDataError: the folder is not clothing-dataset.
    """
    try:
        products = [
            Product(row["image"], category=(row["label"],), images=[path])
            for path, row in read_clothing(folder)[:max_photos]
        ]
    except (OSError, KeyError) as error:
        raise BenchmarkDataError(f"{folder} is not the clothing-dataset ({error!r})") from error
    return Benchmark("clothing (seen in training)", build_catalogue_tasks(products), {"photos": len(products)})


def build_eshop_benchmark(folder: Path) -> Benchmark:
    """Return the catalogue tasks of dotnet/eShop's 101 products, none of which any training has seen.

    Raises:
        BenchmarkDataError: the folder is not eShop's catalogue.
    """
    try:
        rows = json.loads((folder / "catalog.json").read_text(encoding="utf-8"))
        products = [
            Product(
                str(row["Id"]), row["Name"], row["Description"], (row["Type"],), {"brand": row["Brand"]},
                [folder / "Pics" / f"{row['Id']}.webp"],
            )
            for row in rows
        ]  # fmt: skip
    except (OSError, KeyError, ValueError) as error:
        raise BenchmarkDataError(f"{folder} is not eShop's catalogue ({error!r})") from error
    return Benchmark("eshop", build_catalogue_tasks(products), {"products": len(products)})
