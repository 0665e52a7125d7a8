"""Tests that every expected failure is a MoonError, so that the command line shows only its message."""

import inspect
import re
from pathlib import Path

from jobs import errors

REPOSITORY = Path(__file__).resolve().parents[2]


def test_all_errors_share_the_base() -> None:
    classes = [item for _, item in inspect.getmembers(errors, inspect.isclass)]
    assert len(classes) > 3
    assert all(issubclass(item, errors.MoonError) for item in classes)


def test_the_runbook_lists_the_exit_codes() -> None:
    table = (REPOSITORY / "docs" / "runbook.md").read_text()
    codes = {name: value for name, value in vars(errors).items() if name.startswith("EXIT_")}
    assert codes == {"EXIT_FAULT": 1, "EXIT_USAGE": 2, "EXIT_INPUT": 3, "EXIT_TEMPORARY": 75, "EXIT_INTERRUPTED": 130}
    rows = re.findall(r"(?m)^\| (\d+) \| ", table)
    assert rows == ["0", *map(str, codes.values())]
