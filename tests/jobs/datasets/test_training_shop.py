"""Tests of moon-tiny's training shop: train seeds, no held-out type, purchases of products in its catalogue."""

import json
from pathlib import Path

import pytest

from demo_shop.splits import HELD_OUT_TYPES, TRAIN_SEEDS
from jobs.datasets.training_shop import make_training_world, write_training_shop
from jobs.errors import MoonError


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_catalogue_log_and_variants_fit_together(tmp_path):
    counts = write_training_shop(tmp_path, products=10, purchases_per_product=2, grocery=None)
    catalogue, bought = lines(tmp_path / "catalog.jsonl"), lines(tmp_path / "purchases.jsonl")
    assert counts["products"] == len(catalogue) == 10 * len(TRAIN_SEEDS)
    assert counts["purchases"] == len(bought) == 2 * len(catalogue)
    ids = {row["id"] for row in catalogue}
    assert {row["product_id"] for row in bought} <= ids
    assert {row["product_id"] for row in lines(tmp_path / "variants.jsonl")} == ids
    named = {name for row in catalogue for name in row["images"]}
    asked = {row["query_image"] for row in bought if "query_image" in row}
    assert asked
    assert not named & asked  # a shopper's photo is no catalogue picture
    assert all((tmp_path / name).is_file() for name in named | asked)
    assert not list(tmp_path.glob("images/*.tmp"))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "images").iterdir()}
    assert write_training_shop(tmp_path, products=10, purchases_per_product=2, grocery=None) == counts
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "images").iterdir()} == before


def test_held_out_types_are_never_shown():
    for seed in TRAIN_SEEDS:
        assert not {make_training_world(seed).get_product(index).type for index in range(200)} & set(HELD_OUT_TYPES)


def test_grocery_gives_its_train_list_only(shared_data, tmp_path):
    write_training_shop(tmp_path, products=10, purchases_per_product=1, grocery=shared_data / "grocery")
    grocery = [row for row in lines(tmp_path / "catalog.jsonl") if row["id"].startswith("grocery")]
    assert len(grocery) == 81
    assert {row["category"].split("/")[1] for row in grocery} == {"Fruit", "Packages", "Vegetables"}
    shown = [row for row in lines(tmp_path / "purchases.jsonl") if row["product_id"].startswith("grocery")]
    assert len(shown) == 2640
    assert all("/grocery/train/" in row["query_image"] for row in shown)


def test_a_wrong_folder_is_named(tmp_path):
    with pytest.raises(MoonError, match="is not the GroceryStoreDataset"):
        write_training_shop(tmp_path, products=10, purchases_per_product=1, grocery=tmp_path)
