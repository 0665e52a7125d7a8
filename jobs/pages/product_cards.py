"""Shows products of a run with their photos: new and changed ones, canary queries, and the least certain regions.

What is shown is a sample that stays the same for the same run: the products with the smallest hashes of their ids.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
from markupsafe import Markup
from pyspark.sql import functions as F

from jobs.images.versions import locate_images
from jobs.lake.store import Lake
from jobs.pages.neighbours import Neighbour, ServedSample, mark_neighbours, order_by_hash
from jobs.pages.page import render_fragment
from jobs.pages.run_record import RunRecord
from jobs.pages.thumbnails import Picture, ThumbnailMaker
from jobs.state.changes import CHANGED, ENCODED_OPS, NEW
from jobs.state.plan_record import Plan
from jobs.state.run_context import RunContext
from moon_model.detection.region import Region
from schemas.collection import CATEGORY_SEPARATOR
from schemas.product import find_image_key
from schemas.tables import CONTENT_KEY

SHOWN_OF_OP = 8
"""New products, and changed ones, that are shown."""

OLD_DATES = 3
UNCERTAIN = 8
"""Regions with the lowest scores that are shown."""


@dataclass(frozen=True)
class ShownProduct:
    """A row of `products` as far as pages show it; its photos are (uri, version)."""

    product_id: str
    title: str
    category: str
    content_hash: str
    photos: tuple[Picture, ...]


@dataclass(frozen=True)
class NeighbourCard:
    """A neighbour with its thumbnail."""

    near: Neighbour
    thumbnail: str | None


@dataclass(frozen=True)
class ProductCard:
    """A product with all that its card shows.

    Attributes:
        product: the product.
        op: `NEW` or `CHANGED`; empty for a canary query.
        photo, crop: thumbnails of the first photo and of the part that the model reads besides it.
        region: region of that photo; None if it has none.
        neighbours: its nearest products; empty if it is not served with this content.
    """

    product: ShownProduct
    op: str
    photo: str | None
    crop: str | None
    region: Region | None
    neighbours: Sequence[NeighbourCard]


@dataclass(frozen=True)
class RegionCard:
    """A photo with an uncertain region."""

    product_id: str
    title: str
    thumbnail: str | None
    region: Region


def sample_changed(context: RunContext, plan: Plan) -> dict[str, str]:
    """Return the ids of some new and changed products with their ops."""
    changes = context.lake.read(context.spark, "changes", plan.partition)
    changed, new = (order_by_hash(changes.where(F.col("op") == op), SHOWN_OF_OP) for op in (CHANGED, NEW))
    rows = changed.unionByName(new).select("product_id", "op").collect()
    return {row["product_id"]: row["op"] for row in rows}


def read_products(lake: Lake, date: str, ids: Iterable[str]) -> dict[str, ShownProduct]:
    """Return products of a date by id; those that were not delivered then are left out."""
    columns = [*CONTENT_KEY, "title", "category", "images"]
    where = _is_in("product_id", ids)
    rows = lake.read_arrow("products", {"date": date}, columns=columns, where=where).to_pylist()
    return {row["product_id"]: _read_product(row) for row in rows}


def read_near_products(
    context: RunContext, sample: ServedSample, shown: Iterable[str], before: RunRecord | None
) -> dict[str, ShownProduct]:
    """Return the neighbours of some products by id.

    A neighbour that the run's date did not deliver is read from the date of its row, of the latest `OLD_DATES` dates.
    """
    near = {one.product_id for name in shown for one in mark_neighbours(sample, name, before)}
    found = read_products(context.lake, context.date, near)
    older: dict[str, list[str]] = defaultdict(list)
    for name in near - found.keys():
        if name in sample.products:
            older[sample.products[name].snapshot_date].append(name)
    for date in sorted(older, reverse=True)[:OLD_DATES]:
        found |= read_products(context.lake, date, older[date])
    return found


def read_regions(context: RunContext, plan: Plan, photos: Iterable[Picture]) -> dict[Picture, Region]:
    """Return the regions of photos that have one."""
    keys = {find_image_key(photo.uri, photo.version): photo for photo in photos}
    where, partition = _is_in("uri", keys), {"detector_version": plan.detector_version}
    rows = context.lake.read_arrow("regions", partition, where=where).to_pylist()
    return {keys[row["uri"]]: _read_region(row) for row in rows if row["version"] == keys[row["uri"]].version}


def make_cards(
    products: Mapping[str, ShownProduct],
    ops: Mapping[str, str],
    regions: Mapping[Picture, Region],
    sample: ServedSample | None,
    before: RunRecord | None,
    maker: ThumbnailMaker,
) -> list[ProductCard]:
    """Return the cards of products.

    Args:
        products: all products on the page, by id.
        ops: the products that get a card, with their ops.
        regions: regions of photos.
        sample, before: neighbours now, and of the run before; None where they are not known.
        maker: makes the thumbnails.
    """
    cards = []
    for name, op in ops.items():
        product = products.get(name)
        if product is None:
            continue
        photo = product.photos[0] if product.photos else None
        region = regions.get(photo) if photo else None
        cut = Picture(photo.uri, photo.version, region.box) if photo and region and not region.is_whole else None
        near = _find_neighbours(product, sample, before)
        cards.append(
            ProductCard(
                product, op, maker.make(photo), maker.make(cut), region,
                [NeighbourCard(one, maker.make(_first_photo(products.get(one.product_id)))) for one in near],
            )
        )  # fmt: skip
    return cards


def read_uncertain(context: RunContext, plan: Plan) -> list[dict[str, Any]]:
    """Return the photos of the run's new and changed products whose regions have the lowest scores."""
    changes = context.lake.read(context.spark, "changes", plan.partition).where(F.col("op").isin(*ENCODED_OPS))
    products = context.lake.read(context.spark, "products", context.partition).join(changes, CONTENT_KEY, "left_semi")
    images = products.select("product_id", "title", F.explode("images").alias("image"))
    images = images.select("product_id", "title", "image.uri", "image.version")
    located = locate_images(context.spark, context.lake, context.date, images).where("failure is null")
    found = context.lake.read(context.spark, "regions", {"detector_version": plan.detector_version})
    regions = found.select(F.col("uri").alias("key"), "version", "box", "score", "source")
    shown = F.struct("score", "product_id", "title", "uri", "version", "box", "source")
    # A photo that several products share is shown once, with the same product each time.
    photos = located.join(regions, ["key", "version"]).groupBy("key").agg(F.min(shown).alias("shown"))
    rows = photos.select("shown.*", "key").orderBy("score", "product_id", "key").limit(UNCERTAIN).collect()
    return [row.asDict(recursive=True) for row in rows]


