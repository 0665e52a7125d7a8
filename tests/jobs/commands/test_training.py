"""Tests of ``moon train`` on the command line: clear error messages, and a complete run."""

import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from jobs.commands import training
from jobs.errors import MoonError

runner = CliRunner()


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    app.callback()(lambda: None)  # a command of its own name, as beside the others
    training.register(app)
    return app


def toml(shop: Path, out: Path) -> str:
    return f"""
        [model]
        path = "{shop}/model"
        frozen = ["backbone.vision"]
        [data]
        pairs = "{shop}/pairs"
        image_roots = ["{shop}/images"]
        reader = "arrow"
        batch_size = 4
        [run]
        out = "{out}"
        steps = 2
    """


def test_help_teaches(app: typer.Typer) -> None:
    found = runner.invoke(app, ["train", "--help"])
    assert found.exit_code == 0
    assert "--resume" in found.output
    assert "configs/moon-3b.toml" in found.output


def test_a_run_stops_and_goes_on(app: typer.Typer, tmp_path: Path) -> None:
    from tests.moon_model.training.tiny_run import tiny_shop

    config = tmp_path / "run.toml"
    config.write_text(toml(tiny_shop(tmp_path / "shop", count=16), tmp_path / "out"))
    first = runner.invoke(app, ["train", "--config", str(config), "--steps", "1"], catch_exceptions=False)
    assert "--resume" in first.output
    second = runner.invoke(app, ["train", "--config", str(config), "--resume"], catch_exceptions=False)
    assert f"model: {tmp_path / 'out' / 'model'}" in second.output.replace("\n", "").replace("curve", "\ncurve")
    assert (tmp_path / "out" / "model" / "config.json").is_file()


def test_a_bad_file_is_an_error_for_people(app: typer.Typer, tmp_path: Path) -> None:
    found = runner.invoke(app, ["train", "--config", str(tmp_path / "none.toml")])
    assert isinstance(found.exception, MoonError)
    assert "no such file" in str(found.exception)


def test_a_file_of_the_recipe_names_the_recipes_command(app: typer.Typer, tmp_path: Path) -> None:
    config = tmp_path / "run.toml"
    config.write_text('[teachers]\ncorpora = "c"\n[run]\nout = "o"\nsteps = 1\n')
    found = runner.invoke(app, ["train", "--config", str(config)])
    assert isinstance(found.exception, MoonError)
    assert f"python -m recipes.moon_tiny.train --config {config}" in str(found.exception)


def test_an_environment_without_accelerate_is_explained(
    app: typer.Typer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("moon_model.training.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "accelerate", None)
    found = runner.invoke(app, ["train", "--config", str(tmp_path / "none.toml")])
    assert isinstance(found.exception, MoonError)
    assert "needs the package accelerate" in str(found.exception)
