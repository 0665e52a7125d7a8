"""Makes the cards of a rollout's page: what the old and the new model find near a product, side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.pages.neighbours import Neighbour
from jobs.pages.product_cards import NeighbourCard, read_products
from jobs.pages.thumbnails import Picture, ThumbnailMaker, make_thumbnail_maker
from jobs.state.run_context import RunContext

SHOWN = 5
"""Neighbours of each model that are shown."""

ONLY_OLD, ONLY_NEW = "only old", "only new"
GROUPS = {"changed": "Changed most", "typical": "Changed as much as most"}
"""Lists of `jobs.operations.compare.compare_models`, with their headings."""


@dataclass(frozen=True)
class QueryCard:
    """A product as a query, with its neighbours by both models; each marked if only one model names it."""

    title: str
    product_id: str
    overlap: float
    thumbnail: str | None
    old: Sequence[NeighbourCard]
    new: Sequence[NeighbourCard]


def make_query_cards(context: RunContext, comparison: Mapping[str, Any]) -> dict[str, list[QueryCard]]:
    """Return the cards of a comparison by heading.

    Args:
        context: run context of the compared date.
        comparison: see `jobs.operations.compare.compare_models`; empty gives no cards.
    """
    rows = {heading: comparison.get(group, []) for group, heading in GROUPS.items()}
    ids = {
        one["product_id"] for found in rows.values() for row in found for one in (row, *row["first"], *row["second"])
    }
    products = read_products(context.lake, context.date, ids)
    photos = {name: product.photos[0] for name, product in products.items() if product.photos}
    maker = make_thumbnail_maker(context)
    maker.locate(photos.values())
    return {heading: [_make_card(row, photos, maker) for row in found] for heading, found in rows.items() if found}


def _make_card(row: Mapping[str, Any], photos: Mapping[str, Picture], maker: ThumbnailMaker) -> QueryCard:
    named = [{one["product_id"] for one in row[side]} for side in ("first", "second")]

    def show(side: str, others: set[str], mark: str) -> list[NeighbourCard]:
        near = [
            Neighbour(one["product_id"], one["title"], one["score"], "" if one["product_id"] in others else mark)
            for one in row[side][:SHOWN]
        ]
        return [NeighbourCard(one, maker.make(photos.get(one.product_id))) for one in near]

    return QueryCard(
        row["title"],
        row["product_id"],
        row["overlap"],
        maker.make(photos.get(row["product_id"])),
        show("first", named[1], ONLY_OLD),
        show("second", named[0], ONLY_NEW),
    )
