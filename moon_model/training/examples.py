"""From the items of pairs to what the processor gives the model: images read, cropped, resized, tokenised ahead."""

import logging
from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path

from moon_model.detection.configuration import DetectorConfig
from moon_model.detection.region import Box
from moon_model.images import BadImageError, ImageSource, crop_image, decode_image
from moon_model.processing_moon import ImageFailure, MoonProcessor, PreparedProduct, View
from moon_model.training.pairs import PairDataError, TrainingItem

log = logging.getLogger(__name__)

_FILE = "file://"


class Examples:
    """Prepares items with the regions they carry; reads images from allowed folders alone.

    Args:
        processor: the model's.
        image_roots: folders that images must lie in, links followed; a relative path is looked up in the first.
        crop_margin: as the detector's configuration says.
        pool: threads that prepare a batch; None: in place.
        keep_photos: so many photos are read once and kept in memory as small as the model sees them.

    Raises:
        PairDataError: a root is no folder.
    """

    def __init__(
        self,
        processor: MoonProcessor,
        image_roots: Sequence[Path],
        *,
        crop_margin: float | None = None,
        pool: Executor | None = None,
        keep_photos: int = 0,
    ) -> None:
        if missing := [str(root) for root in image_roots if not root.is_dir()]:
            raise PairDataError(f"data.image_roots: no such folder: {', '.join(missing)}")
        self.processor = processor
        self.roots = [root.resolve() for root in image_roots]
        self.margin = DetectorConfig().margin if crop_margin is None else crop_margin
        self._pool = pool
        self._keep, self._kept = keep_photos, dict[tuple[str, Box | None], View]()

    def prepare(self, items: Sequence[TrainingItem]) -> list[PreparedProduct]:
        """Prepare items in order.

        Raises:
            PairDataError: an item has neither text nor a readable image, or names an image outside the roots.
        """
        mapped = self._pool.map(self.prepare_one, items) if self._pool else map(self.prepare_one, items)
        return list(mapped)

    def prepare_one(self, item: TrainingItem) -> PreparedProduct:
        """Prepare one item; an image that cannot be used is left out with a warning."""
        views: list[View] = []
        failures: list[ImageFailure] = []
        limit = self.processor.config.max_images
        for index, source in enumerate(item.product.images[:limit]):
            region = item.regions[index] if index < len(item.regions) else None
            try:
                views.append(self._view(source, region))
            except BadImageError as error:
                failures.append(ImageFailure(index, error.reason, error.detail))
                log.warning("%s: image %d is left out of training: %s", item.product.id, index, error)
        prepared = self.processor.prepare(item.product, views, failures)
        if prepared.is_empty:
            raise PairDataError(f"{item.product.id} (identity {item.identity}) has neither text nor a readable image")
        return prepared

    def _view(self, source: ImageSource, region: Box | None) -> View:
        name = (str(source), region) if isinstance(source, str | Path) else None
        if name in self._kept:
            return self._kept[name]
        place = self._allowed(source) if isinstance(source, str | Path) else source
        image = decode_image(place, min_side=self.processor.views.min_side)
        part = None if region is None else crop_image(image, region, self.margin)
        if name is None or len(self._kept) >= self._keep:
            return View(image, part)
        small = self.processor.views.prepare
        view = self._kept[name] = View(small(image), None if part is None else small(part))
        return view

    def _allowed(self, source: str | Path) -> Path:
        """Return the file behind a URI or path, links resolved, if it lies inside a root."""
        text = str(source).removeprefix(_FILE)
        if "://" in text:
            raise PairDataError(f"training reads images from local folders only, not {source}; copy them first")
        path = (self.roots[0] / text).resolve()  # an absolute path replaces the root
        if not any(path.is_relative_to(root) for root in self.roots):
            raise PairDataError(f"{source} lies outside data.image_roots ({', '.join(map(str, self.roots))})")
        return path
