"""Shows refused products, and products that are served without one of their photos, with the reason."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from markupsafe import Markup
from pyspark.sql import Window
from pyspark.sql import functions as F

from jobs.pages.page import render_fragment
from jobs.pages.product_cards import ShownProduct, read_products
from jobs.pages.thumbnails import Picture, ThumbnailMaker
from jobs.state.run_context import RunContext
from validation.reasons import Reason

SHOWN_OF_REASON = 4
MAX_SHOWN = 32


@dataclass(frozen=True)
class RefusedCard:
    """A refused row, or a refused photo of a product that is served without it.

    Attributes:
        product_id, title: the product as far as the row names it.
        reason, description, detail: reason code, its meaning, and what is wrong here.
        place: which row or photo.
        thumbnail: the product's first photo that can be shown.
        is_partial: whether the product is served all the same.
    """

    product_id: str
    title: str
    reason: str
    description: str
    detail: str
    place: str
    thumbnail: str | None
    is_partial: bool


def read_refused(context: RunContext) -> list[dict[str, Any]]:
    """Return some refused rows and photos of a date, a few of each reason, always the same ones."""
    rows = context.lake.read(context.spark, "quarantine", context.refused)
    without = rows.where(F.col("reason").isin(Reason.NO_READABLE_IMAGE, Reason.PRODUCT_KEPT)).select("product_id")
    rows = rows.where("image_index is null").unionByName(
        rows.where("image_index is not null").join(without, "product_id", "left_anti")
    )
    order = Window.partitionBy("reason").orderBy(F.xxhash64("product_id", "source_row"), "image_index", "stage")
    few = rows.withColumn("place", F.row_number().over(order)).where(F.col("place") <= SHOWN_OF_REASON)
    found = few.orderBy("place", "reason", "source_row", "image_index").limit(MAX_SHOWN).collect()
    return sorted((row.asDict() for row in found), key=lambda row: (row["reason"], row["place"]))


def draw_refused(context: RunContext, maker: ThumbnailMaker) -> Markup:
    """Return thumbnails of refused and partial products with the reasons; also for a run that was stopped."""
    rows = read_refused(context)
    partial = {row["product_id"] for row in rows if row["image_index"] is not None and row["product_id"]}
    products = read_products(context.lake, context.date, partial)
    documents = [_read_document(row["row"]) for row in rows]
    pictures = [
        _list_pictures(row, document, products.get(row["product_id"] or ""))
        for row, document in zip(rows, documents, strict=True)
    ]
    maker.locate(picture for found in pictures for picture in found)
    cards = [
        _make_card(row, document, products.get(row["product_id"] or ""), _make_first(maker, found))
        for row, document, found in zip(rows, documents, pictures, strict=True)
    ]
    return render_fragment(
        "_refused.html.j2",
        refused=[card for card in cards if not card.is_partial],
        partial=[card for card in cards if card.is_partial],
    )


def _read_document(text: str | None) -> dict[str, Any]:
    """Return the delivered row or photo that `quarantine` has as JSON; empty if it is not a JSON object."""
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _list_pictures(row: dict[str, Any], document: dict[str, Any], product: ShownProduct | None) -> list[Picture]:
    """Return the photos to try: the refused one first, because seeing it often explains the refusal."""
    images = [document] if row["image_index"] is not None else document.get("images")
    delivered = [
        Picture(image["uri"], image.get("version"))
        for image in (images if isinstance(images, list) else [])
        if isinstance(image, dict) and isinstance(image.get("uri"), str)
    ]
    return [*delivered[:2], *(product.photos[:2] if product else ())]


def _make_first(maker: ThumbnailMaker, pictures: Sequence[Picture]) -> str | None:
    return next((uri for picture in pictures if (uri := maker.make(picture)) is not None), None)


def _make_card(
    row: dict[str, Any], document: dict[str, Any], product: ShownProduct | None, thumbnail: str | None
) -> RefusedCard:
    is_partial = row["image_index"] is not None
    uri = document.get("uri")
    name = urlsplit(uri).path.rpartition("/")[2] if isinstance(uri, str) else ""
    photo = f"photo {(row['image_index'] or 0) + 1}" + (f": {name}" if name else "")
    title = product.title if product else document.get("title")
    return RefusedCard(
        product_id=row["product_id"] or "",
        title=title.strip() if isinstance(title, str) else "",
        reason=row["reason"],
        description=Reason[row["reason"].upper()].description,
        detail=(row["detail"] or "").removeprefix(f"{row['reason']}: "),
        place=photo if is_partial else f"row {row['source_row']}",
        thumbnail=thumbnail,
        is_partial=is_partial,
    )
