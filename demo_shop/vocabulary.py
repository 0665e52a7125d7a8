"""All words, colours and materials of the demo shop, read as tables from ``vocabulary.toml``."""

import tomllib
from dataclasses import dataclass
from importlib import resources
from typing import Any

Rgb = tuple[int, int, int]
Taste = tuple[float, float, float, float]
"""Position on the four hidden axes of `TASTES`."""


@dataclass(frozen=True)
class ProductType:
    """A product type: category path, the shop's and the shoppers' names for it, and the options of its products."""

    category: tuple[str, ...]
    names: tuple[str, ...]
    query_names: tuple[str, ...]
    materials: tuple[str, ...]
    sizes: tuple[str, ...]
    uses: tuple[str, ...]


@dataclass(frozen=True)
class Colour:
    """A colour family: RGB of 0..255, the shop's and the shoppers' names for it, and its position in taste space."""

    rgb: Rgb
    names: tuple[str, ...]
    query_names: tuple[str, ...]
    taste: Taste


@dataclass(frozen=True)
class Pattern:
    """A surface pattern; ``phrases`` such as "with lines" are query words for the end of a text."""

    names: tuple[str, ...]
    query_names: tuple[str, ...]
    phrases: tuple[str, ...]
    taste: Taste


@dataclass(frozen=True)
class Material:
    """Rendering of a material: gloss 0..1, sharpness of the highlight, and kind and strength (0..1) of the grain."""

    gloss: float
    sharpness: float
    grain: str = "none"
    strength: float = 0.0


@dataclass(frozen=True)
class Brand:
    """A maker with its product lines; shoppers of a similar taste prefer all of its products."""

    name: str
    taste: Taste
    lines: tuple[str, ...]


def _freeze_lists(value: Any) -> Any:
    """Return parsed TOML with tuples for lists."""
    if isinstance(value, dict):
        return {key: _freeze_lists(item) for key, item in value.items()}
    return tuple(map(_freeze_lists, value)) if isinstance(value, list) else value


_TABLES = _freeze_lists(tomllib.loads((resources.files("demo_shop") / "vocabulary.toml").read_text("utf-8")))

TASTES: tuple[str, ...] = _TABLES["tastes"]
PRODUCT_TYPES = {name: ProductType(**fields) for name, fields in _TABLES["product_types"].items()}
COLOURS = {name: Colour(**fields) for name, fields in _TABLES["colours"].items()}
PATTERNS = {name: Pattern(**fields) for name, fields in _TABLES["patterns"].items()}
MATERIALS = {name: Material(**fields) for name, fields in _TABLES["materials"].items()}
BRANDS = tuple(Brand(**fields) for fields in _TABLES["brands"])
ADJECTIVES: tuple[str, ...] = _TABLES["adjectives"]
MISLEADING_TYPES: tuple[str, ...] = _TABLES["misleading_types"]
MISLEADING_COLOURS: tuple[str, ...] = _TABLES["misleading_colours"]
DESCRIPTION_OPENERS: tuple[str, ...] = _TABLES["description_openers"]
DESCRIPTION_MIDDLES: tuple[str, ...] = _TABLES["description_middles"]
DESCRIPTION_CLOSERS: tuple[str, ...] = _TABLES["description_closers"]
