"""Finds products and their photos for a page about single products, without Spark and without a catalogue."""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from jobs.lake.store import Lake
from jobs.pages.neighbours import Neighbour
from jobs.pages.product_cards import NeighbourCard, ShownProduct, read_products
from jobs.pages.thumbnails import Picture, ThumbnailMaker
from jobs.settings import Settings
from schemas.uri import folder_uri, local_path


def read_products_of(lake: Lake, dates: Mapping[str, str]) -> dict[str, ShownProduct]:
    """Return products by id; those that the lake does not have are left out.

    Args:
        lake: the lake.
        dates: the snapshot date whose row is read, by product id.
    """
    by_date = defaultdict(list)
    for name, date in dates.items():
        by_date[date].append(name)
    if not lake.exists("products"):  # reading would create it
        return {}
    return {name: row for date, names in by_date.items() for name, row in read_products(lake, date, names).items()}


def open_thumbnails(lake: Lake, settings: Settings, pictures: Iterable[Picture]) -> ThumbnailMaker:
    """Return a maker of the thumbnails of some photos of the lake's products.

    The stage validate has checked each photo against the allowed roots of its date. Without a catalogue at hand, a
    local photo may therefore be read from its own folder, and not through a link that leaves it.

    Args:
        lake, settings: lake, and allowed roots where they are set.
        pictures: photos that the page shows.
    """
    wanted = list(pictures)
    if settings.allowed_roots:
        roots = {folder_uri(root) for root in settings.allowed_roots}
    else:
        roots = {one.uri.rpartition("/")[0] for one in wanted if local_path(one.uri)}
    maker = ThumbnailMaker(lake, tuple(sorted(roots)))
    maker.locate(wanted)
    return maker


def make_hit_cards(
    hits: Iterable[Mapping[str, object]], products: Mapping[str, ShownProduct], maker: ThumbnailMaker
) -> list[NeighbourCard]:
    """Return the cards of hits of a search, each with the first photo of its product.

    Args:
        hits: as `jobs.serving.search.search_products` returns them.
        products: products of the hits.
        maker: makes the thumbnails.
    """
    return [
        NeighbourCard(
            Neighbour(str(hit["product_id"]), str(hit["title"]), float(str(hit["score"]))),
            maker.make(find_first_photo(products.get(str(hit["product_id"])))),
        )
        for hit in hits
    ]


def find_first_photo(product: ShownProduct | None) -> Picture | None:
    """Return the first photo of a product; None without one."""
    return product.photos[0] if product and product.photos else None
