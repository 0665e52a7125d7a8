"""Reads sample values and writes TOML values, for `suggest_mapping` and `presets`."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

SampleRecord = Mapping[str, Any]

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")


def list_values(column: str, records: Iterable[SampleRecord]) -> list[Any]:
    """Return the values of a column that are not empty."""
    return [record[column] for record in records if record.get(column) not in (None, "", [], {})]


def quote_toml(text: str) -> str:
    """Return the text as a TOML string."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def quote_list(texts: Sequence[str]) -> str:
    """Return the texts as a TOML array."""
    return f"[{', '.join(map(quote_toml, texts))}]"


def find_image_base(link: str, folder: Path) -> Path:
    """Return the base folder of a relative image path: the catalogue's folder, or one of the two above it."""
    places = (folder, *folder.absolute().parents[:2])
    return next((place for place in places if (place / link).is_file()), folder)
