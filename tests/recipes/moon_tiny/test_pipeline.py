"""Tests of the recipe: stages that fit together, each run once, and a checkpoint that the encoder loads."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch

from moon_model.modeling_moon import MoonModel
from moon_model.processing_moon import MoonProcessor
from moon_model.training.config import ConfigError
from recipes.moon_tiny import pipeline as recipe
from recipes.moon_tiny.config import DistillationConfig
from tests.recipes.moon_tiny.test_teachers import write_corpora


@pytest.fixture
def stages(shop: Path, tmp_path: Path) -> list[DistillationConfig]:
    """Teachers without the layers, purchases without the layers, purchases with all of them."""
    teachers = {"corpora": write_corpora(tmp_path / "corpora", shop), "texts": 4, "images": 4, "aligned": 4}
    data = {"pairs": shop / "pairs", "image_roots": [shop / "images"], "reader": "arrow", "batch_size": 4}
    bypassed = {"frozen": ["backbone.vision", "backbone.decoder.layers"], "bypass_layers": True}
    values = (
        ({"path": shop / "model", **bypassed}, None),
        ({"path": tmp_path / "0" / "model", **bypassed}, data),
        ({"path": tmp_path / "1" / "model", "frozen": ["backbone.vision"]}, data),
    )
    return [
        DistillationConfig.model_validate({
            "model": {**model, "path": str(model["path"]), "cache": tmp_path / "features"}, "teachers": teachers,
            "data": pairs, "run": {"out": tmp_path / str(number), "steps": 2},
        })
        for number, (model, pairs) in enumerate(values)
    ]  # fmt: skip


def test_all_stages_run_once_and_the_checkpoint_loads(
    stages: list[DistillationConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe.check_training_stages(stages)
    trained = [recipe.run_training_stage(stage) for stage in stages]
    monkeypatch.setattr(recipe, "run_distillation", None)  # a second call must not train
    assert [recipe.run_training_stage(stage) for stage in stages] == trained
    made = recipe.describe_stages(stages)
    assert made.startswith("Stage 1, teachers, token embeddings and projector alone: 2 steps")
    assert "alignment" in made
    assert "Stage 3, contrast on purchases, with teachers, all layers: 2 steps" in made
    header, *rows = recipe.render_curve_table(stages).splitlines()
    assert header.startswith("| stage | steps | text anchors | ")
    assert header.endswith("| contrast |")
    assert [row.split(" | ")[:2] for row in rows[1:]] == [[f"| {n}", f"{s}–{s}"] for n in (1, 2, 3) for s in (1, 2)]
    assert [float(row.split(" | ")[-1].strip("| ")) > 0 for row in rows[3:]] == [True] * 4
    folder = recipe.store_model(trained[-1], tmp_path / "stored", made)
    assert made.split(";")[0] in (folder / "README.md").read_text()
    stored, whole = MoonModel.from_pretrained(folder), MoonModel.from_pretrained(trained[-1])
    for (name, mine), theirs in zip(stored.named_parameters(), whole.parameters(), strict=True):
        assert (mine - theirs).norm() <= 0.02 * theirs.norm(), name
    assert torch.equal(stored.backbone.vision.trunk.stem.bias, whole.backbone.vision.trunk.stem.bias)
    MoonProcessor.from_pretrained(folder)


def test_a_start_that_was_broken_off_is_made_again(
    stages: list[DistillationConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, made = tmp_path / "start", []
    start.mkdir()
    (start / "config.json").write_text("{}")  # what a killed run had written
    monkeypatch.setattr(recipe, "import_compact", lambda **given: made.append(given["out"]))
    first = stages[0].model_copy(update={"model": stages[0].model.model_copy(update={"path": str(start)})})
    recipe.build_start_model(first, tmp_path, tmp_path, tmp_path)
    assert made == [start]
    (start / "README.md").write_text("# start")
    recipe.build_start_model(first, tmp_path, tmp_path, tmp_path)
    assert made == [start]


def test_stages_that_do_not_fit_are_refused_before_training(stages: list[DistillationConfig]) -> None:
    first, second, last = stages
    elsewhere = second.model_copy(update={"model": second.model.model_copy(update={"path": "other"})})
    with pytest.raises(ConfigError, match="a stage starts from other, the one before writes"):
        recipe.check_training_stages([first, elsewhere, last])
    assert last.data is not None
    absent = last.data.model_copy(update={"pairs": Path("nowhere")})
    with pytest.raises(ConfigError, match=r"no training pairs in nowhere; `moon make-pairs --help`"):
        recipe.check_training_stages([first, second, last.model_copy(update={"data": absent})])
    moved = last.teachers.model_copy(update={"corpora": Path("elsewhere")})
    with pytest.raises(ConfigError, match=r"all stages need the same teachers\.corpora"):
        recipe.check_training_stages([first, second, last.model_copy(update={"teachers": moved})])


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_shipped_stages_fit_together(device: str) -> None:
    stages = [DistillationConfig.read(recipe.CONFIG_FOLDER / name) for name in recipe.STAGE_CONFIGS[device]]
    for before, stage in pairwise(stages):
        assert Path(stage.model.path) == before.run.out / "model"
    assert len({stage.teachers.corpora for stage in stages}) == 1
    assert [stage.data is None for stage in stages] == [True, *[False] * (len(stages) - 1)]
