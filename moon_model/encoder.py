"""MoonEncoder: encodes raw products and queries to vectors, with the same pipeline in services and in Spark jobs.

JPEG bytes → decode → product detector → original and crop → tokens and views → MoonModel → float32 [N, D].
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from rich.progress import track

from moon_model.backbones.compact import CompactBackbone, EfficientNetLite0
from moon_model.backbones.onnx_trunk import OnnxTrunk
from moon_model.collection_contract import AliasClient, WrongEncoderError, read_served_model
from moon_model.detection.configuration import DetectorConfig
from moon_model.detection.detector import ProductDetector
from moon_model.detection.region import Region
from moon_model.fingerprint import combine_version, resolve_model_folder
from moon_model.images import BadImageError, ImageSource, crop_image, decode_image
from moon_model.model_copy import CHECKPOINT, DETECTOR, ModelCopyError, holds_version, open_copy
from moon_model.modeling_moon import MoonModel
from moon_model.processing_moon import ImageFailure, MoonBatch, MoonProcessor, PreparedProduct, View, round_up
from moon_model.product import Product
from moon_model.runtime import DType, hide_progress_bars, resolve_device, resolve_dtype

log = logging.getLogger(__name__)

BATCH_TOKENS = {"cpu": 2_048, "cuda": 65_536}
"""Padded tokens of a batch: on a CPU as many as fit into its caches, on a GPU enough for full utilisation."""

LENGTH_STEP = 16
"""The length of a batch is a multiple of this number of tokens: on a CPU torch caches bfloat16 attention kernels for
every length (docs/decisions/0020-worker-memory.md), and a GPU's tensor cores are faster with it."""

_CHUNK = 64
"""Products that ``encode`` prepares at a time (about 0.3 MB each)."""

ProductLike = Product | Mapping[str, Any]


class Detector(Protocol):
    """Interface of a detector: ``ProductDetector``, ``GroundingDetector`` or your own.

    Attributes:
        version: text that changes whenever the regions may change.
    """

    version: str

    def detect(self, images: Sequence[Image.Image]) -> list[Region]:
        """One region per image, in order."""