def make_region_cards(rows: Sequence[Mapping[str, Any]], maker: ThumbnailMaker) -> list[RegionCard]:
    """Return the cards of rows of `read_uncertain`."""
    return [
        RegionCard(row["product_id"], row["title"], maker.make(Picture(row["uri"], row["version"])), _read_region(row))
        for row in rows
    ]


def draw_products(
    cards: Sequence[ProductCard], canaries: Sequence[ProductCard], uncertain: Sequence[RegionCard], *, note: str = ""
) -> Markup:
    """Return the section of products.

    Args:
        cards: new and changed products.
        canaries: products that the run did not write.
        uncertain: least certain regions.
        note: why neighbours are missing; empty if they are there.
    """
    return render_fragment("_products.html.j2", cards=cards, canaries=canaries, uncertain=uncertain, note=note, new=NEW)


def _is_in(column: str, values: Iterable[str]) -> ds.Expression:
    """Return the condition that a column is one of the values, of which there may be none."""
    return ds.field(column).isin(pa.array(sorted(set(values)), pa.string()))


def _find_neighbours(
    product: ShownProduct, sample: ServedSample | None, before: RunRecord | None
) -> Sequence[Neighbour]:
    """Return the neighbours of a product; none if another content of it is served."""
    served = sample.products.get(product.product_id) if sample else None
    if sample is None or served is None or served.content_hash != product.content_hash:
        return []
    return mark_neighbours(sample, product.product_id, before)


def _read_product(row: Mapping[str, Any]) -> ShownProduct:
    photos = tuple(Picture(image["uri"], image["version"]) for image in row["images"] or ())
    category = f" {CATEGORY_SEPARATOR} ".join(row["category"] or ())
    return ShownProduct(row["product_id"], row["title"], category, row["content_hash"], photos)


def _read_region(row: Mapping[str, Any]) -> Region:
    return Region(tuple(row["box"]), row["score"], row["source"])


def _first_photo(product: ShownProduct | None) -> Picture | None:
    return product.photos[0] if product and product.photos else None
