"""Tells which parts of the encoded products the model did not read, from the record of the stage encode."""

from dataclasses import dataclass

from jobs.pages.run_history import RunSummary
from moon_model.product import TEXT_BUDGETS

UNREAD, UNREAD_OF = "unread_", "unread_of"
"""Details of the stage encode: ``unread_<part>`` of how many products a part exceeds what the model reads, and the
number of encoded products; products that are kept after all are among them."""

MODEL_LIMITS = {**TEXT_BUDGETS, "images": "max_images"}
"""The key of a checkpoint's configuration that says how much of each part of a product the model reads."""


@dataclass(frozen=True)
class UnreadReport:
    """Numbers of encoded products with parts that the model truncated.

    Attributes:
        encoded: number of products that the run encoded.
        parts: for each part that exceeds the model's limit: (part, number of products, key of the limit).
    """

    encoded: int
    parts: list[tuple[str, int, str]]


def read_unread(run: RunSummary) -> UnreadReport | None:
    """Return the truncated parts of the products that a run encoded; None if it encoded none."""
    details = run.stage_details.get("encode", {})
    if UNREAD_OF not in details:
        return None
    found = [(part, int(details.get(f"{UNREAD}{part}", 0)), limit) for part, limit in MODEL_LIMITS.items()]
    return UnreadReport(int(details[UNREAD_OF]), [one for one in found if one[1]])
