"""MoonProcessor: from a product to token ids and views, and from several to a padded batch.

Reading order (paper): every image followed by its crop · title · description · category · attributes. Each token
carries the ``Segment`` it comes from; what the template adds between the parts is ``Segment.NONE``, neither
guided nor pooled. Padding happens only when a batch is formed.
"""

import json
import unicodedata
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
from moon_model.product import Product
from moon_model.views import Pixels, ViewProcessor, build_views

MoonBatch = BatchFeature
"""``input_ids``, ``attention_mask``, ``segment_ids`` int64 [B, L] and, with V ≥ 1 views, ``pixel_values`` (compact:
float32 [V, 3, S, S]; qwen2_5_vl: [patches, patch_dim] beside ``image_grid_thw`` int64 [V, 3])."""


@dataclass(frozen=True)
class View:
    """One image of a product and the crop of its core region (None: no region worth a crop).

    Either is a picture, or what ``MoonProcessor.views.prepare`` made of one: whoever shows it often resizes it once.
    """

    image: Image.Image | Pixels
    crop: Image.Image | Pixels | None = None


@dataclass(frozen=True)
class ImageFailure:
    """An image that could not be used: its place in ``Product.images`` and ``BadImage``'s reason and detail."""

    index: int
    reason: str
    detail: str


@dataclass(frozen=True)
class PreparedProduct:
    """One product, ready for a batch; plain arrays, so that it may travel between processes.

    Attributes:
        id: of the product.
        input_ids: int64 [L]; ``config.image_token_id`` where visual tokens go.
        segment_ids: int64 [L], a ``Segment`` for each token.
        views: pixels of all views in reading order.
        failures: images left out, and why.
    """

    id: str
    input_ids: NDArray[np.int64]
    segment_ids: NDArray[np.int64]
    views: tuple[Pixels, ...] = ()
    failures: tuple[ImageFailure, ...] = ()

    @property
    def num_tokens(self) -> int:
        """L, visual tokens included."""
        return len(self.input_ids)

    @property
    def is_empty(self) -> bool:
        """Whether nothing of the product is left to encode: no usable image and no text."""
        return not self.segment_ids.any()


@dataclass(frozen=True)
class InputTemplate:
    """Token ids around the parts of an input, all of them ``Segment.NONE``."""

    start: tuple[int, ...]
    separator: tuple[int, ...]
    before_view: tuple[int, ...] = ()
    after_view: tuple[int, ...] = ()


