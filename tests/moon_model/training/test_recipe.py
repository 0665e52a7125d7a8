"""The recipe: stages that fit together, each done once, and a checkpoint that the encoder's loaders read."""

from pathlib import Path

import pytest
import torch

from moon_model.modeling_moon import MoonModel
from moon_model.processing_moon import MoonProcessor
from moon_model.training import recipe
from moon_model.training.config import ConfigError, TrainingConfig
from tests.moon_model.training.test_teachers import write_corpora

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture
def stages(shop: Path, tmp_path: Path) -> tuple[TrainingConfig, TrainingConfig]:
    teachers = {"corpora": write_corpora(tmp_path / "corpora", shop), "texts": 4, "images": 4, "aligned": 4}
    data = {"pairs": shop / "pairs", "image_roots": [shop / "images"], "reader": "arrow", "batch_size": 4}
    model = {"frozen": ["backbone.vision"], "cache": tmp_path / "features"}
    first = {
        "model": {"path": str(shop / "model"), **model}, "teachers": teachers,
        "run": {"out": tmp_path / "1", "steps": 2},
    }  # fmt: skip
    second = {
        "model": {"path": str(tmp_path / "1" / "model"), **model}, "teachers": teachers, "data": data,
        "run": {"out": tmp_path / "2", "steps": 2},
    }  # fmt: skip
    return TrainingConfig.model_validate(first), TrainingConfig.model_validate(second)


def test_both_stages_run_once_and_the_checkpoint_loads(
    stages: tuple[TrainingConfig, TrainingConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe.check_stages(*stages)
    trained = [recipe.run_stage(stage) for stage in stages]
    monkeypatch.setattr(recipe, "train", None)  # a second call must not train
    assert [recipe.run_stage(stage) for stage in stages] == trained
    made = recipe.describe(*stages)
    assert made.startswith("Stage 1, teachers: 2 steps")
    assert "alignment" in made
    assert "Stage 2, contrast on purchases: 2 steps" in made
    folder = recipe.store(trained[1], tmp_path / "stored", made)
    assert made.split(";")[0] in (folder / "README.md").read_text()
    stored, whole = MoonModel.from_pretrained(folder), MoonModel.from_pretrained(trained[1])
    for (name, mine), theirs in zip(stored.named_parameters(), whole.parameters(), strict=True):
        assert (mine - theirs).norm() <= 0.02 * theirs.norm(), name
    assert torch.equal(stored.backbone.vision.stem.bias, whole.backbone.vision.stem.bias)
    MoonProcessor.from_pretrained(folder)


def test_stages_that_do_not_fit_are_refused_before_training(stages: tuple[TrainingConfig, TrainingConfig]) -> None:
    first, second = stages
    elsewhere = second.model_copy(update={"model": second.model.model_copy(update={"path": "other"})})
    with pytest.raises(ConfigError, match="the second stage starts from other, the first writes"):
        recipe.check_stages(first, elsewhere)
    assert second.data is not None
    absent = second.data.model_copy(update={"pairs": Path("nowhere")})
    with pytest.raises(ConfigError, match=r"no training pairs in nowhere; `moon make-pairs --help`"):
        recipe.check_stages(first, second.model_copy(update={"data": absent}))
    with pytest.raises(ConfigError, match=r"the second \[data\] and \[teachers\]"):
        recipe.check_stages(first, first)


def test_the_shipped_stages_fit_together() -> None:
    first, second = (
        TrainingConfig.read(REPOSITORY / "configs" / f"{name}.toml") for name in ("moon-tiny-teachers", "moon-tiny")
    )
    assert Path(second.model.path) == first.run.out / "model"
    assert first.teachers is not None
    assert second.teachers is not None
    assert first.teachers.corpora == second.teachers.corpora
