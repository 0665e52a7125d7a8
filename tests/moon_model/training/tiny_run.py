"""A tiny random model, demo-world pairs on disk, and a configuration that trains the model on them in seconds."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from demo_shop import DemoProduct, DemoWorld, encode_jpeg, take_photo
from demo_shop.queries import draw_query
from moon_model.configuration_moon import CompactConfig, MoonConfig
from moon_model.modeling_moon import MoonModel
from moon_model.processing_moon import MoonProcessor
from moon_model.tokenization import cut_vocabulary
from moon_model.training.config import TrainingConfig
from tests.moon_model.training.pair_files import write_pairs

BYTES = {"model": {"type": "BPE", "merges": [], "vocab": {}}}
VOCABULARY = 264  # special tokens and the 256 bytes


def save_tiny_model(folder: Path, *, seed: int = 0, **fields: Any) -> Path:
    """A compact MOON of hidden size 32 that reads bytes and views of 64 pixels."""
    torch.manual_seed(seed)
    base = CompactConfig(
        vocab_size=VOCABULARY, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, image_size=64, tokens_per_view=4, initializer_range=0.1,
    )  # fmt: skip
    config = MoonConfig(base_config=base, num_experts=4, moe_layers=[1], max_images=1, pooling="segments", **fields)
    MoonModel(config).save_pretrained(folder)
    MoonProcessor(config, cut_vocabulary(BYTES, VOCABULARY)).save_pretrained(folder)
    return folder


def photo(folder: Path, product: DemoProduct, number: int) -> tuple[str, list[float]]:
    """Take a plain photo; returns its path below the folder and the true box."""
    name = f"{product.index}-{number}.jpg"
    taken = take_photo(product, number, size=80, cluttered=False)
    (folder / name).write_bytes(encode_jpeg(taken.image))
    return name, list(taken.box)


def demo_rows(folder: Path, count: int) -> list[dict[str, Any]]:
    """Pairs of demo products that differ in type, colour or pattern: every other one asked by photo, by text else."""
    folder.mkdir(parents=True, exist_ok=True)
    world, rng = DemoWorld(seed=5), np.random.default_rng(0)
    products: dict[tuple[str, str, str], DemoProduct] = {}
    for index in range(400):
        one = world.get_product(index)
        products.setdefault((one.type, one.colour, one.pattern), one)
    chosen = list(products.values())[: count + 1]
    stored = []
    for one in chosen:
        name, box = photo(folder, one, 0)
        stored.append({"id": one.id, "title": one.title, "images": [name], "regions": [box]})
    rows = []
    for number, one in enumerate(chosen[:count]):
        by_photo = number % 2 == 0
        query = {"images": [photo(folder, one, 7)[0]]} if by_photo else {"title": draw_query(one, rng).text}
        other = (number + 1) % len(stored)
        rows.append({
            "pair_id": number, "kind": "image" if by_photo else "text", "identity": one.index,
            "query": json.dumps({"id": f"query-{number}", **query}), "item": json.dumps(stored[number]),
            "negatives": json.dumps([{"identity": chosen[other].index, "product": stored[other]}]),
        })  # fmt: skip
    return rows


def tiny_shop(folder: Path, count: int = 32) -> Path:
    """A model and pairs in one folder: ``model``, ``images``, ``pairs``."""
    save_tiny_model(folder / "model")
    write_pairs(folder / "pairs", demo_rows(folder / "images", count), group=8)
    return folder


def tiny_config(shop: Path, out: Path, **tables: dict[str, Any]) -> TrainingConfig:
    """A run over ``tiny_shop``; keyword arguments change single settings of a table."""
    values: dict[str, dict[str, Any]] = {
        "model": {"path": str(shop / "model")},
        "data": {
            "pairs": shop / "pairs", "image_roots": [shop / "images"], "reader": "arrow", "batch_size": 8,
            "hard_negatives": 1,
        },
        "loss": {"temperature": 0.1, "margin": 0.3, "queue_size": 64, "queue_age": 4, "queue_warm_up": 3},
        "optimiser": {"learning_rate": 5e-3, "warm_up": 0.1},
        "run": {"out": out, "steps": 12, "chunk": 8, "save_every": 5, "workers": 1},
    }  # fmt: skip
    for name, changes in tables.items():
        values[name] = values.get(name, {}) | changes
    return TrainingConfig.model_validate({"seed": 3, **values})
