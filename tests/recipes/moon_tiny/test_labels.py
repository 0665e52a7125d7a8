"""Tests of the label objective: products are classified among label texts."""

import json
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from moon_model.training.config import ConfigError
from moon_model.training.metric_log import read_curve
from recipes.moon_tiny.config import DistillationConfig
from recipes.moon_tiny.corpus_labels import write_labels
from recipes.moon_tiny.labels import LABELLED_FILE, compute_label_loss, read_facets
from recipes.moon_tiny.train import run_distillation
from tests.recipes.moon_tiny.test_teachers import write_corpora

TEXTS = {"colour": {"red": ("red", "scarlet"), "blue": ("blue",)}, "type": {"mug": ("mug",), "bowl": ("bowl",)}}


@pytest.fixture
def corpora(shop: Path, tmp_path: Path) -> Path:
    folder = write_corpora(tmp_path / "corpora", shop)
    photos = sorted((shop / "images").iterdir())
    rows = []
    for number in range(4):
        product = {"id": f"p{number}", "title": "xyzw"[number] * 4, "images": [photos[number].name], "regions": [None]}
        rows.append(("colour", "red" if number % 2 else "blue", product))
        rows.append(("type", "mug" if number < 2 else "bowl", product))
    write_labels(folder, TEXTS, rows)
    return folder


def test_what_is_written_is_read(corpora: Path) -> None:
    facets = read_facets(corpora)
    assert set(facets) == {"colour", "type"}
    assert facets["colour"].texts == [["red", "scarlet"], ["blue"]]
    assert facets["colour"].labels == [1, 0, 1, 0]
    assert [item.product.id for item in facets["type"].items] == ["p0", "p1", "p2", "p3"]


def test_the_loss_is_cross_entropy_over_the_labels() -> None:
    vectors = F.normalize(torch.randn(5, 4, generator=torch.Generator().manual_seed(0)), dim=-1)
    truth = torch.tensor([1, 0, 1])
    loss, seen = compute_label_loss(truth, 0.1, vectors)
    wanted = torch.stack([
        -(vectors[row] @ vectors[3:].T / 0.1).log_softmax(0)[label] for row, label in enumerate(truth.tolist())
    ])  # fmt: skip
    assert loss.item() == pytest.approx(wanted.mean().item(), rel=1e-5)
    assert seen == (vectors[:3] @ vectors[3:].T).argmax(1).eq(truth).float().mean()
    right, accuracy = compute_label_loss(torch.tensor([0, 1]), 0.1, torch.eye(4)[[0, 1, 0, 1]])
    assert (right < 0.001, accuracy) == (True, 1)


def test_labels_alone_are_learnt(shop: Path, corpora: Path, tmp_path: Path) -> None:
    config = DistillationConfig.model_validate({
        "model": {"path": str(shop / "model")},
        "teachers": {"corpora": corpora, "texts": 0, "images": 0, "aligned": 0, "labelled": 4, "temperature": 0.1},
        "optimiser": {"learning_rate": 5e-3}, "run": {"out": tmp_path / "out", "steps": 40, "chunk": 16},
    })  # fmt: skip
    run_distillation(config)
    curve = read_curve(tmp_path / "out" / "metrics.jsonl")
    losses = [line["labels/loss"] for line in curve]
    assert sum(losses[-8:]) < 0.6 * sum(losses[:8])
    assert {"labels/colour_accuracy", "labels/type_accuracy"} <= curve[0].keys(), "every facet in every step"


def test_corpora_without_labels_say_how_to_get_them(corpora: Path) -> None:
    (corpora / LABELLED_FILE).write_text(
        json.dumps({"facet": "colour", "label": "green", "product": {"id": "x"}}) + "\n"
    )
    with pytest.raises(ConfigError, match=r"holds no labels .*corpora --out"):
        read_facets(corpora)
