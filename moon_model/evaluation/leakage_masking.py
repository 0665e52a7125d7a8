"""Takes from a product what a task asks for, so that nobody can read the answer."""

import re
from collections.abc import Iterable
from dataclasses import replace

from moon_model.product import Product

ENDINGS = "(?:e?s|'s)?"
UNSPACED = "\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff"
"""Thai, Lao, Kana, Han: scripts without spaces between words, where a word is masked wherever it stands."""

LETTER = rf"[^\W{UNSPACED}]"


def mask_field(
    product: Product, words: Iterable[str], *, level: int | None = None, attribute: str | None = None
) -> Product:
    """Remove a field, and mask its words in title and description.

    Args:
        product: that is asked about.
        words: what the answer may be called; whole words are masked in singular, plural and possessive.
        level: category from this level on is removed, since deeper levels give it away.
        attribute: name of the attribute that is removed.

    Returns:
        The product without the answer.
    """
    forms = {form for word in words if word.strip() for form in _with_singulars(word.strip())}
    spellings = sorted(forms, key=len, reverse=True)
    mask = re.compile("|".join(map(_whole, spellings)), re.IGNORECASE) if spellings else None
    title, description = (mask.sub(" ", text) if mask else text for text in (product.title, product.description))
    category = product.category if level is None else tuple(product.category)[:level]
    attributes = {name: value for name, value in product.attributes.items() if name != attribute}
    return replace(product, title=title, description=description, category=category, attributes=attributes)


def _whole(word: str) -> str:
    """Return the pattern of a whole word: no letter before it or behind its ending."""
    start, end = (bool(re.match(f"[{UNSPACED}]", edge)) for edge in (word[0], word[-1]))
    before = "" if start else f"(?<!{LETTER})"
    return before + re.escape(word) + ("" if end else f"{ENDINGS}(?!{LETTER})")


def _with_singulars(word: str) -> set[str]:
    """Return a word, and what it may be the plural of: shelves are called "Mugs", "Dresses", "Berries"."""
    forms = {word}
    for plural, singular in (("s", ""), ("es", ""), ("ies", "y")):
        if word.lower().endswith(plural) and not word.lower().endswith("ss") and len(word) > len(plural) + 2:
            forms.add(word[: -len(plural)] + singular)
    return forms


def keep_images(product: Product) -> Product:
    """Return the product without a word."""
    return Product(product.id, images=product.images)


def keep_texts(product: Product) -> Product:
    """Return the product without a picture."""
    return replace(product, images=())


def make_label_product(text: str) -> Product:
    """Return a label as it is embedded."""
    return Product(f"label {text}", title=text)
