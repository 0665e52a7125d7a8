"""Canonical form of a catalogue product, and its content hash: products with equal hashes give equal model inputs.

The hash is the SHA-256 of canonical JSON of title, description, category, sorted attributes, images with their versions
and the version of the canonicalisation (docs/decisions/0033-content-identity.md).
"""

import hashlib
import json
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from schemas.html_text import strip_html
from schemas.uri import is_web

CANONICALISATION_VERSION = 1
"""Increase it when `canonicalise_product` changes the form of most products: all products are then encoded again."""

SHA256_PREFIX = "sha256:"
"""Start of a version that is the SHA-256 of the image's bytes."""


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
    """Return the key that identifies an image together with its version: its URI, or the SHA-256 of a stored photo.

    The SHA-256 is used for photos of web hosts, so that the same photo under another address is the same image.
    """
    return version if version is not None and version.startswith(SHA256_PREFIX) and is_web(uri) else uri


def compute_content_hash(product: CatalogProduct) -> str:
    """Return the SHA-256 (64 hex digits) of everything in a product that the model uses."""
    document: Sequence[object] = (
        CANONICALISATION_VERSION,
        product.title,
        product.description,
        list(product.category),
        sorted(product.attributes.items()),
        [_make_image_key(image) for image in product.images],
    )
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _make_image_key(image: ImageRef) -> tuple[str | None, ...]:
    key = find_image_key(image.uri, image.version)
    return (key,) if key != image.uri else (image.uri, image.version)
