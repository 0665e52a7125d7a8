"""The files of the label objective (``labels.py``): labelled products and the wordings of their labels."""

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from demo_shop import DemoProduct
from demo_shop.queries import VOCABULARY_BY_FACT
from demo_shop.splits import HELD_OUT_TYPES
from demo_shop.vocabulary import COLOURS, PATTERNS, PRODUCT_TYPES
from moon_model.evaluation.photo_lists import read_clothing, read_grocery_photos
from moon_model.product import Product
from recipes.moon_tiny.labels import LABELLED_FILE, LABELS_FILE

MASKED_TEXT_INTERVAL = 2
"""One of this number of demo products keeps its texts, with the words of the facet masked."""

LabelRow = tuple[str, str, dict[str, Any]]
"""Facet, label, and the product in the JSON form of training pairs."""


def build_label_texts(grocery: Path | None, clothing: Path | None) -> dict[str, dict[str, tuple[str, ...]]]:
    """Return the wordings of each label of each facet. Frequent wordings are listed twice."""
    texts = {
        "type": {
            name: (name, *one.names, *one.query_names)
            for name, one in PRODUCT_TYPES.items()
            if name not in HELD_OUT_TYPES
        },
        "colour": {name: (name, name, *one.names, *one.query_names) for name, one in COLOURS.items()},
        "pattern": {name: (name, name, *one.names, *one.query_names, *one.phrases) for name, one in PATTERNS.items()},
    }
    if grocery is not None:
        names = sorted({product.coarse for _, product in read_grocery_photos(grocery, "train")})
        texts["grocery"] = {name: (name, name.lower()) for name in names}
    if clothing is not None:
        names = sorted({row["label"] for _, row in read_clothing(clothing)})
        texts["garment"] = {name: (name, name.lower(), f"clothing: {name.lower()}") for name in names}
    return texts


def build_demo_rows(number: int, product: DemoProduct, image: Path, region: Any) -> Iterator[LabelRow]:
    """Yield the rows of a demo product's photo: its type, colour and pattern.

    Args:
        number: number of the product; it decides whether the rows keep the texts.
        product: the product.
        image: its photo.
        region: core region of the photo; None: no crop.
    """
    from moon_model.evaluation.leakage_masking import mask_field  # noqa: PLC0415  # imports the metrics

    for facet, labels in VOCABULARY_BY_FACT.items():
        row: dict[str, Any] = {"id": product.id, "images": [str(image.resolve())], "regions": [region]}
        if number % MASKED_TEXT_INTERVAL and facet != "type":
            wordings = [(*one.names, *one.query_names, *getattr(one, "phrases", ())) for one in labels.values()]
            words = set(chain.from_iterable(wordings))
            whole = Product(product.id, product.title, product.description, product.category, dict(product.attributes))
            masked = mask_field(whole, words, attribute=facet)
            row |= {"title": masked.title, "description": masked.description, "category": list(masked.category)}
            row["attributes"] = dict(masked.attributes)
        yield facet, getattr(product, facet), row


def build_photo_rows(grocery: Path | None, clothing: Path | None, regions: Mapping[str, Any]) -> Iterator[LabelRow]:
    """Yield the rows of all photos of grocery and clothing; ``regions`` has a core region for each absolute path."""
    photos: list[tuple[str, Path, str]] = []
    if grocery is not None:
        photos += [("grocery", path, product.coarse) for path, product in read_grocery_photos(grocery, "train")]
    if clothing is not None:
        photos += [("garment", path, row["label"]) for path, row in read_clothing(clothing)]
    for facet, path, label in photos:
        image = str(path.resolve())
        yield facet, label, {"id": path.name, "images": [image], "regions": [regions[image]]}


def write_labels(out: Path, texts: Mapping[str, Mapping[str, Iterable[str]]], rows: Iterable[LabelRow]) -> None:
    """Write the two files that ``labels.read_facets`` reads."""
    wordings = {facet: {label: list(words) for label, words in labels.items()} for facet, labels in texts.items()}
    (out / LABELS_FILE).write_text(json.dumps(wordings))
    with (out / LABELLED_FILE).open("w", encoding="utf-8") as stream:
        for facet, label, product in rows:
            stream.write(json.dumps({"facet": facet, "label": label, "product": product}) + "\n")
