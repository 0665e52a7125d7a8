"""Writes demo products as a shop has them: rows of a catalogue, and photo files drawn in several processes."""

import os
from collections.abc import Iterator, Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from demo_shop import DemoProduct, save_jpeg, take_photo

MAX_SERIAL_PHOTOS = 48  # photos that one process draws faster than a second one starts


class PhotoFile(NamedTuple):
    """A photo to draw.

    Attributes:
        path: the file.
        product: what is photographed.
        number: number of the photo (`demo_shop.take_photo`).
        revision: number of times that the shop has replaced the photo.
    """

    path: Path
    product: DemoProduct
    number: int
    revision: int = 0


def build_catalog_row(product: DemoProduct, images: Sequence[str]) -> dict[str, Any]:
    """Return the row of a product in a demo catalogue, with the paths of its photos."""
    return {
        "id": product.id,
        "title": product.title,
        "description": product.description,
        "category": "/".join(product.category),
        "attributes": dict(product.attributes),
        "images": list(images),
    }


def draw_photos(
    files: Sequence[PhotoFile], *, workers: int | None = None, progress: bool = False
) -> Iterator[dict[str, Any]]:
    """Draw photos into their files, each whole or not at all, and yield what is known of each in any order.

    Args:
        files: the photos.
        workers: processes that draw; None: one for each core.
        progress: show a bar on stderr.

    Yields:
        Name of the file, size in pixels, box and kind of background, as in a line of ``boxes.jsonl``.
    """
    columns = (TextColumn("drawing photos"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    workers = workers or len(os.sched_getaffinity(0))
    with Progress(*columns, console=Console(stderr=True), disable=not (progress and files)) as bar:
        yield from bar.track(_draw_in_processes(files, workers), total=len(files))


def _draw_in_processes(files: Sequence[PhotoFile], workers: int) -> Iterator[dict[str, Any]]:
    if workers == 1 or len(files) < MAX_SERIAL_PHOTOS:
        yield from map(_draw, files)
        return
    # spawn, not fork: a caller may hold threads (Spark's gateway, a progress bar) that a fork would freeze
    with get_context("spawn").Pool(workers) as pool:
        yield from pool.imap_unordered(_draw, files, chunksize=8)


def _draw(file: PhotoFile) -> dict[str, Any]:
    photo = take_photo(file.product, file.number, revision=file.revision)
    save_jpeg(photo.image, file.path)
    width, height = photo.image.size
    return {
        "image": f"images/{file.path.name}", "product_id": file.product.id, "width": width, "height": height,
        "box": [round(v, 5) for v in photo.box], "cluttered": photo.is_cluttered,
    }  # fmt: skip
