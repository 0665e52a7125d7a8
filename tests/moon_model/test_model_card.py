"""Tests that the model card describes the files in the folder."""

from collections.abc import Callable
from pathlib import Path

import torch

from moon_model.checkpoint import save_state
from moon_model.configuration_moon import MoonConfig
from moon_model.model_card import write_model_card
from moon_model.modeling_moon import MoonModel


def test_the_card_states_shape_sizes_and_origin(tmp_path: Path, tiny_compact_config: Callable[..., MoonConfig]) -> None:
    torch.manual_seed(0)
    model = MoonModel(tiny_compact_config())
    folder = tmp_path / "small-model"
    save_state(model.state_dict(), model.config, folder)
    text = write_model_card(folder, "Made for a test.", results="| R@1 | 0.5 |").read_text()
    assert text.startswith("---\nlicense: apache-2.0")
    parameters = f"{sum(weight.numel() for weight in model.state_dict().values()):,}"
    for expected in ("# small-model", "Made for a test.", "| R@1 | 0.5 |", "hidden 32", parameters, "Apache-2.0"):
        assert expected in text
    rows = [line for line in text.splitlines() if line.startswith("| decoder.layers |")]
    assert len(rows) == 1


def test_without_results_there_is_no_empty_heading(tmp_path: Path) -> None:
    config = MoonConfig()
    save_state({"backbone.projector.fc1.weight": torch.randn(3, 3)}, config, tmp_path)
    assert "## Measured" not in write_model_card(tmp_path, "Made.").read_text()
