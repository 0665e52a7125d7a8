"""Tests of printed text: texts of people, paths and catalogues are printed unchanged, without markup or emoji codes."""

import json

import pytest
from rich.table import Table

from jobs.commands.output import make_console, make_table, print_error, print_json, print_line

ODD = ["a [abc] b", "[/b]", "[bold]x[/]", ":smile:", "🥾 [link=http://x]", 'it\'s "so"', "back\\[slash]"]


@pytest.mark.parametrize("text", ODD)
def test_a_line_is_printed_as_it_is(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    print_line(text)
    print_error(text)
    captured = capsys.readouterr()
    assert captured.out == f"{text}\n"
    assert captured.err == f"moon: {text}\n"


@pytest.mark.parametrize("text", ODD)
def test_a_table_shows_titles_and_cells_as_they_are(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    table = make_table("name", text, title=text)
    assert isinstance(table, Table)
    table.add_row(text, "x")
    make_console().print(table)
    assert capsys.readouterr().out.count(text) == 3


def test_quiet_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    print_line("x", quiet=True)
    assert capsys.readouterr().out == ""


def test_json_is_readable_and_always_can_be_written(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"title": "Größe [x]", "broken": "\udc80"})
    out = capsys.readouterr().out
    assert "Größe" in out
    assert json.loads(out) == {"title": "Größe [x]", "broken": "\udc80"}
