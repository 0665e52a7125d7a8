"""Draws the page of `moon search --html`: the query and its hits with photos."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jobs.lake.store import open_lake
from jobs.pages.page import render_page
from jobs.pages.products.product_pictures import find_first_photo, open_thumbnails, read_products_of
from jobs.pages.thumbnails import make_thumbnail
from jobs.settings import Settings
from moon_model.images import BadImageError

log = logging.getLogger(__name__)

SHOWN_HITS = 200


def draw_search(
    settings: Settings,
    hits: Sequence[Mapping[str, Any]],
    *,
    text: str | None = None,
    image: str | Path | None = None,
    expression: str = "",
) -> str:
    """Return the page of a search.

    Args:
        settings: lake, alias, and allowed roots of photos where they are set.
        hits: as `jobs.serving.search.search_products` returns them.
        text, image, expression: the query: words, path or URL of a photo, and filter.
    """
    lake, shown = open_lake(settings), hits[:SHOWN_HITS]
    products = read_products_of(lake, {str(hit["product_id"]): str(hit["snapshot_date"]) for hit in shown})
    photos = (find_first_photo(product) for product in products.values())
    maker = open_thumbnails(lake, settings, [photo for photo in photos if photo])
    cards = [(hit, maker.make(find_first_photo(products.get(str(hit["product_id"]))))) for hit in shown]
    return render_page(
        "search.html.j2",
        alias=settings.alias,
        query=text or str(image),
        photo=_show_query(image),
        expression=expression,
        cards=cards,
        left_out=len(hits) - len(shown),
    )


def _show_query(image: str | Path | None) -> str | None:
    """Return the thumbnail of a query's photo; None for a URL, which a page does not ask for, and where it is none."""
    if image is None or not Path(image).is_file():
        return None
    try:
        return make_thumbnail(Path(image).read_bytes())
    except BadImageError as error:
        log.info("no thumbnail of the query: %s", error)
        return None
