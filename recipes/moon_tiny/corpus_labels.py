"""Writes labels for the auxiliary task (``labels.py``): what the photos of the corpora show, and the words for it."""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from demo_shop import DemoProduct
from demo_shop.splits import HELD_OUT_TYPES
from demo_shop.vocabulary import COLOURS, PATTERNS, PRODUCT_TYPES
from moon_model.product import Product
from recipes.moon_tiny.labels import LABELLED_FILE, LABELS_FILE

MASKED_TEXT_INTERVAL = 2
"""Every so manieth product of the demo world keeps its texts, masked."""

SKIPPED_LABELS = ("Not sure", "Other", "Skip")

LabelRow = tuple[str, str, dict[str, Any]]
"""Facet, label, product as pairs hold it."""


def build_label_texts(grocery: Path | None, clothing: Path | None) -> dict[str, dict[str, tuple[str, ...]]]:
    """Return the words for every label of every facet."""
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
        texts["grocery"] = {name: (name, name.lower()) for name in sorted(set(read_grocery_classes(grocery).values()))}
    if clothing is not None:
        names = sorted({label for _, label in read_clothing_labels(clothing)})
        texts["garment"] = {name: (name, name.lower(), f"clothing: {name.lower()}") for name in names}
    return texts


def build_demo_rows(number: int, product: DemoProduct, image: Path, region: Any) -> Iterator[LabelRow]:
    """Yield a photo of a demo product with its type, colour and pattern."""
    from moon_model.evaluation.leakage_masking import mask_field  # noqa: PLC0415  # keeps metrics out of plain training

    for facet, known in (("type", PRODUCT_TYPES), ("colour", COLOURS), ("pattern", PATTERNS)):
        shown: dict[str, Any] = {"id": product.id, "images": [str(image.resolve())], "regions": [region]}
        if number % MASKED_TEXT_INTERVAL and facet != "type":
            words = {
                word for one in known.values() for word in (*one.names, *one.query_names, *getattr(one, "phrases", ()))
            }
            record = (product.title, product.description, product.category, dict(product.attributes))
            left = mask_field(Product(product.id, *record), words, attribute=facet)
            fields = {"title": left.title, "description": left.description, "category": list(left.category)}
            shown |= {**fields, "attributes": dict(left.attributes)}
        yield facet, getattr(product, facet), shown


def read_grocery_classes(folder: Path) -> dict[str, str]:
    """Return the coarse class of every photo of grocery's TRAIN list, by its path in the folder."""
    with (folder / "classes.csv").open(encoding="utf-8") as stream:
        coarse = {
            row["Class ID (int)"]: row["Coarse Class Name (str)"].replace("-", " ") for row in csv.DictReader(stream)
        }
    lines = (folder / "train.txt").read_text().splitlines()
    return {path.strip(): coarse[fine.strip()] for path, fine, _ in (line.split(",") for line in lines)}


def read_clothing_labels(folder: Path) -> list[tuple[str, str]]:
    """Return file name and label of every labelled clothing photo."""
    with (folder / "images.csv").open(encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if row["label"] not in SKIPPED_LABELS]
    return [(row["image"] if Path(row["image"]).suffix else f"{row['image']}.jpg", row["label"]) for row in rows]


def build_photo_rows(grocery: Path | None, clothing: Path | None, regions: Mapping[str, Any]) -> Iterator[LabelRow]:
    """Yield the photos of grocery and clothing with their labels."""
    named = (
        [("grocery", grocery / path, kind) for path, kind in read_grocery_classes(grocery).items()] if grocery else []
    )
    if clothing:
        named += [("garment", clothing / "images" / name, label) for name, label in read_clothing_labels(clothing)]
    for facet, path, label in named:
        image = str(path.resolve())
        yield facet, label, {"id": path.name, "images": [image], "regions": [regions[image]]}


def write_labels(out: Path, texts: Mapping[str, Mapping[str, Iterable[str]]], rows: Iterable[LabelRow]) -> None:
    """Write both files that ``labels.read_facets`` reads."""
    (out / LABELS_FILE).write_text(
        json.dumps({facet: {k: list(v) for k, v in known.items()} for facet, known in texts.items()})
    )
    with (out / LABELLED_FILE).open("w", encoding="utf-8") as stream:
        for facet, label, product in rows:
            stream.write(json.dumps({"facet": facet, "label": label, "product": product}) + "\n")
