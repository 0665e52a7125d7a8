"""Tests of the shared options: each is an option with a help text, and the shell completes what the lake has."""

import os
import subprocess
import sys
import typing
from pathlib import Path

import pytest
import typer

from jobs.commands import options


def test_every_shared_option_teaches() -> None:
    kinds = [item for item in vars(options).values() if typing.get_origin(item) is typing.Annotated]
    assert len(kinds) >= 8
    for kind in kinds:
        (option,) = kind.__metadata__
        assert isinstance(option, typer.models.OptionInfo)
        assert option.help


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    for folder in ("products/date=2026-01-03", "products/date=2026-01-04", "served/collection=moon_a"):
        (tmp_path / folder).mkdir(parents=True)
    return tmp_path


@pytest.fixture
def context() -> typer.Context:
    return typer.Context(typer.main.get_command(typer.Typer(callback=lambda: None)))


def complete(line: str, **environment: str) -> list[str]:
    """Return what bash would offer for the last word of a command line."""
    shell = {"_MOON_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    done = subprocess.run(
        [sys.executable, "-c", "from jobs.cli import app; app(prog_name='moon')"],
        capture_output=True, text=True, check=False, env={**os.environ, **environment, **shell},
    )  # fmt: skip
    return done.stdout.split()


def test_the_shell_completes_dates_collections_and_reasons(lake: Path, context: typer.Context) -> None:
    assert complete("moon quarantine --date 2026-01", MOON_LAKE=str(lake)) == ["2026-01-04", "2026-01-03"]
    context.params = {"lake": str(lake)}
    assert options.complete_collections(context, "moon") == ["moon_a"]
    assert options.complete_collections(context, "x") == []
    assert "malformed_row" in options.complete_reasons("malf")
    context.params = {"lake": str(lake / "none")}
    assert options.complete_dates(context, "") == [] and not (lake / "none").exists()


def test_a_setting_that_cannot_be_used_completes_nothing(
    monkeypatch: pytest.MonkeyPatch, context: typer.Context
) -> None:
    monkeypatch.setenv("MOON_RETENTION_DAYS", "x")
    assert options.complete_dates(context, "") == []


NAMES = {"milvus": "--milvus", "lake": "--lake", "catalog": "--catalog", "mapping": "--mapping", "as_json": "--json"}


def test_an_option_has_the_same_name_in_every_command() -> None:
    from jobs.cli import app

    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        for option in command.params:
            if option.name in NAMES:
                assert NAMES[option.name] in option.opts, name
