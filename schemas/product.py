"""Canonical form of a catalogue product, and its content hash: products with equal hashes give equal model inputs.

The hash is the SHA-256 of canonical JSON of title, description, category, sorted attributes, images with their versions
and the version of the canonicalisation (docs/decisions/0033-content-identity.md).
"""

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from schemas.html_text import strip_html

CANONICALISATION_VERSION = 1
"""Increase it when `canonicalise_product` changes the form of most products: all products are then encoded again."""

SHA256_PREFIX = "sha256:"
"""Start of a version that is the SHA-256 of the image's bytes."""

SHA256_VERSION = f"^{SHA256_PREFIX}[0-9a-f]{{64}}$"
"""Pattern of such a version, for Python and for Spark."""


@dataclass(frozen=True)
class ImageRef:
    """Reference to an image: its canonical URI, and a version that changes when its bytes change."""

    uri: str
    version: str | None


@dataclass(frozen=True)
class CatalogProduct:
    """A catalogue row that passed validation, in canonical form; images are references, without pixels."""

    title: str
    description: str = ""
    category: tuple[str, ...] = ()
    attributes: Mapping[str, str] = field(default_factory=dict)
    images: tuple[ImageRef, ...] = ()

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "CatalogProduct":
        """Return the product of a row of the lake's table `products`."""
        return cls(
            title=row["title"],
            description=row["description"],
            category=tuple(row["category"]),
            attributes=dict(row["attributes"]),
            images=tuple(ImageRef(**image) for image in row["images"]),
        )


def canonicalise_text(text: str | None) -> str:
    """Return the text without HTML, in Unicode NFC; runs of white space become one space, none at the ends."""
    return " ".join(unicodedata.normalize("NFC", strip_html(text or "")).split())


def canonicalise_product(
    *,
    title: str | None,
    description: str | None,
    category: Iterable[str | None] | None,
    attributes: Mapping[str, str | None] | None,
    images: Iterable[ImageRef] | None,
) -> CatalogProduct:
    """Return delivered values in canonical form; empty category levels and empty attributes are left out."""
    levels = (canonicalise_text(level) for level in category or ())
    # " Colour" and "Colour" are one attribute, which keeps both values.
    pairs: dict[str, str] = {}
    for key, value in (attributes or {}).items():
        name, text = canonicalise_text(key), canonicalise_text(value)
        pairs[name] = ", ".join(dict.fromkeys(filter(None, [pairs.get(name), text])))
    return CatalogProduct(
        title=canonicalise_text(title),
        description=canonicalise_text(description),
        category=tuple(level for level in levels if level),
        attributes={key: pairs[key] for key in sorted(pairs) if key and pairs[key]},
        images=tuple(images or ()),
    )


def find_image_key(uri: str, version: str | None) -> str:
    """Return the key that identifies an image together with its version: the SHA-256 of its bytes, else its URI.

    With the SHA-256 the same photo under another address is the same image. Other versions (size and time, entity tag)
    are not unique.
    """
    return version if version is not None and re.match(SHA256_VERSION, version) else uri


def compute_content_hash(product: CatalogProduct, image_keys: Sequence[tuple[str | None, ...]] | None = None) -> str:
    """Return the SHA-256 (64 hex digits) of everything in a product that the model uses.

    Args:
        product: canonical product.
        image_keys: identities of its images; default: `make_image_key` of each.
    """
    document: Sequence[object] = (
        CANONICALISATION_VERSION,
        product.title,
        product.description,
        list(product.category),
        sorted(product.attributes.items()),
        [make_image_key(image) for image in product.images] if image_keys is None else list(image_keys),
    )
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def make_image_key(image: ImageRef) -> tuple[str | None, ...]:
    """Return what an image contributes to the content hash: the SHA-256 of its bytes alone, or URI and version."""
    key = find_image_key(image.uri, image.version)
    return (key,) if key != image.uri else (image.uri, image.version)