class MoonProcessor:
    """Turns products into batches for ``MoonModel``.

    Args:
        config: the model's; holds the token budgets, ``max_images`` and the prompt.
        tokenizer: fast tokenizer of the backbone.
        views: image side; None builds the backbone's default.
        lowercase: fold text to lower case before tokenising. None: for the compact backbone only, whose cut
            vocabulary has a row for " pillow" but splits " Pillow" into three.
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
        self.tokenizer.encode_special_tokens = True  # a title that contains "<|im_end|>" is only text
        self.views = views or build_views(config)
        self.lowercase = compact if lowercase is None else lowercase
        self.template = _compact_template() if compact else _qwen_template(config, tokenizer)
        self._prompt = tokenizer.encode(config.prompt, add_special_tokens=False).ids if config.prompt else []

    @classmethod
    def from_pretrained(cls, path: str | Path, config: MoonConfig | None = None, **_: Any) -> Self:
        """Load a processor; keyword arguments that ``AutoProcessor`` passes on besides are ignored.

        Args:
            path: folder (or hub id) with ``tokenizer.json`` and, where ``save_pretrained`` wrote it,
                ``processor_config.json``. A Qwen2.5-VL checkpoint will do.
            config: the model's; None reads it from the same place.

        Raises:
            FileNotFoundError: when there is no ``tokenizer.json``.
        """
        tokenizer, settings = (_find(path, name) for name in (TOKENIZER_FILE, PROCESSOR_FILE))
        if tokenizer is None:
            raise FileNotFoundError(f"{path} has no {TOKENIZER_FILE}: was it written by save_pretrained?")
        config = config or AutoConfig.from_pretrained(path)
        stored: dict[str, Any] = json.loads(settings.read_text()) if settings else {}
        views = build_views(config, stored.get("views"))
        return cls(config, Tokenizer.from_file(str(tokenizer)), views, stored.get("lowercase"))

    def save_pretrained(self, path: str | Path) -> list[str]:
        """Write ``tokenizer.json``, ``processor_config.json`` and ``config.json``; returns the files' names."""
        folder = Path(path)
        folder.mkdir(parents=True, exist_ok=True)
        self.tokenizer.save(str(folder / TOKENIZER_FILE))
        stored = {"processor_class": type(self).__name__, "lowercase": self.lowercase, "views": self.views.settings()}
        (folder / PROCESSOR_FILE).write_text(json.dumps(stored, indent=2) + "\n")
        if not (folder / "config.json").is_file():
            self.config.save_pretrained(folder)
        return [TOKENIZER_FILE, PROCESSOR_FILE, "config.json"]

    def prepare(
        self, product: Product, views: Sequence[View] = (), failures: Sequence[ImageFailure] = ()
    ) -> PreparedProduct:
        """Tokenise one product and resize its views; at most ``config.max_images`` of them are used."""
        pixels: list[Pixels] = []
        ids, segments = [*self.template.start, *self._prompt], [Segment.NONE] * len(self.template.start)
        segments += [Segment.NONE] * len(self._prompt)
        for picture, segment in _reading_order(views[: self.config.max_images]):
            pixels.append(self.views.prepare(picture) if isinstance(picture, Image.Image) else picture)
            inner = [self.config.image_token_id] * self.views.tokens(pixels[-1])
            before, after = self.template.before_view, self.template.after_view
            ids += [*before, *inner, *after]
            segments += [Segment.NONE] * len(before) + [segment] * len(inner) + [Segment.NONE] * len(after)
        started = bool(pixels)
        for part, segment in self._text_parts(product):
            separator = self.template.separator if started else ()
            ids += [*separator, *part]
            segments += [Segment.NONE] * len(separator) + [segment] * len(part)
            started = True
        input_ids, segment_ids = np.asarray(ids, dtype=np.int64), np.asarray(segments, dtype=np.int64)
        return PreparedProduct(product.id, input_ids, segment_ids, tuple(pixels), tuple(failures))

    def __call__(self, prepared: Sequence[PreparedProduct], *, pad_to_multiple_of: int = 1) -> MoonBatch:
        """Pad prepared products to one length on the right and join their views.

        Args:
            prepared: what ``prepare`` returned.
            pad_to_multiple_of: of the batch's length in tokens.

        Raises:
            ValueError: for an empty list, and for a product of which nothing is left to encode.
        """
        if not prepared:
            raise ValueError("a batch needs at least one product")
        if empty := [item.id for item in prepared if item.is_empty]:
            raise ValueError(f"nothing to encode, neither text nor a usable image: {', '.join(empty[:10])}")
        length = round_up(max(item.num_tokens for item in prepared), pad_to_multiple_of)
        batch = {
            "input_ids": _padded([item.input_ids for item in prepared], length, tokenization.PAD_ID),
            "attention_mask": _padded([np.ones_like(item.input_ids) for item in prepared], length, 0),
            "segment_ids": _padded([item.segment_ids for item in prepared], length, Segment.NONE),
        }
        views = [view for item in prepared for view in item.views]
        return MoonBatch(batch | (self.views.collate(views) if views else {}))

    def _text_parts(self, product: Product) -> Iterator[tuple[list[int], Segment]]:
        """Token ids of the parts that are present, each within its budget."""
        config = self.config
        attributes = "  ".join(f"{name}: {value}" for name, value in product.attributes.items())
        category = self._tokenise(" / ".join(product.category))
        parts = (
            (self._tokenise(product.title)[: config.max_title_tokens], Segment.TITLE),
            (self._tokenise(product.description)[: config.max_description_tokens], Segment.TITLE),
            (category[-config.max_category_tokens :], Segment.CATEGORY),  # the leaf says more than the root
            (self._tokenise(attributes)[: config.max_attribute_tokens], Segment.ATTRIBUTE),
        )
        yield from ((ids, segment) for ids, segment in parts if ids)

    def _tokenise(self, text: str) -> list[int]:
        if not text:
            return []
        text = unicodedata.normalize("NFC", text)
        # The leading space gives a word the same token here as in the middle of a sentence.
        return self.tokenizer.encode(" " + (text.lower() if self.lowercase else text), add_special_tokens=False).ids


def round_up(length: int, multiple: int) -> int:
    """Return the smallest multiple that is no less than the length."""
    return -(-length // multiple) * multiple


def _find(path: str | Path, name: str) -> Path | None:
    """Find a file in a folder or a hub repository."""
    if Path(path).is_dir():
        return Path(path) / name if (Path(path) / name).is_file() else None
    found = cached_file(str(path), name, _raise_exceptions_for_missing_entries=False)
    return Path(found) if found else None


def _reading_order(views: Sequence[View]) -> Iterator[tuple[Image.Image | Pixels, Segment]]:
    for view in views:
        yield view.image, Segment.IMAGE
        if view.crop is not None:
            yield view.crop, Segment.CROP


def _padded(rows: Sequence[NDArray[np.int64]], length: int, value: int) -> torch.Tensor:
    """Stack rows of different lengths to int64 [B, length]."""
    stacked = np.full((len(rows), length), value, dtype=np.int64)
    for index, row in enumerate(rows):
        stacked[index, : len(row)] = row
    return torch.from_numpy(stacked)


def _compact_template() -> InputTemplate:
    return InputTemplate(start=(tokenization.START_ID,), separator=(tokenization.SEPARATOR_ID,))


def _qwen_template(config: MoonConfig, tokenizer: Tokenizer) -> InputTemplate:
    base: Any = config.base_config
    start = config.text_config.bos_token_id
    return InputTemplate(
        start=() if start is None else (start,),
        separator=tuple(tokenizer.encode("\n", add_special_tokens=False).ids),
        before_view=(base.vision_start_token_id,),
        after_view=(base.vision_end_token_id,),
    )


AutoProcessor.register(MoonConfig, MoonProcessor, exist_ok=True)
