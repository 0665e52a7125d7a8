"""Evaluation of a detector on photos it was not trained on: ``python -m recipes.detector.evaluate``.

Prints the tables of the model card: mean IoU and recall on held-out composites with three baselines, the fridge photos,
and the time of one run on one core.
"""

import argparse
import json
import sys
import timeit
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from moon_model import checkpoint_dir
from moon_model.detection.detector import ProductDetector
from moon_model.detection.region import Box, Region, compute_iou
from recipes.detector.baselines import find_salient_box, make_centre_crop
from recipes.detector.boxed import BoxedPhoto, list_fridges, list_reviewed_photos
from recipes.detector.measured_scenes import MeasuredScene, compose_measured_scenes

_EXAMPLE = """
example:
  python -m recipes.detector.evaluate --data ../shared/data --json benchmarks/results/detector.json
"""

TABLE_TITLES = {
    "scenes": "Held-out composites",
    "natural": "Real photos of one product, held out: clothes worn or laid out, cartons in a hand",
}


@dataclass(frozen=True)
class BoxFit:
    """Quality of one method's boxes: mean IoU, share of photos with IoU ≥ 0.5 and ≥ 0.75, share without a crop."""

    method: str
    photos: int
    mean_iou: float
    recall_50: float
    recall_75: float
    whole_image: float


def measure_fit(method: str, regions: Sequence[Region], truth: Sequence[Box]) -> BoxFit:
    """Return the quality of one region per photo against the true box.

    Raises:
        ValueError: the numbers differ or are zero.
    """
    if not truth or len(regions) != len(truth):
        raise ValueError(f"{len(regions)} regions for {len(truth)} photos")
    overlaps = np.array([compute_iou(region.box, box) for region, box in zip(regions, truth, strict=True)])
    whole = sum(region.is_whole for region in regions) / len(regions)
    recall_50, recall_75 = (float((overlaps >= limit).mean()) for limit in (0.5, 0.75))
    return BoxFit(method, len(truth), float(overlaps.mean()), recall_50, recall_75, whole)


def compare_methods(detector: ProductDetector, photos: Sequence[MeasuredScene]) -> list[BoxFit]:
    """Return the quality of the detector, the best of several centre crops, saliency, and the whole image."""
    images = [scene.photo for scene in photos]
    truth = [scene.box for scene in photos]
    centred = []
    for share in (0.4, 0.5, 0.6, 0.7, 0.8):
        regions = [Region(make_centre_crop(share), 1.0)] * len(truth)
        centred.append(measure_fit(f"centre crop ({share:.0%} of each side)", regions, truth))
    salient = [Region(find_salient_box(image), 1.0) for image in images]
    return [
        measure_fit("ProductDetector", detector.detect(images), truth),
        max(centred, key=lambda fit: fit.mean_iou),
        measure_fit("saliency (spectral residual)", salient, truth),
        measure_fit("whole image", [Region.whole_image()] * len(truth), truth),
    ]


def measure_product_share(detector: ProductDetector, photos: Sequence[BoxedPhoto]) -> dict[str, float]:
    """Return how often the best box on photos of many equal products is one of the products.

    Returns:
        ``photos``: their number; ``one_real_product``: share of photos whose best box has IoU ≥ 0.5 with a product,
        at any score; ``cropped``: share of photos whose score is above the threshold.
    """
    images = [photo.load() for photo in photos]
    best = [candidates[:1] for candidates in detector.detect_candidates(images, 1)]
    hits = [
        any(compute_iou(region.box, label.box) >= 0.5 for region in regions for label in photo.labels)
        for regions, photo in zip(best, photos, strict=True)
    ]
    cropped = [not region.is_whole for region in detector.detect(images)]
    return {"photos": len(photos), "one_real_product": float(np.mean(hits)), "cropped": float(np.mean(cropped))}


def measure_milliseconds(run: Callable[[], object], repeats: int = 100) -> float:
    """Return the median time of a call in milliseconds, after three calls that are not measured."""
    for _ in range(3):
        run()
    return median(timeit.repeat(run, number=1, repeat=repeats)) * 1e3


def render_fits(fits: Sequence[BoxFit]) -> str:
    """Return a Markdown table of the model card."""
    lines = ["| method | mean IoU | recall at IoU 0.5 | at 0.75 | left whole |", "|---|---|---|---|---|"]
    lines += [
        f"| {f.method} | {f.mean_iou:.3f} | {f.recall_50:.3f} | {f.recall_75:.3f} | {f.whole_image:.1%} |" for f in fits
    ]
    return "\n".join(lines)


def build_detector_report(detector: ProductDetector, data: Path, count: int, seed: int) -> dict[str, Any]:
    """Return all figures of the model card about quality and speed, as values for JSON."""
    scenes = compose_measured_scenes(data, count, seed)
    natural = [MeasuredScene(one.load(), one.labels[0].box, "") for one in list_reviewed_photos(data, held_out=True)]
    by_background = {}
    for name in ("clothing", "shelves"):
        part = [scene for scene in scenes if scene.background == name]
        if part:
            regions = detector.detect([scene.photo for scene in part])
            by_background[name] = asdict(measure_fit("ProductDetector", regions, [scene.box for scene in part]))
    blank = np.zeros((detector.batch_size, detector.config.input_size, detector.config.input_size, 3), np.uint8)
    return {
        "detector": detector.version,
        "provider": detector.provider,
        "scenes": [asdict(fit) for fit in compare_methods(detector, scenes)],
        "by_ground": by_background,
        "natural": [asdict(fit) for fit in compare_methods(detector, natural)],
        "product_boxes": measure_product_share(detector, list_fridges(data / "product_boxes", held_out=True)),
        "session_ms": measure_milliseconds(lambda: detector.run_network(blank)) / detector.batch_size,
        "detect_ms": measure_milliseconds(lambda: detector.detect([scenes[0].photo])),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Evaluate a detector on the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m recipes.detector.evaluate",
        description=__doc__,
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder of real product data (shared/data)")
    add("--detector", type=Path, default=checkpoint_dir("detector"), help="detector to test (default: %(default)s)")
    add("--scenes", type=int, default=600, help="number of composites (default: %(default)s)")
    add("--seed", type=int, default=2026, help="seed of the composites (default: %(default)s)")
    add("--json", type=Path, help="also write all figures to this file")
    options = parser.parse_args(arguments)
    detector = ProductDetector.from_pretrained(options.detector)
    figures = build_detector_report(detector, options.data, options.scenes, options.seed)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    for name, title in TABLE_TITLES.items():
        fits = [BoxFit(**fit) for fit in figures.pop(name)]
        sys.stdout.write(f"{title} ({fits[0].photos} photos)\n\n{render_fits(fits)}\n\n")
    sys.stdout.write(json.dumps(figures, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
