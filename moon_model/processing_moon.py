"""MoonProcessor: prepares a product as token ids and views, and joins prepared products to a padded batch.

Reading order (paper): each image followed by its crop · title · description · category · attributes. Each token has
the ``Segment`` that it comes from. Tokens that the template adds between the parts are ``Segment.NONE``: neither
guided nor pooled. Products are padded only when a batch is formed.

Shape letters: B products of a batch, L tokens of a product or of the padded batch, V views, S side of a view.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoProcessor, BatchFeature
from transformers.utils import cached_file

from moon_model import tokenization
from moon_model.configuration_moon import MoonConfig, Segment
from moon_model.fingerprint import PROCESSOR_FILE, TOKENIZER_FILE
from moon_model.product import TEXT_FIELDS, Product, format_texts
from moon_model.views import Pixels, ViewProcessor, build_views

MoonBatch = BatchFeature
"""``input_ids``, ``attention_mask``, ``segment_ids`` int64 [B, L] and, with V ≥ 1 views, ``pixel_values`` (compact:
float32 [V, 3, S, S]; qwen2_5_vl: [patches, patch_dim] and ``image_grid_thw`` int64 [V, 3])."""


@dataclass(frozen=True)
class View:
    """One image of a product and the crop of its core region (None: no crop).

    Both may be pixels that ``MoonProcessor.views.prepare`` made earlier, so that training resizes an image only once.
    """

    image: Image.Image | Pixels
    crop: Image.Image | Pixels | None = None


@dataclass(frozen=True)
class ImageFailure:
    """An image that could not be used: its index in ``Product.images``, and ``BadImageError``'s reason and detail."""

    index: int
    reason: str
    detail: str


