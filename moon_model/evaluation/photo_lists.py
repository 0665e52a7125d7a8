"""Reads the lists of photos of two public data sets: GroceryStoreDataset and clothing-dataset."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

SKIPPED_LABELS = ("Not sure", "Other", "Skip")


@dataclass(frozen=True)
class GroceryClass:
    """A product of GroceryStoreDataset.

    Attributes:
        number: its number in the lists.
        name: its name, such as "Bravo Apple Juice".
        coarse: name of its coarse class, such as "Juice".
        iconic: file of its studio photo.
        description: file of its description.
    """

    number: int
    name: str
    coarse: str
    iconic: Path
    description: Path

    def read_description(self) -> str:
        """Return the text of its description."""
        return self.description.read_text(encoding="utf-8").strip()


def read_grocery_classes(folder: Path) -> dict[int, GroceryClass]:
    """Return the products of GroceryStoreDataset (``classes.csv``) by their number."""
    with (folder / "classes.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    classes = {}
    for row in rows:
        number = int(row["Class ID (int)"])
        name, coarse = (row[f"{key} Name (str)"].replace("-", " ") for key in ("Class", "Coarse Class"))
        files = (folder / row[f"{key} Path (str)"].strip("/") for key in ("Iconic Image", "Product Description"))
        classes[number] = GroceryClass(number, name, coarse, *files)
    return classes


def read_grocery_photos(folder: Path, part: Literal["train", "val"]) -> list[tuple[Path, GroceryClass]]:
    """Return each photo of a list of GroceryStoreDataset with its product; only "train" may be trained on."""
    classes = read_grocery_classes(folder)
    lines = (folder / f"{part}.txt").read_text().splitlines()
    entries = (line.split(",") for line in lines if line.strip())
    return [(folder / path.strip(), classes[int(fine)]) for path, fine, _ in entries]


def read_clothing(folder: Path) -> list[tuple[Path, dict[str, str]]]:
    """Return each labelled photo of clothing-dataset with its row of ``images.csv``."""
    with (folder / "images.csv").open(encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if row["label"] not in SKIPPED_LABELS]
    names = [row["image"] if Path(row["image"]).suffix else f"{row['image']}.jpg" for row in rows]
    return [(folder / "images" / name, row) for name, row in zip(names, rows, strict=True)]
