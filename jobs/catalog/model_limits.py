"""What of a product does not reach the model: images and text beyond the budgets of a checkpoint.

Only the checkpoint's configuration and tokenizer are read; no weights, and neither torch nor transformers.
"""

import json
from collections.abc import Sequence
from typing import Any

from tokenizers import Tokenizer

from moon_model.fingerprint import CONFIG_FILE, TOKENIZER_FILE, resolve_model_folder
from moon_model.product import Product, format_texts
from schemas.source import MappedRow

MAX_MEASURED_PRODUCTS = 10_000
"""Products whose text is cut into tokens, which takes about a second in all."""


def describe_cuts(rows: Sequence[MappedRow], checkpoint: str | None) -> list[str]:
    """Return a sentence for each part of which some products have more than the model reads.

    Args:
        rows: Products as mapped.
        checkpoint: Folder of the model; None is the shipped one. One that is incomplete gives none.
    """
    try:
        folder = resolve_model_folder(checkpoint)
        config: dict[str, Any] = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        tokenizer = Tokenizer.from_file(str(folder / TOKENIZER_FILE))
    except Exception:  # tokenizers raises plain Exception; a check says no less without this remark
        return []
    budgets = {"titles": "title", "descriptions": "description", "categories": "category", "attributes": "attribute"}
    over: dict[str, list[str]] = {name: [] for name in ("images", *budgets)}
    good = [row for row in rows if row.row_error is None][:MAX_MEASURED_PRODUCTS]
    for row in good:
        if len(row.images) > config.get("max_images", len(row.images)):
            over["images"].append(row.product_id or "")
        for name, text in zip(budgets, _list_texts(row), strict=True):
            budget = config.get(f"max_{budgets[name]}_tokens")
            # A token has at least one character.
            if budget and len(text) > budget and len(tokenizer.encode(text, add_special_tokens=False).ids) > budget:
                over[name].append(row.product_id or "")
    limits = {"images": f"{config.get('max_images')} images"}
    limits |= {name: f"{config.get(f'max_{kind}_tokens')} tokens of {name}" for name, kind in budgets.items()}
    return [
        f"{len(ids):,} of {len(good):,} products have more than the {limits[name]} that the model reads, such as "
        f"product {ids[0]!r}; the rest does not change its vector"
        for name, ids in over.items()
        if ids
    ]


def _list_texts(row: MappedRow) -> list[str]:
    """Return title, description, category and attributes as the processor tokenises them."""
    product = Product(
        id="", title=row.title or "", description=row.description or "", category=tuple(row.category),
        attributes=row.attributes or {},
    )  # fmt: skip
    return [f" {text.lower()}" for text in format_texts(product)]