@dataclass(frozen=True)
class PreparedProduct:
    """One product, ready for a batch; plain arrays, so that it can be sent between processes.

    Attributes:
        id: id of the product.
        input_ids: int64 [L]; ``config.image_token_id`` at the positions of visual tokens.
        segment_ids: int64 [L], the ``Segment`` of each token.
        views: pixels of all views in reading order.
        failures: images that are left out, with the reasons.
        cut_texts: those of ``TEXT_FIELDS`` that exceeded their budget of tokens.
    """

    id: str
    input_ids: NDArray[np.int64]
    segment_ids: NDArray[np.int64]
    views: tuple[Pixels, ...] = ()
    failures: tuple[ImageFailure, ...] = ()
    cut_texts: tuple[str, ...] = ()

    @property
    def num_tokens(self) -> int:
        """Number of tokens L, including visual ones."""
        return len(self.input_ids)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to encode: no usable image and no text."""
        return not self.segment_ids.any()


@dataclass(frozen=True)
class InputTemplate:
    """Token ids around the parts of an input, all of them ``Segment.NONE``."""

    start: tuple[int, ...]
    separator: tuple[int, ...]
    before_view: tuple[int, ...] = ()
    after_view: tuple[int, ...] = ()


_COMPACT_TEMPLATE = InputTemplate((tokenization.START_ID,), (tokenization.SEPARATOR_ID,))


class MoonProcessor:
    """Prepares products and forms batches for ``MoonModel``.

    Args:
        config: the model's configuration, with the token budgets, ``max_images`` and the prompt.
        tokenizer: fast tokenizer of the backbone.
        views: image preprocessing; None builds the backbone's default.
        lowercase: whether text is converted to lower case before it is tokenised. None: only for the compact backbone
            (``tokenization.is_lowercased``).
    """

    def __init__(
        self,
        config: MoonConfig,
        tokenizer: Tokenizer,
        views: ViewProcessor | None = None,
        lowercase: bool | None = None,
    ) -> None:
        compact = config.backbone == "compact"
        self.config = config
        self.tokenizer = tokenizer
        self.tokenizer.encode_special_tokens = True  # "<|im_end|>" in a title is ordinary text
        self.views = views or build_views(config)
        self.lowercase = tokenization.is_lowercased(lowercase, compact=compact)
        self.template = _COMPACT_TEMPLATE if compact else _build_qwen_template(config, tokenizer)
        self._prompt = tokenizer.encode(config.prompt, add_special_tokens=False).ids if config.prompt else []

    @classmethod
    def from_pretrained(cls, path: str | Path, config: MoonConfig | None = None, **_: Any) -> Self:
        """Load a processor; other keyword arguments, which ``AutoProcessor`` passes, are ignored.

        Args:
            path: folder (or hub id) with ``tokenizer.json`` and, where ``save_pretrained`` wrote it,
                ``processor_config.json``. It may be a Qwen2.5-VL checkpoint.
            config: the model's configuration; None reads it from ``path``.

        Raises:
            FileNotFoundError: there is no ``tokenizer.json``.
        """
        tokenizer = _find_file(path, TOKENIZER_FILE)
        settings = _find_file(path, PROCESSOR_FILE)
        if tokenizer is None:
            raise FileNotFoundError(f"{path} has no {TOKENIZER_FILE}: was it written by save_pretrained?")
        config = config or AutoConfig.from_pretrained(path)
        stored: dict[str, Any] = json.loads(settings.read_text()) if settings else {}
        views = build_views(config, stored.get("views"))
        return cls(config, Tokenizer.from_file(str(tokenizer)), views, stored.get("lowercase"))

    def save_pretrained(self, path: str | Path) -> list[str]:
        """Write ``tokenizer.json``, ``processor_config.json`` and ``config.json``; returns the names of the files."""
        folder = Path(path)
        folder.mkdir(parents=True, exist_ok=True)
        self.tokenizer.save(str(folder / TOKENIZER_FILE))
        views = self.views.get_settings()
        stored = {"processor_class": type(self).__name__, "lowercase": self.lowercase, "views": views}
        (folder / PROCESSOR_FILE).write_text(json.dumps(stored, indent=2) + "\n")
        if not (folder / "config.json").is_file():
            self.config.save_pretrained(folder)
        return [TOKENIZER_FILE, PROCESSOR_FILE, "config.json"]

    def prepare(
        self, product: Product, views: Sequence[View] = (), failures: Sequence[ImageFailure] = ()
    ) -> PreparedProduct:
        """Token ids, segments and resized views of one product.

        Args:
            product: its texts are tokenised; its ``images`` are not read.
            views: images with their crops; the first ``config.max_images`` are used.
            failures: copied to the result.
        """
        template = self.template
        pixels: list[Pixels] = []
        # Start and prompt.
        parts: list[tuple[Sequence[int], Segment]] = [(template.start, Segment.NONE), (self._prompt, Segment.NONE)]
        # Each view: its visual tokens between the template's marks.
        for picture, segment in _iter_pictures(views[: self.config.max_images]):
            pixels.append(self.views.prepare(picture) if isinstance(picture, Image.Image) else picture)
            visual = [self.config.image_token_id] * self.views.count_tokens(pixels[-1])
            parts += [(template.before_view, Segment.NONE), (visual, segment), (template.after_view, Segment.NONE)]
        # Each text that is present, with a separator before it unless it comes first.
        follows = bool(pixels)
        texts, cut_texts = self._cut_texts(product)
        for tokens, segment in texts:
            parts += [(template.separator if follows else (), Segment.NONE), (tokens, segment)]
            follows = True
        # One array of ids and one of segments.
        input_ids = np.asarray([token for tokens, _ in parts for token in tokens], dtype=np.int64)
        segments = np.asarray([segment for _, segment in parts], dtype=np.int64)
        segment_ids = np.repeat(segments, [len(tokens) for tokens, _ in parts])
        return PreparedProduct(product.id, input_ids, segment_ids, tuple(pixels), tuple(failures), cut_texts)

    def __call__(self, prepared: Sequence[PreparedProduct], *, pad_to_multiple_of: int = 1) -> MoonBatch:
        """Batch of prepared products, padded on the right to one length, with their views joined.

        Args:
            prepared: what ``prepare`` returned.
            pad_to_multiple_of: the length L of the batch is a multiple of this number.

        Raises:
            ValueError: the list is empty, or a product has nothing to encode.
        """
        if not prepared:
            raise ValueError("a batch needs at least one product")
        if empty := [item.id for item in prepared if item.is_empty]:
            raise ValueError(f"nothing to encode, neither text nor a usable image: {', '.join(empty[:10])}")
        length = round_up(max(item.num_tokens for item in prepared), pad_to_multiple_of)
        batch = {
            "input_ids": _pad_rows([item.input_ids for item in prepared], length, tokenization.PAD_ID),
            "attention_mask": _pad_rows([np.ones_like(item.input_ids) for item in prepared], length, 0),
            "segment_ids": _pad_rows([item.segment_ids for item in prepared], length, Segment.NONE),
        }
        views = [view for item in prepared for view in item.views]
        return MoonBatch(batch | (self.views.collate(views) if views else {}))

    def _cut_texts(self, product: Product) -> tuple[list[tuple[list[int], Segment]], tuple[str, ...]]:
        """Token ids and segment of each text that is present, cut to its budget; and the names of the cut texts."""
        config = self.config
        whole = [self._tokenise(text) for text in format_texts(product)]
        title, description, category, attributes = whole
        parts = (
            (title[: config.max_title_tokens], Segment.TITLE),
            (description[: config.max_description_tokens], Segment.TITLE),
            (category[-config.max_category_tokens :], Segment.CATEGORY),  # keep the leaf, which is the most specific
            (attributes[: config.max_attribute_tokens], Segment.ATTRIBUTE),
        )
        kept = zip(TEXT_FIELDS, whole, parts, strict=True)
        cut = tuple(name for name, ids, (rest, _) in kept if len(rest) < len(ids))
        return [(ids, segment) for ids, segment in parts if ids], cut

    def _tokenise(self, text: str) -> list[int]:
        return tokenization.encode_text(self.tokenizer, text, lowercase=self.lowercase)


def round_up(length: int, multiple: int) -> int:
    """The smallest multiple of ``multiple`` that is at least ``length``."""
    return -(-length // multiple) * multiple


def _find_file(path: str | Path, name: str) -> Path | None:
    """A file of a folder or a hub repository; None where it is absent."""
    found = cached_file(str(path), name, _raise_exceptions_for_missing_entries=False)
    return Path(found) if found else None


def _iter_pictures(views: Sequence[View]) -> Iterator[tuple[Image.Image | Pixels, Segment]]:
    """Yield images and crops with their segments, each image followed by its crop."""
    for view in views:
        yield view.image, Segment.IMAGE
        if view.crop is not None:
            yield view.crop, Segment.CROP


def _pad_rows(rows: Sequence[NDArray[np.int64]], length: int, value: int) -> torch.Tensor:
    """Rows of different lengths as int64 [B, length], filled up with ``value`` on the right."""
    stacked = np.full((len(rows), length), value, dtype=np.int64)
    for index, row in enumerate(rows):
        stacked[index, : len(row)] = row
    return torch.from_numpy(stacked)


def _build_qwen_template(config: MoonConfig, tokenizer: Tokenizer) -> InputTemplate:
    base: Any = config.base_config
    start = config.text_config.bos_token_id
    newline = tuple(tokenizer.encode("\n", add_special_tokens=False).ids)
    view_marks = ((base.vision_start_token_id,), (base.vision_end_token_id,))
    return InputTemplate(() if start is None else (start,), newline, *view_marks)


AutoProcessor.register(MoonConfig, MoonProcessor, exist_ok=True)
