"""Prepared products for training: images read from allowed folders, cropped and resized, and texts tokenised."""

import logging
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import KW_ONLY, dataclass
from pathlib import Path

from moon_model.detection.configuration import DetectorConfig
from moon_model.detection.region import Box
from moon_model.images import BadImageError, ImageSource, crop_image, decode_image
from moon_model.processing_moon import ImageFailure, MoonProcessor, PreparedProduct, View
from moon_model.training.pairs import PairDataError, TrainingItem

log = logging.getLogger(__name__)


@dataclass(eq=False, repr=False)
class Examples:
    """Prepares items with the stored regions of their images; reads images only from allowed folders.

    Args:
        processor: processor of the model.
        image_roots: folders that must contain all images, links resolved. Relative paths start at the first.
        pool: threads that prepare a batch; None: the calling thread.
        keep_photos: number of photos that are kept in memory in the size the model reads.

    Raises:
        PairDataError: a root is not a folder.
    """

    processor: MoonProcessor
    image_roots: Sequence[Path]
    _: KW_ONLY
    pool: Executor | None = None
    keep_photos: int = 0

    def __post_init__(self) -> None:
        if missing := [str(root) for root in self.image_roots if not root.is_dir()]:
            raise PairDataError(f"data.image_roots: no such folder: {', '.join(missing)}")
        self.roots = [root.resolve() for root in self.image_roots]
        self.margin = DetectorConfig().margin
        self._kept: dict[tuple[str, Box | None], View] = {}

    def prepare(self, items: Sequence[TrainingItem]) -> list[PreparedProduct]:
        """Return the prepared items in order.

        Raises:
            PairDataError: an item has neither text nor a readable image, or an image is outside the roots.
        """
        return list(self.pool.map(self.prepare_one, items) if self.pool else map(self.prepare_one, items))

    def prepare_one(self, item: TrainingItem) -> PreparedProduct:
        """Return one prepared item. An image that cannot be read is left out with a warning."""
        views: list[View] = []
        failures: list[ImageFailure] = []
        for index, source in enumerate(item.product.images[: self.processor.config.max_images]):
            region = item.regions[index] if index < len(item.regions) else None
            try:
                views.append(self._read_view(source, region))
            except BadImageError as error:
                failures.append(ImageFailure(index, error.reason, error.detail))
                log.warning("%s: image %d is left out of training: %s", item.product.id, index, error)
        prepared = self.processor.prepare(item.product, views, failures)
        if prepared.is_empty:
            raise PairDataError(f"{item.product.id} (identity {item.identity}) has neither text nor a readable image")
        return prepared

    def _read_view(self, source: ImageSource, region: Box | None) -> View:
        """Return an image and the crop of its region; both are resized when they are kept in memory."""
        key = (str(source), region) if isinstance(source, str | Path) else None
        if key in self._kept:
            return self._kept[key]
        readable = self._resolve_path(source) if isinstance(source, str | Path) else source
        image = decode_image(readable, min_side=self.processor.views.min_side)
        crop = None if region is None else crop_image(image, region, self.margin)
        if key is None or len(self._kept) >= self.keep_photos:
            return View(image, crop)
        resize = self.processor.views.prepare
        view = self._kept[key] = View(resize(image), None if crop is None else resize(crop))
        return view

    def _resolve_path(self, source: str | Path) -> Path:
        """Return the file of a URI or path with links resolved, if it is inside a root."""
        text = str(source).removeprefix("file://")
        if "://" in text:
            raise PairDataError(f"training reads images from local folders only, not {source}; copy them first")
        path = (self.roots[0] / text).resolve()  # an absolute path replaces the root
        if not any(path.is_relative_to(root) for root in self.roots):
            raise PairDataError(f"{source} is outside data.image_roots ({', '.join(map(str, self.roots))})")
        return path
