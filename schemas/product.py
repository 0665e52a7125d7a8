"""The canonical product and its content hash: one definition of "nothing that reaches the model has changed".

SHA-256 over canonical JSON of title, description, category, sorted attributes, image ids and the
version of the canonicalisation itself.
"""

import hashlib
import json
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

CANONICALISATION_VERSION = 1
"""Raise this when `canonicalise_product` changes: every product is then re-encoded once."""


@dataclass(frozen=True)
class ImageRef:
    """An image by name: its canonical URI and a version that changes whenever its bytes do."""

    uri: str
    version: str | None


@dataclass(frozen=True)
class CatalogProduct:
    """A catalogue row that passed validation, in canonical form; images by reference, not by pixel."""

    title: str
    description: str = ""
    category: tuple[str, ...] = ()
    attributes: Mapping[str, str] = field(default_factory=dict)
    images: tuple[ImageRef, ...] = ()


def canonicalise_text(text: str | None) -> str:
    """Return the text in Unicode NFC with runs of white space folded to one space and none at the ends."""
    return " ".join(unicodedata.normalize("NFC", text or "").split())


def canonicalise_product(
    *,
    title: str | None,
    description: str | None,
    category: Iterable[str | None] | None,
    attributes: Mapping[str, str | None] | None,
    images: Iterable[ImageRef] | None,
) -> CatalogProduct:
    """Bring delivered values to canonical form; empty category levels and empty attributes vanish."""
    levels = (canonicalise_text(level) for level in category or ())
    pairs = {canonicalise_text(key): canonicalise_text(value) for key, value in (attributes or {}).items()}
    return CatalogProduct(
        title=canonicalise_text(title),
        description=canonicalise_text(description),
        category=tuple(level for level in levels if level),
        attributes={key: pairs[key] for key in sorted(pairs) if key and pairs[key]},
        images=tuple(images or ()),
    )


def compute_content_hash(product: CatalogProduct) -> str:
    """Return 64 hex digits that differ whenever anything differs that reaches the model."""
    document: Sequence[object] = (
        CANONICALISATION_VERSION,
        product.title,
        product.description,
        list(product.category),
        sorted(product.attributes.items()),
        [(image.uri, image.version) for image in product.images],
    )
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
