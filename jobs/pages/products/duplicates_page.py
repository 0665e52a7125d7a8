"""Draws the page of `moon duplicates`, and writes the groups to a Parquet file."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.lake.store import Lake
from jobs.pages.page import render_page
from jobs.pages.product_cards import ShownProduct
from jobs.pages.products.product_pictures import find_first_photo, open_thumbnails, read_products_of
from jobs.serving.duplicates import Duplicate
from jobs.settings import Settings

SHOWN_GROUPS, SHOWN_PRODUCTS = 60, 8
"""Groups on a page, and products of each; the file has all."""

DUPLICATES_SCHEMA = pa.schema(
    [
        pa.field("group", pa.int64()),
        pa.field("group_size", pa.int64()),
        pa.field("product_id", pa.string()),
        pa.field("title", pa.string()),
        pa.field("group_id", pa.string()),
        pa.field("score", pa.float32()),
        pa.field("nearest_id", pa.string()),
        pa.field("nearest_score", pa.float32()),
        pa.field("snapshot_date", pa.string()),
    ]
)
"""Columns of the file: ``group`` counts from 1; ``group_id`` is that of the product's variants; ``score`` is the cosine
to the first product of the group; ``title`` is null where the lake has no row of the product any more."""


@dataclass(frozen=True)
class DuplicateCard:
    """A product of a group, with its first photo; its title and photo are missing where the lake has no row of it."""

    one: Duplicate
    product: ShownProduct | None
    thumbnail: str | None
    is_variant: bool


def read_titles(lake: Lake, groups: Sequence[Sequence[Duplicate]]) -> dict[str, ShownProduct]:
    """Return the products of groups as far as the lake has their rows."""
    members = (one.product for group in groups for one in group)
    return read_products_of(lake, {product.product_id: product.snapshot_date for product in members})


def write_duplicates(groups: Sequence[Sequence[Duplicate]], products: dict[str, ShownProduct], path: Path) -> None:
    """Write the groups to a Parquet file (`DUPLICATES_SCHEMA`), one row for each product."""
    rows = [
        {
            "group": number,
            "group_size": len(group),
            "product_id": one.product.product_id,
            "title": products[one.product.product_id].title if one.product.product_id in products else None,
            "group_id": one.product.group_id,
            "score": one.score,
            "nearest_id": one.nearest_id,
            "nearest_score": one.nearest_score,
            "snapshot_date": one.product.snapshot_date,
        }
        for number, group in enumerate(groups, 1)
        for one in group
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=DUPLICATES_SCHEMA), path, compression="zstd")


def draw_duplicates(
    lake: Lake, settings: Settings, groups: Sequence[Sequence[Duplicate]], *, min_score: float, compared: int
) -> str:
    """Return the page of groups of near-duplicate products.

    Args:
        lake, settings: lake, and allowed roots of photos where they are set.
        groups: result of `jobs.serving.duplicates.find_duplicates`.
        min_score: minimum cosine of a pair.
        compared: number of products that were compared.
    """
    shown = [list(group[:SHOWN_PRODUCTS]) for group in groups[:SHOWN_GROUPS]]
    products = read_titles(lake, shown)
    photos = (find_first_photo(product) for product in products.values())
    maker = open_thumbnails(lake, settings, [photo for photo in photos if photo])
    cards = []
    for group in shown:
        variants = Counter(one.product.group_id for one in group)
        rows = [(one, products.get(one.product.product_id), variants[one.product.group_id] > 1) for one in group]
        cards.append([DuplicateCard(one, row, maker.make(find_first_photo(row)), twice) for one, row, twice in rows])
    return render_page(
        "duplicates.html.j2",
        cards=[(group, len(groups[number])) for number, group in enumerate(cards)],
        groups=len(groups),
        members=sum(len(group) for group in groups),
        compared=compared,
        min_score=min_score,
    )
