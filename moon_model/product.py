"""The product as a caller passes it to the encoder, and functions that clean its texts."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from PIL import Image

from moon_model.images import ImageSource

VALUE_SEPARATOR = ", "
"""Text between the values of an attribute that has several."""

TEXT_BUDGETS = {
    "title": "max_title_tokens",
    "description": "max_description_tokens",
    "category": "max_category_tokens",
    "attributes": "max_attribute_tokens",
}
"""Names of the texts that `format_texts` returns, and the key of the configuration that limits each one's tokens."""

TEXT_FIELDS = tuple(TEXT_BUDGETS)


@dataclass(frozen=True)
class Product:
    """One product; every field except the id may be left out.

    Attributes:
        id: key of the product in the shop, used in messages.
        title: name of the product.
        description: text that the model reads after the title, up to a number of tokens.
        category: path of categories, root first; a plain string is split at "/" and ">".
        attributes: name → value, such as {"Color": "black & white", "Material": "wool"}; sorted by name. A value may
            be a list of values.
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
        attributes = {clean_text(name): _clean_value(value) for name, value in (self.attributes or {}).items()}
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
    def from_value(cls, value: "Product | Mapping[str, Any]") -> "Product":
        """Product from a product or from a mapping with its fields.

        Raises:
            TypeError: the value is neither.
            ValueError: the mapping has unknown keys or no id.
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
    """All texts of a product in one, in the order in which MOON reads them."""
    attributes = [f"{name}: {value}" for name, value in product.attributes.items()]
    return " ".join([product.title, product.description, *product.category, *attributes]).strip()


def format_texts(product: Product) -> tuple[str, str, str, str]:
    """Title, description, category and attributes as the model reads them."""
    attributes = "  ".join(f"{name}: {value}" for name, value in product.attributes.items())
    return product.title, product.description, " / ".join(product.category), attributes


def clean_text(text: Any) -> str:
    """The text with each run of white space replaced by one space; None becomes the empty string."""
    return "" if text is None else " ".join(str(text).split())


def _clean_value(value: Any) -> str:
    """Text of an attribute's value; several values are joined by ``VALUE_SEPARATOR``."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return VALUE_SEPARATOR.join(filter(None, map(clean_text, value)))
    return clean_text(value)
