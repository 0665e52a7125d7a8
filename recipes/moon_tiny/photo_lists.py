"""The photos of two public data sets that may be trained on: grocery's TRAIN list and the clothing data set."""

import csv
from pathlib import Path

SKIPPED_LABELS = ("Not sure", "Other", "Skip")


def read_grocery_train(folder: Path) -> list[tuple[Path, dict[str, str]]]:
    """Return each photo of GroceryStoreDataset's TRAIN list with its class, a row of ``classes.csv``."""
    with (folder / "classes.csv").open(encoding="utf-8") as stream:
        classes = {int(row["Class ID (int)"]): row for row in csv.DictReader(stream)}
    lines = (folder / "train.txt").read_text().splitlines()
    return [(folder / path.strip(), classes[int(fine)]) for path, fine, _ in (line.split(",") for line in lines)]


def get_coarse_class(grocery_class: dict[str, str]) -> str:
    """Return the name of a class's coarse class: "Juice" for "Bravo Apple Juice"."""
    return grocery_class["Coarse Class Name (str)"].replace("-", " ")


def read_clothing(folder: Path) -> list[tuple[Path, dict[str, str]]]:
    """Return each labelled photo of clothing-dataset with its row of ``images.csv``."""
    with (folder / "images.csv").open(encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if row["label"] not in SKIPPED_LABELS]
    names = [row["image"] if Path(row["image"]).suffix else f"{row['image']}.jpg" for row in rows]
    return [(folder / "images" / name, row) for name, row in zip(names, rows, strict=True)]
