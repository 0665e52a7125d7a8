"""A product as a caller hands it to the model, whatever shop it comes from."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from PIL import Image

from moon_model.images import ImageSource

VALUE_SEPARATOR = ", "
"""Between the values of an attribute that has several."""


@dataclass(frozen=True)
class Product:
    """One product; every field but the id may be left out.

    Attributes:
        id: the shop's own key, used in messages.
        title: what the shop calls it.
        description: read behind the title, up to a budget.
        category: path, root first; a plain string is split on "/" and ">".
        attributes: name → value, such as {"Color": "black & white", "Material": "wool"}; their order does not
            matter. A value may be a list of values.
        images: paths, encoded bytes or PIL images, the main one first.
    """

    id: str
    title: str = ""
    description: str = ""
    category: Sequence[str] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)
    images: Sequence[ImageSource] = ()

    def __post_init__(self) -> None:
        path = re.split(r"[/>]", self.category) if isinstance(self.category, str) else self.category or ()
        levels = tuple(level for level in map(clean_text, path) if level)
        attributes = {clean_text(name): _value(value) for name, value in (self.attributes or {}).items()}
        single = isinstance(self.images, str | Path | bytes | Image.Image)
        for name, value in {
            "id": str(self.id),
            "title": clean_text(self.title),
            "description": clean_text(self.description),
            "category": levels,
            "attributes": {name: attributes[name] for name in sorted(attributes) if attributes[name]},
            "images": (self.images,) if single else tuple(self.images or ()),
        }.items():
            object.__setattr__(self, name, value)

    @classmethod
    def of(cls, value: "Product | Mapping[str, Any]") -> "Product":
        """Take a product, or a mapping with the same keys.

        Raises:
            TypeError: for anything else.
            ValueError: for unknown keys, and for a mapping without an id.
        """
        if isinstance(value, Product):
            return value
        if not isinstance(value, Mapping):
            raise TypeError(f"a product is a Product or a dict with its fields, not {type(value).__name__}")
        known = [item.name for item in fields(cls)]
        if unknown := sorted(set(value) - set(known)):
            raise ValueError(f"a product has no field {', '.join(unknown)}; its fields are {', '.join(known)}")
        if value.get("id") is None:
            raise ValueError("a product needs an id")
        return cls(**value)


def join_text(product: Product) -> str:
    """Return all words of a product, in the order in which MOON reads them."""
    attributes = [f"{name}: {value}" for name, value in product.attributes.items()]
    return " ".join([product.title, product.description, *product.category, *attributes]).strip()


def clean_text(text: Any) -> str:
    """Make whitespace single spaces; None becomes the empty string."""
    return "" if text is None else " ".join(str(text).split())


def _value(value: Any) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return VALUE_SEPARATOR.join(filter(None, map(clean_text, value)))
    return clean_text(value)
