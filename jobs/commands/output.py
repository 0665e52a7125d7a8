"""Prints the output of commands; text from data, paths and users is not interpreted as markup or emoji codes."""

import json

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text


def make_console(*, stderr: bool = False, quiet: bool = False) -> Console:
    """Return a console that prints every text as it is, in tables and their titles too.

    Args:
        stderr: print there instead of stdout.
        quiet: print nothing (with ``--json``).
    """
    return Console(stderr=stderr, quiet=quiet, markup=False, emoji=False, highlight=False)


def print_line(text: str | Text, *, stderr: bool = False, quiet: bool = False) -> None:
    """Print one line, not wrapped, so that paths can be copied."""
    make_console(stderr=stderr, quiet=quiet).print(text, soft_wrap=True)


def print_error(text: str) -> None:
    """Print an error on stderr."""
    print_line(Text.assemble(("moon:", "red"), " ", text), stderr=True)


def make_table(*columns: str, title: str = "") -> Table:
    """Return a table with a title on its left."""
    return Table(*columns, title=title or None, title_justify="left")


def print_json(document: object) -> None:
    """Print one JSON document on stdout; characters that UTF-8 cannot hold are escaped."""
    typer.echo(json.dumps(document, ensure_ascii=False).encode("utf-8", "backslashreplace"))
