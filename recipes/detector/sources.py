"""The material of all training samples, from the folder of real data and the demo shop."""

from pathlib import Path

from recipes.detector.backgrounds import Backgrounds
from recipes.detector.boxed import list_catalogue_photos, list_fridges, list_reviewed_photos
from recipes.detector.cutouts import draw_procedural_cutouts, load_eshop_cutouts, load_iconic_cutouts
from recipes.detector.samples import SampleSources

PROCEDURAL_CUTOUTS = 400
REAL_CUTOUT_REPEATS = 6
"""Number of times each real cut-out is listed, so that about three of five products are real."""


def gather_sources(data: Path, seed: int) -> SampleSources:
    """Return all material for training, without what is held out for evaluation.

    Args:
        data: folder with ``eshop``, ``grocery``, ``clothing`` and ``product_boxes``.
        seed: seed of the procedural products.

    Raises:
        FileNotFoundError: a folder is missing.
    """
    for name in ("eshop", "grocery", "clothing", "product_boxes"):
        if not (data / name).is_dir():
            raise FileNotFoundError(f"{data / name} is missing; --data must name the folder of real product data")
    real = load_eshop_cutouts(data / "eshop", even=False) + load_iconic_cutouts(data / "grocery", held_out=False)
    return SampleSources(
        cutouts=real * REAL_CUTOUT_REPEATS + draw_procedural_cutouts(PROCEDURAL_CUTOUTS, seed),
        backgrounds=Backgrounds.find(data, held_out=False),
        boxed=list_fridges(data / "product_boxes", held_out=False),
        single=list_catalogue_photos(data / "eshop") + list_reviewed_photos(data, held_out=False),
    )
