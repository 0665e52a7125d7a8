"""Real photos with known boxes: the fridges of ``product_boxes``, catalogue photos, and reviewed photos."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from moon_model.images import decode_image
from recipes.detector.composite import CORE_DOMINANCE, LabelledBox
from recipes.detector.cutouts import UNUSABLE_ESHOP, WORKING_SIZE, find_product_mask

HELD_OUT_FRIDGES = 6
REVIEWED_BOXES_CSV = Path(__file__).with_name("reviewed_boxes.csv")
MEASURED_BOXES_CSV = Path(__file__).with_name("measured_boxes.csv")


@dataclass(frozen=True)
class BoxedPhoto:
    """A photo with the boxes of its products."""

    path: Path
    labels: tuple[LabelledBox, ...]

    def load(self) -> Image.Image:
        """Return the decoded photo, at most 700 pixels on the longer side."""
        image = decode_image(self.path, min_side=500)
        image.thumbnail((700, 700), reducing_gap=2.0)
        return image


def list_fridges(folder: Path, held_out: bool) -> list[BoxedPhoto]:
    """Return the photos of ``product_boxes``: the first 14 by number are for training, the last 6 for evaluation.

    Every product is labelled as a core product, because none of them is dominant.
    """
    photos = sorted(folder.glob("*.jpg"), key=lambda path: int(path.stem))
    chosen = photos[-HELD_OUT_FRIDGES:] if held_out else photos[:-HELD_OUT_FRIDGES]
    return [BoxedPhoto(path, _read_boxes(path)) for path in chosen]


def _read_boxes(path: Path) -> tuple[LabelledBox, ...]:
    with Image.open(path) as image:
        scale = np.array([*image.size, *image.size], float)
    boxes = np.loadtxt(path.with_suffix(".bboxes.tsv"), ndmin=2) / scale
    return tuple(LabelledBox((x0, y0, x1, y1), CORE_DOMINANCE) for x0, y0, x1, y1 in boxes.clip(0, 1).tolist())


def list_catalogue_photos(folder: Path) -> list[BoxedPhoto]:
    """Return eshop's photos with odd ids, unchanged, with the box of the product that ``find_product_mask`` finds."""
    found = []
    for path in sorted((folder / "Pics").glob("*.webp"), key=lambda path: int(path.stem)):
        if int(path.stem) % 2 == 0 or int(path.stem) in UNUSABLE_ESHOP:
            continue
        photo = decode_image(path)
        photo.thumbnail((WORKING_SIZE, WORKING_SIZE), Image.Resampling.BICUBIC)
        box = Image.fromarray(find_product_mask(photo)).getbbox()
        if box is not None:
            w, h = photo.size
            shares = (box[0] / w, box[1] / h, box[2] / w, box[3] / h)
            found.append(BoxedPhoto(path, (LabelledBox(shares, CORE_DOMINANCE),)))
    return found


def list_reviewed_photos(data: Path, held_out: bool) -> list[BoxedPhoto]:
    """Return real photos of one dominant product (clothes worn or laid out, groceries in a hand) and heaps of fruit.

    An earlier detector proposed the boxes, a colour model of product and background tightened them, and a person
    checked each of them. Wrong boxes were drawn again, with an error of about 3% of a side, or left out of training.
    Difficult photos stay in the evaluation. Heaps of fruit (training only) have no labels: the correct region is the
    whole photo.

    Args:
        data: folder to which the paths in the two files are relative.
        held_out: True: the photos for evaluation (``measured_boxes.csv``); False: those for training
            (``reviewed_boxes.csv``).
    """
    with (MEASURED_BOXES_CSV if held_out else REVIEWED_BOXES_CSV).open(newline="") as rows:
        return [BoxedPhoto(data / row["photo"], _parse_labels(row)) for row in csv.DictReader(rows)]


def _parse_labels(row: dict[str, str]) -> tuple[LabelledBox, ...]:
    if not row["x0"]:
        return ()
    return (LabelledBox((float(row["x0"]), float(row["y0"]), float(row["x1"]), float(row["y1"])), CORE_DOMINANCE),)
