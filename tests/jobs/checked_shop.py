"""A small catalogue with two photos, and what the tests of check-source do with it."""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image

from jobs.operations.check_source import CheckResult

Check = Callable[..., CheckResult]
"""Checks a catalogue (path) with a mapping file (path) and settings; ``max_rows`` and ``read_rows`` are the check's."""

MAPPING = 'id = "sku"\ntitle = "name"\ncategory = "type"\nimages = {column = "image", base = "."}\n'


def draw_shop(folder: Path) -> Path:
    """Write products.csv with six rows and the two photos that they name; return the folder."""
    (folder / "img").mkdir()
    Image.new("RGB", (80, 60), "red").save(folder / "img" / "1.jpg")
    Image.new("RGBA", (50, 90), "blue").save(folder / "img" / "2.png")
    rows = [
        {"sku": str(i), "name": f"Mug {i}", "type": "Cups", "image": f"img/{1 + i % 2}.{'png' if i % 2 else 'jpg'}"}
        for i in range(6)
    ]
    write_csv(folder / "products.csv", rows)
    return folder


def write_csv(path: Path, rows: Sequence[dict[str, str]]) -> None:
    """Write rows with the first one's columns as the heading."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def make_rows(first: int, last: int, **fields: str) -> list[dict[str, str]]:
    """Return good rows of the shop, ids from `first` to below `last`, with some fields in the place of theirs."""
    base = {"name": "Mug", "type": "Cups", "image": "img/1.jpg"}
    return [{"sku": str(number), **base, **fields} for number in range(first, last)]


def levels(check: CheckResult) -> dict[str, list[str]]:
    """Return the texts of the findings by level."""
    found: dict[str, list[str]] = {"error": [], "warning": [], "note": []}
    for finding in check.findings:
        found[finding.level].append(finding.text)
    return found
