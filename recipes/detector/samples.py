"""One training sample of any kind, and a file of many: the data set that the trainer reads.

Rendering a composite costs more than a training step, so samples are rendered once, squeezed to the network's
input, into one uint8 file; the trainer mirrors and tints them anew at every visit.
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
    """Everything training samples are made of.

    Attributes:
        cutouts: RGBA products.
        backgrounds: cluttered photos.
        boxed: real photos whose products' boxes are known.
        single: real photos of one dominant product, with its box.
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
    """One photo of a kind drawn by ``sources.shares`` with its labels, core product first."""
    kinds: dict[str, Callable[[], LabelledSample]] = {
        "clothing": lambda: _on_photo(sources, sources.backgrounds.clothing, rng),
        "shelves": lambda: _on_photo(sources, sources.backgrounds.shelves, rng),
        "plain": lambda: paste_scene(draw_plain_background(_canvas(rng), rng), sources.cutouts, rng),
        "boxed": lambda: crop_random_window(rng.choice(sources.boxed), rng, (0.25, 1.0)),
        "single": lambda: crop_random_window(rng.choice(sources.single), rng, (0.6, 1.0)),
        "empty": lambda: (draw_plain_background(_canvas(rng), rng), []),
    }
    if not sources.boxed:
        del kinds["boxed"]
    if not sources.single:
        del kinds["single"]
    kind = rng.choices(list(kinds), [sources.kind_probs[kind] for kind in kinds])[0]
    photo, labels = kinds[kind]()
    return degrade_photo(photo, rng), labels


def _on_photo(sources: SampleSources, photos: Sequence[Path], rng: Random) -> LabelledSample:
    return paste_scene(crop_background(rng.choice(photos), _canvas(rng), rng), sources.cutouts, rng)


def _canvas(rng: Random) -> tuple[int, int]:
    """Width and height of a new photo: shorter side 224, upright more often than wide."""
    longer = int(224 * min(max(rng.lognormvariate(0.2, 0.18), 1.0), 1.9))
    return (224, longer) if rng.random() < 0.6 else (longer, 224)


def crop_random_window(photo: BoxedPhoto, rng: Random, zoom: tuple[float, float]) -> LabelledSample:
    """A crop of a photo that shows at least one of its products, if it has any, as whole as it can.

    Of the other products, those cut to less than half keep no label; the largest label left comes first.
    """
    width, height = (rng.uniform(*zoom) for _ in range(2))
    target = rng.choice(photo.labels) if photo.labels else None
    aim = target.box if target else (0.0, 0.0, 1.0, 1.0)
    left, top = (_start(aim[axis], aim[axis + 2], side, rng) for axis, side in ((0, width), (1, height)))
    labels = []
    for label in photo.labels:
        x0, y0, x1, y1 = label.box
        seen = clip_box(((x0 - left) / width, (y0 - top) / height, (x1 - left) / width, (y1 - top) / height))
        if label is target or compute_area(seen) * width * height >= 0.5 * compute_area(label.box):
            labels.append(LabelledBox(seen, label.dominance))
    image = photo.load()
    w, h = image.size
    window = (int(left * w), int(top * h), int((left + width) * w), int((top + height) * h))
    return image.crop(window), sorted(labels, key=lambda label: -label.dominance * compute_area(label.box))


def _start(low: float, high: float, side: float, rng: Random) -> float:
    """Where a window of length ``side`` may start to hold [low, high], or most of it when it is longer."""
    return rng.uniform(*(min(max(start, 0.0), 1.0 - side) for start in (high - side, low)))


def render_samples(sources: SampleSources, count: int, size: int, seed: int, folder: Path) -> None:
    """Render a data set: ``photos.npy`` (uint8 [count, size, size, 3]) and ``labels.npy`` (see ``pack_labels``).

    Args:
        sources: what to make samples of.
        count: how many.
        size: input side of the network in pixels.
        seed: sample ``i`` depends on (seed, i) only.
        folder: created when missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    photos = np.lib.format.open_memmap(folder / "photos.npy", "w+", np.uint8, (count, size, size, 3))
    labels = np.zeros((count, MAX_BOXES, 5), np.float32)
    for index in range(count):
        photo, found = draw_sample(sources, Random(f"{seed}/{index}"))  # noqa: S311 (not for secrets)
        photos[index] = np.asarray(photo.convert("RGB").resize((size, size), Image.Resampling.BILINEAR))
        labels[index] = pack_labels(found)
    photos.flush()
    np.save(folder / "labels.npy", labels)
    (folder / "render.json").write_text(json.dumps({"count": count, "size": size, "seed": seed}) + "\n")


def pack_labels(labels: Sequence[LabelledBox]) -> NDArray[np.float32]:
    """Labels as [MOST_LABELS, 5]: x0 y0 x1 y1 dominance; rows of dominance 0 are empty."""
    rows = np.zeros((MAX_BOXES, 5), np.float32)
    for row, label in zip(rows, labels, strict=False):
        row[:] = (*label.box, label.dominance)
    return rows
