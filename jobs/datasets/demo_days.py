"""Yields what a demo shop lists on each day: products change, appear and disappear."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from demo_shop import DemoProduct, DemoWorld
from jobs.datasets.demo_products import build_catalog_row


@dataclass(frozen=True)
class DailyShares:
    """Shares of a day's products that change, are added and are removed on the next day, each in 0..1."""

    change: float = 0.06
    appear: float = 0.03
    disappear: float = 0.02

    def __post_init__(self) -> None:
        for name in ("change", "appear", "disappear"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"the share of products that {name} must lie in 0..1, not {getattr(self, name)}")


@dataclass(frozen=True, order=True)
class PhotoRef:
    """A photo of the shop: index of the product, number and revision of the photo."""

    index: int
    number: int
    revision: int

    def path(self, world: DemoWorld) -> str:
        """Return the path of the photo, relative to the shop's folder. A new revision is a new file."""
        return f"images/{world.product_id(self.index)}-{self.number}-r{self.revision}.jpg"


@dataclass(frozen=True)
class Listing:
    """How a product is listed: revisions of its texts, and of each replaced photo."""

    index: int
    title_revision: int = 0
    attribute_revision: int = 0
    photo_revisions: dict[int, int] = field(default_factory=dict)

    def product(self, world: DemoWorld) -> DemoProduct:
        """Return the product with the texts of this listing."""
        return world.get_product(
            self.index, title_revision=self.title_revision, attribute_revision=self.attribute_revision
        )

    def photos(self, world: DemoWorld) -> list[PhotoRef]:
        """Return the photos of this listing in the order of the catalogue."""
        count = world.get_product(self.index).images
        return [PhotoRef(self.index, n, self.photo_revisions.get(n, 0)) for n in range(count)]

    def row(self, world: DemoWorld) -> dict[str, Any]:
        """Return the catalogue row."""
        photos = self.photos(world)
        row = build_catalog_row(self.product(world), [photo.path(world) for photo in photos])
        return row | {"image_versions": [str(photo.revision + 1) for photo in photos]}


def iter_listings(world: DemoWorld, products: int, days: int, shares: DailyShares) -> Iterator[list[Listing]]:
    """Yield the listings of each day; the first day lists products 0 to `products` - 1.

    A day does not depend on the number of days that follow.
    """
    today = {index: Listing(index) for index in range(products)}
    unused = products
    yield list(today.values())
    for day in range(1, days):
        rng = np.random.default_rng((world.seed, 4, day))
        leaving = _sample_indices(today, shares.disappear, rng)
        changing = _sample_indices(sorted(set(today) - set(leaving)), shares.change, rng)
        for index in leaving:
            del today[index]
        for place, index in enumerate(changing):
            today[index] = _change_listing(today[index], place, world, rng)
        for index in range(unused, unused + _count_share(products, shares.appear)):
            today[index] = Listing(index)
            unused = index + 1
        yield list(today.values())


def _sample_indices(indices: Any, share: float, rng: np.random.Generator) -> list[int]:
    indices = list(indices)
    return sorted(int(i) for i in rng.choice(indices, size=_count_share(len(indices), share), replace=False))


def _count_share(total: int, share: float) -> int:
    """Return the share as a number of products: at least one if share and total are not 0."""
    return min(max(round(total * share), 1), total) if share > 0 and total else 0


def _change_listing(listing: Listing, place: int, world: DemoWorld, rng: np.random.Generator) -> Listing:
    """Return the listing with a new title, size or photo, in turn, so that each kind occurs every day."""
    if place % 3 == 0:
        return _change_title(listing, world)
    if place % 3 == 1:
        return replace(listing, attribute_revision=listing.attribute_revision + 1)
    number = int(rng.integers(world.get_product(listing.index).images))
    revision = listing.photo_revisions.get(number, 0) + 1
    return replace(listing, photo_revisions={**listing.photo_revisions, number: revision})


def _change_title(listing: Listing, world: DemoWorld) -> Listing:
    """Return the listing under the next title that differs from today's."""
    old = listing.product(world).title
    new = replace(listing, title_revision=listing.title_revision + 1)
    while new.product(world).title == old:
        new = replace(new, title_revision=new.title_revision + 1)
    return new
