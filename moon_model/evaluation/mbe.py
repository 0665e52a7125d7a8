"""MBE as a benchmark, in its published form of JSON lines and images (docs/paper.md, "Benchmark").

Fields: ``id``, ``doc_title``, ``doc_image`` (a URL; its file name is looked up in a local folder),
``doc_industry_name``, ``doc_cate1_name`` … ``doc_cate4_name``, ``doc_attributes`` as ``key:value,,key:value`` with the
values of one key separated by ``!!!``.
"""

import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from moon_model.evaluation.catalogue import build_catalogue_tasks
from moon_model.evaluation.photo_sets import BenchmarkDataError
from moon_model.evaluation.tasks import Benchmark
from moon_model.product import Product

CATEGORY_COLUMNS = tuple(f"doc_cate{level}_name" for level in range(1, 5))


def build_mbe_benchmark(path: Path, images: Path | None = None) -> Benchmark:
    """Return the catalogue tasks of MBE's products.

    Args:
        path: file of JSON lines.
        images: folder of the images; None: the folder ``images`` next to the file.

    Raises:
        BenchmarkDataError: the file cannot be read, a line is no product of MBE, or no image is in the folder.
    """
    folder = images or path.parent / "images"
    products = []
    number = 0
    try:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):  # noqa: B007  # for the message
            if line.strip():
                products.append(make_mbe_product(json.loads(line), folder))
    except OSError as error:
        raise BenchmarkDataError(f"cannot read {path}: {error}") from error
    except (KeyError, ValueError, AttributeError, TypeError) as error:
        raise BenchmarkDataError(f"{path}, line {number}: no product of MBE ({error!r})") from error
    with_image = sum(bool(product.images) for product in products)
    if not with_image:
        raise BenchmarkDataError(f"none of the {len(products)} pictures of {path} is in {folder}")
    return Benchmark("MBE", build_catalogue_tasks(products), {"products": len(products), "with picture": with_image})


def make_mbe_product(row: Mapping[str, Any], images: Path) -> Product:
    """Return a row of MBE as a product; an image that is not in the folder is left out.

    Args:
        row: one parsed line.
        images: folder of the images.

    Raises:
        KeyError: a field is missing.
        ValueError: the attributes do not have the published form.
    """
    name = PurePosixPath(urlsplit(row["doc_image"] or "").path).name
    image = images / name
    return Product(
        id=str(row["id"]),
        title=row["doc_title"],
        category=[row[level] for level in CATEGORY_COLUMNS if row.get(level)],
        attributes=parse_mbe_attributes(row.get("doc_attributes") or ""),
        images=[image] if name and image.is_file() else [],
    )


def parse_mbe_attributes(text: str) -> dict[str, list[str]]:
    """Return names and values of ``colour:red!!!blue,,brand:x``.

    Raises:
        ValueError: a part has no colon.
    """
    parts = [part.partition(":") for part in text.split(",,") if part.strip()]
    if wrong := [key for key, colon, _ in parts if not colon]:
        raise ValueError(f"attribute {wrong[0]!r} has no value")
    return {key.strip(): value.split("!!!") for key, _, value in parts}
