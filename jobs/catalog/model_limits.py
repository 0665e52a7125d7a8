"""Counts products whose images or texts exceed the limits of a checkpoint, so that the model truncates them.

Only the checkpoint's configuration and tokenizer are read. Weights, torch and transformers are not loaded.
"""

import json
import logging
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from moon_model.fingerprint import CONFIG_FILE, PROCESSOR_FILE, TOKENIZER_FILE, resolve_model_folder
from moon_model.product import TEXT_BUDGETS, Product, format_texts
from moon_model.tokenization import encode_text, is_lowercased
from schemas.product import canonicalise_product
from schemas.source import MappedRow

COMPACT_MODEL_TYPE = "moon_compact"
MAX_MEASURED_PRODUCTS = 10_000
"""Products whose text is cut into tokens, which takes about a second in all."""

BUDGETS = dict(zip(("titles", "descriptions", "categories", "attributes"), TEXT_BUDGETS.values(), strict=True))
"""Configuration key of each text by its name in messages, in the order of `moon_model.product.format_texts`."""

log = logging.getLogger(__name__)


class CutCounter:
    """Counts products with more images or a longer text than a model reads.

    Args:
        checkpoint: Folder of the model; None is the shipped one. With an incomplete checkpoint nothing is counted.

    Attributes:
        max_images: Maximum number of images per product that the model sees; None if it is not known.
    """

    def __init__(self, checkpoint: str | None) -> None:
        self.max_images: int | None = None
        self._measured = 0
        self._counts: Counter[str] = Counter()
        self._examples: dict[str, str] = {}
        self._config: dict[str, Any] = {}
        self._tokenise: Callable[[str], int] | None = None
        try:
            folder = resolve_model_folder(checkpoint)
            self._config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
            self.max_images = self._config.get("max_images")
            self._tokenise = _load_token_counter(folder, self._config)
        except Exception:  # tokenizers raises plain Exception; this remark is optional
            log.debug("no budgets of %s", checkpoint, exc_info=True)

    def add(self, row: MappedRow) -> None:
        """Count a product as mapped; one that cannot be read, and those after the first 10,000, are not measured."""
        if self._tokenise is None or row.row_error is not None or self._measured >= MAX_MEASURED_PRODUCTS:
            return
        self._measured += 1
        over = ["images"] if self.max_images and len(row.images) > self.max_images else []
        for name, text in zip(BUDGETS, format_texts(_make_product(row)), strict=True):
            budget = self._config.get(BUDGETS[name])
            # A token has at least one byte, and the lower case of a letter at most twice as many.
            if budget and 2 * len(text.encode()) >= budget and self._tokenise(text) > budget:
                over.append(name)
        for name in over:
            self._counts[name] += 1
            self._examples.setdefault(name, row.product_id or "")

    def describe(self) -> list[str]:
        """Return a sentence for each part that the model truncates for some products."""
        limits = {"images": f"{self.max_images} images"}
        limits |= {name: f"{self._config.get(key)} tokens of {name}" for name, key in BUDGETS.items()}
        return [
            f"{self._counts[name]:,} of {self._measured:,} products have more than the {limits[name]} that the model "
            f"reads, such as product {self._examples[name]!r}; the rest does not change its vector"
            for name in ("images", *BUDGETS)
            if self._counts[name]
        ]


def _load_token_counter(folder: Path, config: dict[str, Any]) -> Callable[[str], int]:
    """Return a function that counts the tokens of a text like the model's processor."""
    tokenizer = Tokenizer.from_file(str(folder / TOKENIZER_FILE))
    tokenizer.encode_special_tokens = True  # as the processor
    file = folder / PROCESSOR_FILE
    stored = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    lowercase = is_lowercased(
        stored.get("lowercase"), compact=config["base_config"]["model_type"] == COMPACT_MODEL_TYPE
    )
    return lambda text: len(encode_text(tokenizer, text, lowercase=lowercase))


def _make_product(row: MappedRow) -> Product:
    """Return a row in the form that the processor reads: canonical, without HTML."""
    product = canonicalise_product(
        title=row.title,
        description=row.description,
        category=row.category,
        attributes=row.attributes,
        images=(),
    )
    return Product("", product.title, product.description, product.category, product.attributes)
