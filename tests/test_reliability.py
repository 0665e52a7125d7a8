"""The page of guarantees names tests that exist."""

import ast
import re
from pathlib import Path

PAGE = Path("docs/reliability.md")


def test_every_test_that_the_page_names_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE.read_text())
    assert len(named) > 30
    for file, test in named:
        functions = {
            node.name for node in ast.walk(ast.parse(Path(file).read_text())) if isinstance(node, ast.FunctionDef)
        }
        assert test in functions, f"{file} has no {test}"


def test_every_guarantee_names_a_test() -> None:
    guarantees = PAGE.read_text().split("## Threat model")[0].split("\n**")[1:]
    assert len(guarantees) > 10
    assert [text.split("**")[0] for text in guarantees if "*Tests:*" not in text] == []
