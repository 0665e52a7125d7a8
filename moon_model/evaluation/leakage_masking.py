"""Leakage masking: removes from a product the field that a task predicts, and the words that reveal it."""

import re
from collections.abc import Iterable
from dataclasses import replace

from moon_model.product import Product

ENDINGS = "(?:e?s|'s)?"
UNSPACED = "\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff"
"""Thai, Lao, Kana, Han: scripts without spaces between words, where a word is masked inside longer text too."""

LETTER = rf"[^\W{UNSPACED}]"


def mask_field(
    product: Product, words: Iterable[str], *, level: int | None = None, attribute: str | None = None
) -> Product:
    """Return a product without a field, and without that field's words in title and description.

    Args:
        product: the product.
        words: names of the answer; whole words are masked in singular, plural and possessive, in any case.
        level: remove the category from this level on, because deeper levels reveal it; None keeps the whole category.
        attribute: name of the attribute to remove; None keeps all.
    """
    forms = {form for word in words if word.strip() for form in _add_singulars(word.strip())}
    spellings = sorted(forms, key=len, reverse=True)
    mask = re.compile("|".join(map(_build_word_pattern, spellings)), re.IGNORECASE) if spellings else None
    title, description = (mask.sub(" ", text) if mask else text for text in (product.title, product.description))
    category = product.category if level is None else tuple(product.category)[:level]
    attributes = {name: value for name, value in product.attributes.items() if name != attribute}
    return replace(product, title=title, description=description, category=category, attributes=attributes)


def _build_word_pattern(word: str) -> str:
    """Return the pattern of a whole word: no letter before it, none after its ending."""
    start, end = (bool(re.match(f"[{UNSPACED}]", edge)) for edge in (word[0], word[-1]))
    before = "" if start else f"(?<!{LETTER})"
    return before + re.escape(word) + ("" if end else f"{ENDINGS}(?!{LETTER})")


def _add_singulars(word: str) -> set[str]:
    """Return a word and its possible singulars, because categories are plurals: "Mugs", "Dresses", "Berries"."""
    forms = {word}
    for plural, singular in (("s", ""), ("es", ""), ("ies", "y")):
        if word.lower().endswith(plural) and not word.lower().endswith("ss") and len(word) > len(plural) + 2:
            forms.add(word[: -len(plural)] + singular)
    return forms


def keep_images(product: Product) -> Product:
    """Return a product with its images only."""
    return Product(product.id, images=product.images)


def keep_texts(product: Product) -> Product:
    """Return a product without its images."""
    return replace(product, images=())


def make_label_product(text: str) -> Product:
    """Return a label text as a product, the form in which labels are embedded."""
    return Product(f"label {text}", title=text)
