"""docs/runbook.md: the command line parses every `moon` command, and the local commands work as written."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from shutil import copytree

import pytest
import typer

from jobs.cli import app

REPOSITORY = Path(__file__).resolve().parents[1]
TEXT = (REPOSITORY / "docs" / "runbook.md").read_text()
BLOCKS = re.findall(r"^```sh( tried)?\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
IN_BLOCKS = [line for _, block in BLOCKS for line in block.splitlines() if line.startswith("moon ")]
IN_TEXT = re.findall(r"`(moon [a-z][^`…]*)`", TEXT)
"""Commands named in a sentence; they may leave out what is required."""
GROUP = typer.main.get_command(app)


def parse(command: str) -> None:
    """Parse a command as the command line would, without running it."""
    arguments = shlex.split(command, comments=True)[1:]
    context = GROUP.make_context("moon", list(arguments))
    name, found, rest = GROUP.resolve_command(context, arguments)
    found.make_context(name, rest, parent=context)


@pytest.mark.parametrize("command", IN_BLOCKS)
def test_every_command_is_understood(command):
    parse(command)


@pytest.mark.parametrize("command", sorted({text for text in IN_TEXT if not text.startswith("moon status --max-age")}))
def test_every_verb_in_a_sentence_exists(command):
    name, *options = shlex.split(command)[1:]
    found = GROUP.commands[name]
    known = {option for parameter in found.params for option in parameter.opts}
    assert [option for option in options if option.startswith("--") and option not in known] == []


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("moon backfill --from 2026-11-20", "last"),
        ("moon nightly --dates 2026-11-20", "--dates"),
        ("moon fly", "fly"),
    ],
)
def test_a_wrong_command_would_be_found(command, says):
    with pytest.raises(Exception, match=says) as refused:  # click's own, which typer keeps to itself
        parse(command)
    assert refused.value.exit_code == 2


def test_settings_in_it_are_ours():
    from jobs.settings import Settings

    named = {name.lower() for name in re.findall(r"MOON_([A-Z_]+[A-Z])", TEXT)} - {"gpu"}
    assert named
    assert named <= Settings.model_fields.keys()


@pytest.mark.long
@pytest.mark.timeout(2400)  # two dozen commands, most with a Spark session of their own
def test_the_local_path_works_as_written(tmp_path):
    (tmp_path / "checkpoints").symlink_to(REPOSITORY / "checkpoints")
    following = copytree(REPOSITORY / "checkpoints" / "moon-tiny", tmp_path / "models" / "next")
    settings = json.loads((following / "processor_config.json").read_text())
    settings["lowercase"] = not settings["lowercase"]
    (following / "processor_config.json").write_text(json.dumps(settings))

    script = "".join(block for tried, block in BLOCKS if tried)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MOON_")}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    done = subprocess.run(
        ["bash", "-euxo", "pipefail", "-c", script],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert (tmp_path / "served.parquet").is_file()
    assert "overlap@10" in done.stdout
    documents = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert [found["k"] for found in documents if "overlap" in found] == [5]
    assert [found["mended"] for found in documents if "mended" in found] == [0]
    assert "Nights are held until" in done.stdout and "Nights continue" in done.stdout
