"""Gather what training samples are made of from the folder of real data and the demo shop."""

from pathlib import Path

from recipes.detector.backgrounds import Grounds
from recipes.detector.boxed import catalogue_photos, fridges, reviewed_photos
from recipes.detector.cutouts import eshop_cutouts, iconic_cutouts, procedural_cutouts
from recipes.detector.samples import Sources

PROCEDURAL = 400
REAL_TIMES = 6
"""Real cut-outs are few: each is listed this often, so that about three products in five are real."""


def gather(data: Path, seed: int) -> Sources:
    """Everything for training, nothing that is for measuring.

    Args:
        data: folder with ``eshop``, ``grocery``, ``clothing`` and ``product_boxes``.
        seed: of the procedural products.

    Raises:
        FileNotFoundError: when data is missing.
    """
    for name in ("eshop", "grocery", "clothing", "product_boxes"):
        if not (data / name).is_dir():
            raise FileNotFoundError(f"{data / name} is missing; --data must name the folder of real product data")
    real = eshop_cutouts(data / "eshop", even=False) + iconic_cutouts(data / "grocery", held_out=False)
    return Sources(
        cutouts=real * REAL_TIMES + procedural_cutouts(PROCEDURAL, seed),
        grounds=Grounds.find(data, held_out=False),
        boxed=fridges(data / "product_boxes", held_out=False),
        single=catalogue_photos(data / "eshop") + reviewed_photos(data, held_out=False),
    )
