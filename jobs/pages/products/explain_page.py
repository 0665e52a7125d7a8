"""Draws the page of `moon explain`: one product with its photos, what is served of it, and its history."""

from dataclasses import dataclass

from jobs.lake.store import open_lake
from jobs.pages.page import render_page
from jobs.pages.products.explanation_text import describe_fate, describe_place
from jobs.pages.products.product_pictures import find_first_photo, make_hit_cards, open_thumbnails, read_products_of
from jobs.pages.thumbnails import Picture
from jobs.serving.explain import Explanation
from jobs.serving.row_faults import measure_norm
from jobs.settings import Settings
from moon_model.detection.region import Region

SHOWN_PHOTOS = 12


@dataclass(frozen=True)
class PhotoCard:
    """A photo of a product, with the part that the model reads besides it.

    Attributes:
        number: its number from 1.
        photo, crop: thumbnails; None where they cannot be shown.
        region: its region; None if none was looked for.
        reason: why it was refused on the latest date; empty if it was not.
    """

    number: int
    photo: str | None
    crop: str | None
    region: Region | None
    reason: str


def draw_explanation(settings: Settings, found: Explanation) -> str:
    """Return the page of an explanation.

    Args:
        settings: lake, and allowed roots of photos where they are set.
        found: result of `jobs.serving.explain.explain_product`.
    """
    lake = open_lake(settings)
    hits = found.held.neighbours if found.held else []
    near = read_products_of(lake, {hit["product_id"]: hit["snapshot_date"] for hit in hits})
    last = next((one for one in reversed(found.history.dates) if one.product), None)
    photos = [Picture(str(image["uri"]), image["version"]) for image in last.images] if last else []
    firsts = (find_first_photo(product) for product in near.values())
    maker = open_thumbnails(lake, settings, [*photos, *(photo for photo in firsts if photo)])
    reasons = {row["image_index"] + 1: row["reason"] for row in (last.image_refusals if last else [])}
    cards = []
    for number, photo in enumerate(photos[:SHOWN_PHOTOS], 1):
        row = found.regions.get(number)
        region = Region(tuple(row["box"]), row["score"], row["source"]) if row else None
        cut = Picture(photo.uri, photo.version, region.box) if region and not region.is_whole else None
        cards.append(PhotoCard(number, maker.make(photo), maker.make(cut), region, reasons.get(number, "")))
    norms = [(row, measure_norm(row["vector"])) for row in found.history.vectors]
    return render_page(
        "explain.html.j2",
        found=found,
        title=last.product["title"] if last and last.product else found.product_id,
        sentence=describe_place(found),
        photos=cards,
        left_out=len(photos) - len(cards),
        neighbours=make_hit_cards(hits, near, maker),
        dates=[(one, describe_fate(one)) for one in reversed(found.history.dates)],
        vectors=list(reversed(norms)),
    )