class MoonEncoder:
    """Encodes products and queries to vectors of one space, compared by inner product.

    Args:
        model: model in evaluation mode, on its device.
        processor: the processor of this model.
        detector: finds the core product of an image; None: no crops.
        model_version: see ``moon_model.fingerprint``.

    Attributes:
        dim: D, the number of components of a vector.
        model_version: 64 hex digits. Vectors of two versions must never be compared.
        max_images: maximum number of images of a product that are used.
    """

    def __init__(
        self, model: MoonModel, processor: MoonProcessor, detector: Detector | None, model_version: str
    ) -> None:
        self.model = model
        self.processor = processor
        self.detector = detector
        self.model_version = model_version
        self.dim: int = model.config.hidden_size
        self.max_images: int = model.config.max_images
        self.crop_margin = (detector.config if isinstance(detector, ProductDetector) else DetectorConfig()).margin

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path | None = None,
        *,
        detector: "Detector | Literal[False] | None" = None,
        dtype: DType | torch.dtype = "auto",
        device: str | torch.device = "auto",
        threads: int | None = None,
    ) -> Self:
        """Load an encoder.

        Args:
            path: folder of a saved MoonModel with its processor; None is ``checkpoints/moon-tiny``.
            detector: None loads ``checkpoints/detector``, False encodes without crops.
            dtype: "auto" is bfloat16 where the device is faster in it, else float32.
            device: "auto" is the GPU where there is one.
            threads: CPU threads of torch and ONNX Runtime in this process. None does not change torch's setting and
                gives ONNX Runtime one thread.

        Raises:
            FileNotFoundError: the folder holds no model.
            RuntimeError: the requested device is absent.
        """
        folder = resolve_model_folder(path)
        target = resolve_device(device)
        if threads is not None:
            torch.set_num_threads(threads)
        if detector is None:
            detector = ProductDetector.from_pretrained(threads=threads or 1)
        with hide_progress_bars():
            model = MoonModel.from_pretrained(folder, dtype=resolve_dtype(dtype, target)).eval().to(target)
        if target.type == "cpu":
            use_onnx_trunk(model, threads or 1)
        version = combine_version(folder, detector.version if detector else "none")
        return cls(model, MoonProcessor.from_pretrained(folder, model.config), detector or None, version)

    @classmethod
    def for_collection(
        cls,
        client: AliasClient,
        alias: str = "products",
        *,
        path: str | Path | None = None,
        detector: "Detector | Literal[False] | None" = None,
        dtype: DType | torch.dtype = "auto",
        device: str | torch.device = "auto",
        threads: int | None = None,
    ) -> Self:
        """Load the encoder whose vectors a Milvus collection holds; only this encoder may query it.

        Args:
            client: a ``pymilvus.MilvusClient``.
            alias: alias of the collection: the one for readers, or the pinned one of a model version.
            path: folder of the checkpoint on this machine; None: the folder that the collection names or, where that
                holds another model now, the copy in the lake that it names.
            detector, dtype, device, threads: see ``from_pretrained``.

        Raises:
            NothingServedError: the alias names no collection of MOON.
            WrongEncoderError: the checkpoint is missing, or is another model than the collection's.
        """
        served = read_served_model(client, alias)
        folder = path or served.checkpoint
        known = "none" if detector is False else getattr(detector, "version", None)
        try:
            if path is None and served.stored and not holds_version(folder, None, served.model_version, known):
                # The checkpoint's folder is missing or has changed: use the lake's copy of the served files.
                copy = open_copy(served.stored, served.model_version)
                folder = copy / CHECKPOINT
                if detector is None:
                    detector = ProductDetector.from_pretrained(copy / DETECTOR, threads=threads or 1)
            encoder = cls.from_pretrained(folder, detector=detector, dtype=dtype, device=device, threads=threads)
        except (FileNotFoundError, NotADirectoryError, ModelCopyError) as error:
            kept = f" The lake keeps it in {served.stored}." if served.stored else ""
            raise WrongEncoderError(
                f"the checkpoint of the served model {served.model_version[:12]} is not here ({error}): copy it to "
                f"this machine and pass its folder (`path`; for the moon command MOON_MODEL).{kept}"
            ) from error
        served.check(encoder.model_version)
        return encoder

    def collection(self, client: AliasClient, alias: str = "products") -> str:
        """Name of the collection behind an alias, if it holds vectors of this model; takes two small requests.

        Call it before every query, or as often as a change of the model must be detected. A name stays valid after the
        alias has moved, because a collection never changes its model.

        Args:
            client: a ``pymilvus.MilvusClient``.
            alias: alias of the collection.

        Raises:
            NothingServedError: the alias names no collection of MOON.
            WrongEncoderError: the alias names a collection of another model; load its encoder with ``for_collection``.
        """
        served = read_served_model(client, alias)
        served.check(self.model_version)
        return served.collection

    def prepare(self, product: ProductLike, regions: Sequence[Region | None] | None = None) -> PreparedProduct:
        """The product, ready for a batch: decoded, detected, cropped, resized and tokenised. Thread-safe.

        Args:
            product: a Product, or a mapping with its fields.
            regions: the core region of each image, where known (an entry of None: no crop); None: detect them.

        Returns:
            The prepared product. Images that cannot be used raise no error but are listed in its ``failures``.

        Raises:
            ValueError: the product has unknown fields, or there are fewer regions than images.
        """
        product = Product.from_value(product)
        sources = product.images[: self.max_images]
        if regions is not None and len(regions) < len(sources):
            raise ValueError(f"{product.id}: {len(sources)} images, but {len(regions)} regions")
        views: list[View] = []
        failures: list[ImageFailure] = []
        for index, source in enumerate(sources):
            try:
                views.append(self._make_view(source, regions[index] if regions is not None else _DETECT))
            except BadImageError as error:
                failures.append(ImageFailure(index, error.reason, error.detail))
        return self.processor.prepare(product, views, failures)

    @torch.inference_mode()
    def encode_prepared(
        self, prepared: Sequence[PreparedProduct], *, batch_tokens: int | None = None
    ) -> NDArray[np.float32]:
        """Vectors of prepared products: float32 [N, D], rows of length 1, in the order of ``prepared``.

        Args:
            prepared: what ``prepare`` returned.
            batch_tokens: padded tokens of a batch; None: ``BATCH_TOKENS`` of the device. It changes speed and memory,
                not the vectors.

        Raises:
            ValueError: a product has nothing to encode (``PreparedProduct.is_empty``).
        """
        vectors = np.empty((len(prepared), self.dim), dtype=np.float32)
        for rows, batch in self.iter_batches(prepared, batch_tokens=batch_tokens):
            vectors[rows] = self.model(**batch.to(self.model.device)).embedding.cpu().numpy()
        return vectors

    def iter_batches(
        self, prepared: Sequence[PreparedProduct], *, batch_tokens: int | None = None
    ) -> Iterator[tuple[list[int], MoonBatch]]:
        """Yield the batches of ``encode_prepared``: indices into ``prepared``, and their batch on the CPU.

        Args:
            prepared, batch_tokens: see ``encode_prepared``. Each index is yielded once.
        """
        lengths = [round_up(item.num_tokens, LENGTH_STEP) for item in prepared]
        for rows in split_token_batches(lengths, batch_tokens or BATCH_TOKENS[self.model.device.type]):
            yield rows, self.processor([prepared[row] for row in rows], pad_to_multiple_of=LENGTH_STEP)

    def encode(
        self, products: Iterable[ProductLike], *, batch_tokens: int | None = None, progress: bool = False
    ) -> NDArray[np.float32]:
        """Vectors of products from their raw images and texts: float32 [N, D], rows of length 1, in order.

        An image that cannot be used is left out with a warning.

        Args:
            products: Products or mappings with their fields.
            batch_tokens: see ``encode_prepared``.
            progress: whether a progress bar is shown.

        Raises:
            ValueError: a product has neither text nor a usable image.
        """
        waiting = iter(track(products, "encoding", disable=not progress))
        vectors = [np.empty((0, self.dim), dtype=np.float32)]
        while chunk := [self._prepare_with_warnings(product) for product in islice(waiting, _CHUNK)]:
            vectors.append(self.encode_prepared(chunk, batch_tokens=batch_tokens))
        return np.concatenate(vectors)

    def encode_queries(
        self, texts: Sequence[str] | None = None, images: Sequence[ImageSource] | None = None
    ) -> NDArray[np.float32]:
        """Vectors of queries: float32 [N, D], rows of length 1.

        Args:
            texts: one text per query; None: queries by image only.
            images: one image per query; None: queries by text only. With both, text i and image i are one query.

        Raises:
            ValueError: both are None, their numbers differ, or a query is empty or unreadable.
        """
        if texts is None and images is None:
            raise ValueError("encode_queries needs texts, images or both")
        if texts is not None and images is not None and len(texts) != len(images):
            raise ValueError(f"texts and images are zipped to pairs, but there are {len(texts)} and {len(images)}")
        titles = [""] * len(images or ()) if texts is None else texts
        pictures = [[]] * len(titles) if images is None else [[image] for image in images]
        queries = enumerate(zip(titles, pictures, strict=True))
        return self.encode(Product(f"query {index}", title, images=shown) for index, (title, shown) in queries)

    def _make_view(self, source: ImageSource, region: "Region | Literal['detect'] | None") -> View:
        """Decoded image with the crop of its region; without a region, or for the whole image, without a crop."""
        image = decode_image(source, min_side=self.processor.views.min_side)
        if region == _DETECT:
            region = self.detector.detect([image])[0] if self.detector else None
        if region is None or region.is_whole:
            return View(image)
        return View(image, crop_image(image, region.box, self.crop_margin))

    def _prepare_with_warnings(self, product: ProductLike) -> PreparedProduct:
        prepared = self.prepare(product)
        for failure in prepared.failures:
            log.warning("%s: image %d is left out (%s: %s)", prepared.id, failure.index, failure.reason, failure.detail)
        if prepared.is_empty:
            reasons = "; ".join(f"{failure.reason}: {failure.detail}" for failure in prepared.failures)
            raise ValueError(f"{prepared.id} has neither text nor a usable image. {reasons}".strip())
        return prepared


_DETECT: Literal["detect"] = "detect"
"""Value for a region that is not known yet."""


def split_token_batches(lengths: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Yield batches of items of similar length, so that little padding is computed.

    Args:
        lengths: tokens of each item.
        batch_tokens: maximum padded tokens of a batch (items × longest); a longer item is a batch of its own.

    Yields:
        Indices into ``lengths``, each exactly once, shortest items first; ties in their order in ``lengths``.
    """
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and (len(batch) + 1) * lengths[index] > batch_tokens:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def use_onnx_trunk(model: MoonModel, threads: int = 1) -> None:
    """Replace a compact model's EfficientNet by ``OnnxTrunk``; other models are not changed."""
    backbone = model.backbone
    if isinstance(backbone, CompactBackbone) and isinstance(backbone.vision.trunk, EfficientNetLite0):
        backbone.vision.trunk = OnnxTrunk(backbone.vision.trunk, threads)
