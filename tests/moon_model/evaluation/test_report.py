"""The report: tables with the best figure in bold, and plots as PNG files."""

import numpy as np
import pytest
from PIL import Image

from moon_model.evaluation.report import plot_evaluation, render_evaluation
from moon_model.evaluation.run import Evaluation, MetricRow

ROWS = [
    MetricRow("my shop", "text → item", "R@1", "MOON", 0.5, 0.4, 0.65, 100),
    MetricRow("my shop", "text → item", "R@1", "chance", 0.01, 0.0, 0.02, 100),
    MetricRow("my shop", "colour", "macro f1", "MOON", 0.25, 0.25, 0.25, 1),
    MetricRow("my shop", "colour", "macro f1", "chance", 0.25, 0.25, 0.25, 1),
    MetricRow("other", "image → item", "hit@10", "MOON", 0.125, 0.1, 0.2, 8),
    MetricRow("other", "image → item", "hit@10", "chance", 0.75, 0.5, 1.0, 8),
]


@pytest.fixture
def evaluation():
    return Evaluation(
        "abcdef123456" + "0" * 52, 7,
        [{"name": "my shop", "digest": "d1", "products": 100}, {"name": "other", "digest": "d2"}],
        ROWS, "2026-01-02T03:04:05+00:00", {"torch": "2.13"},
    )  # fmt: skip


def test_a_table_for_each_data_set(evaluation):
    text = render_evaluation(evaluation)
    assert text.startswith("Model `abcdef123456`, seed 7, 2026-01-02T03:04:05+00:00, torch 2.13.\n")
    shop, other = text.split("\n## ")[1:]
    assert "digest d1, products 100" in shop
    assert "| task | metric | queries | MOON | chance |" in shop
    assert "| text → item | R@1 | 100 | **50.0** (40.0–65.0) | 1.0 (0.0–2.0) |" in shop
    assert "| colour | macro f1 | 1 | **25.0** | **25.0** |" in shop  # no interval of one value; both are best
    assert "| image → item | hit@10 | 8 | 12.5 (10.0–20.0) | **75.0** (50.0–100.0) |" in other
    assert "digest d2" in other
    assert "R@1" not in other


def test_a_plot_for_each_data_set(evaluation, tmp_path):
    files = plot_evaluation(evaluation, tmp_path)
    assert [file.name for file in files] == ["1-my-shop.png", "2-other.png"]
    for file in files:
        pixels = np.asarray(Image.open(file).convert("RGB"))
        assert pixels.shape[1] == 900
        assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 3  # bars of two colours on white
