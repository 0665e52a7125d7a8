"""Takes from a product what a task asks for, so that nobody can read the answer."""

import re
from collections.abc import Iterable
from dataclasses import replace

from moon_model.product import Product

ENDINGS = "(?:e?s|'s)?"


def hide(product: Product, words: Iterable[str], *, level: int | None = None, attribute: str | None = None) -> Product:
    """Remove a field, and mask its words in title and description.

    Args:
        product: that is asked about.
        words: what the answer may be called; whole words are masked, with a plural or possessive ending.
        level: category from this level on is removed, since deeper levels give it away.
        attribute: name of the attribute that is removed.

    Returns:
        The product without the answer.
    """
    spellings = sorted({word.strip() for word in words if word.strip()}, key=len, reverse=True)
    mask = re.compile(rf"\b(?:{'|'.join(map(re.escape, spellings))}){ENDINGS}\b", re.IGNORECASE) if spellings else None
    title, description = (mask.sub(" ", text) if mask else text for text in (product.title, product.description))
    category = product.category if level is None else tuple(product.category)[:level]
    attributes = {name: value for name, value in product.attributes.items() if name != attribute}
    return replace(product, title=title, description=description, category=category, attributes=attributes)


def images_only(product: Product) -> Product:
    """Return the product without a word."""
    return Product(product.id, images=product.images)


def texts_only(product: Product) -> Product:
    """Return the product without a picture."""
    return replace(product, images=())


def label(text: str) -> Product:
    """Return a label as it is embedded."""
    return Product(f"label {text}", title=text)
