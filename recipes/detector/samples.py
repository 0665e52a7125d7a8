"""Training samples for the detector, one at a time or rendered into files for training.

Rendering a composite takes longer than a training step. Therefore samples are rendered once, scaled to the network's
input size, into one uint8 file; training mirrors and recolours them in every epoch.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from moon_model.detection.region import clip_box, compute_area
from recipes.detector.backgrounds import Backgrounds, crop_background, draw_plain_background
from recipes.detector.boxed import BoxedPhoto
from recipes.detector.composite import LabelledBox, degrade_photo, paste_scene

MAX_BOXES = 16
LabelledSample = tuple[Image.Image, list[LabelledBox]]


@dataclass(frozen=True)
class SampleSources:
    """The material of training samples.

    Attributes:
        cutouts: RGBA products.
        backgrounds: photos onto which products are pasted.
        boxed: real photos of several products with their boxes.
        single: real photos of one dominant product with its box.
        kind_probs: relative frequency of each kind of sample.
    """

    cutouts: Sequence[Image.Image]
    backgrounds: Backgrounds
    boxed: Sequence[BoxedPhoto] = ()
    single: Sequence[BoxedPhoto] = ()
    kind_probs: dict[str, float] = field(
        default_factory=lambda: {
            "clothing": 0.29, "shelves": 0.25, "plain": 0.2, "boxed": 0.06, "single": 0.17, "empty": 0.03,
        }
    )  # fmt: skip


def draw_sample(sources: SampleSources, rng: Random) -> LabelledSample:
    """Return a photo of a random kind (``sources.kind_probs``) with its labels, the core product first."""
    kinds: dict[str, Callable[[], LabelledSample]] = {
        "clothing": lambda: _paste_on_photo(sources, sources.backgrounds.clothing, rng),
        "shelves": lambda: _paste_on_photo(sources, sources.backgrounds.shelves, rng),
        "plain": lambda: paste_scene(draw_plain_background(_draw_size(rng), rng), sources.cutouts, rng),
        "boxed": lambda: crop_random_window(rng.choice(sources.boxed), rng, (0.25, 1.0)),
        "single": lambda: crop_random_window(rng.choice(sources.single), rng, (0.6, 1.0)),
        "empty": lambda: (draw_plain_background(_draw_size(rng), rng), []),
    }
    for kind in ("boxed", "single"):
        if not getattr(sources, kind):
            del kinds[kind]
    kind = rng.choices(list(kinds), [sources.kind_probs[kind] for kind in kinds])[0]
    photo, labels = kinds[kind]()
    return degrade_photo(photo, rng), labels


def _paste_on_photo(sources: SampleSources, photos: Sequence[Path], rng: Random) -> LabelledSample:
    return paste_scene(crop_background(rng.choice(photos), _draw_size(rng), rng), sources.cutouts, rng)


def _draw_size(rng: Random) -> tuple[int, int]:
    """Return width and height of a new photo: shorter side 224, portrait more often than landscape."""
    longer = int(224 * min(max(rng.lognormvariate(0.2, 0.18), 1.0), 1.9))
    return (224, longer) if rng.random() < 0.6 else (longer, 224)


def crop_random_window(photo: BoxedPhoto, rng: Random, zoom: tuple[float, float]) -> LabelledSample:
    """Return a crop of a photo that contains at least one of its products, as complete as possible.

    Other products that are cut to less than half have no label. The largest visible product is the first label.
    """
    # 1. A window around a random product.
    width, height = (rng.uniform(*zoom) for _ in range(2))
    target = rng.choice(photo.labels) if photo.labels else None
    aim = target.box if target else (0.0, 0.0, 1.0, 1.0)
    left = _draw_start(aim[0], aim[2], width, rng)
    top = _draw_start(aim[1], aim[3], height, rng)
    # 2. The boxes of the products that are visible in it, relative to the window.
    labels = []
    for label in photo.labels:
        x0, y0, x1, y1 = label.box
        visible = clip_box(((x0 - left) / width, (y0 - top) / height, (x1 - left) / width, (y1 - top) / height))
        if label is target or compute_area(visible) * width * height >= 0.5 * compute_area(label.box):
            labels.append(LabelledBox(visible, label.dominance))
    image = photo.load()
    x0, x1 = (int(x * image.width) for x in (left, left + width))
    y0, y1 = (int(y * image.height) for y in (top, top + height))
    return image.crop((x0, y0, x1, y1)), sorted(labels, key=lambda label: -label.dominance * compute_area(label.box))


def _draw_start(low: float, high: float, side: float, rng: Random) -> float:
    """Return a start of a window of length ``side`` that contains [low, high], or most of it if that is longer."""
    return rng.uniform(*(min(max(start, 0.0), 1.0 - side) for start in (high - side, low)))


def render_samples(sources: SampleSources, count: int, size: int, seed: int, folder: Path) -> None:
    """Write a data set: ``photos.npy`` (uint8 [count, size, size, 3]) and ``labels.npy`` (see ``pack_labels``).

    Args:
        sources: material of the samples.
        count: number of samples.
        size: side of the network's input in pixels.
        seed: seed; sample ``i`` depends only on (seed, i).
        folder: folder to write, created if missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    photos = np.lib.format.open_memmap(folder / "photos.npy", "w+", np.uint8, (count, size, size, 3))
    labels = np.zeros((count, MAX_BOXES, 5), np.float32)
    for index in range(count):
        photo, boxes = draw_sample(sources, Random(f"{seed}/{index}"))  # noqa: S311 (not for secrets)
        photos[index] = np.asarray(photo.convert("RGB").resize((size, size), Image.Resampling.BILINEAR))
        labels[index] = pack_labels(boxes)
    photos.flush()
    np.save(folder / "labels.npy", labels)
    (folder / "render.json").write_text(json.dumps({"count": count, "size": size, "seed": seed}) + "\n")


def pack_labels(labels: Sequence[LabelledBox]) -> NDArray[np.float32]:
    """Return labels as float32 [MAX_BOXES, 5]: x0 y0 x1 y1 dominance; rows of dominance 0 are empty."""
    rows = np.zeros((MAX_BOXES, 5), np.float32)
    for row, label in zip(rows, labels, strict=False):
        row[:] = (*label.box, label.dominance)
    return rows
