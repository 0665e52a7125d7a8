"""From untrusted image bytes to upright RGB pixels: the one door through which photos enter.

A catalogue's photos come from thousands of strangers, so the header is judged before a pixel is decoded: the
format must be on a short list and the pixel count under a limit. What a shop would show is what the model
sees: EXIF orientation applied, alpha composited on white, the first frame of an animation.
"""

import io
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

ImageSource = str | Path | bytes | Image.Image

IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
MAX_PIXELS = 50_000_000
"""Default limit: the largest photos phones take today (50 megapixels), 150 MB once decoded."""

_ORIENTATION = 0x0112
_MAGIC = (b"\xff\xd8", b"\x89PNG", b"RIFF", b"GIF8", b"BM", b"II*\x00", b"MM\x00*")
# Pillow reports damage with whatever its parsers raise, not with one class of its own.
_DECODE_ERRORS = (
    OSError, ValueError, SyntaxError, EOFError, TypeError, LookupError, ArithmeticError, AttributeError,
    struct.error, zlib.error,
)  # fmt: skip


class BadImageError(ValueError):
    """An image that cannot be used.

    Attributes:
        reason: ``image_unreadable`` (absent, empty, truncated, corrupt), ``image_too_large`` (too big)
            or ``image_format`` (not one of ``IMAGE_FORMATS``).
        detail: one sentence for the person who must mend the catalogue.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type["BadImageError"], tuple[str, str]]:
        """Survive the trip between worker processes (the default would pass one argument, not two)."""
        return type(self), (self.reason, self.detail)


def decode_image(source: ImageSource, *, max_pixels: int = MAX_PIXELS, min_side: int | None = None) -> Image.Image:
    """Decode one image into an upright RGB picture.

    Args:
        source: encoded bytes, a path, or a PIL image (checked for size, then normalised in the same way).
        max_pixels: width × height above which the image is refused, before anything is decoded.
        min_side: let the JPEG decoder skip detail: a photo whose shorter side is at least twice this many
            pixels is decoded at 1/2, 1/4 or 1/8 of its size, never below ``min_side``. Other formats
            ignore it.

    Returns:
        A loaded ``RGB`` image; with ``min_side`` possibly smaller than the header says. A PIL image that
        needs no change is returned itself.

    Raises:
        BadImage: with one of its three reasons.
    """
    image = source if isinstance(source, Image.Image) else _open(source)
    width, height = image.size
    if width * height > max_pixels:
        detail = f"{width}×{height} is {width * height:,} pixels; at most {max_pixels:,} are decoded"
        raise BadImageError("image_too_large", detail)
    try:
        if min_side is not None and image is not source and image.format in ("JPEG", "MPO"):
            image.draft(None, (min_side, min_side))
        image.load()
        return _on_white(_eight_bit(_upright(image)))
    except (*_DECODE_ERRORS, MemoryError) as error:
        raise BadImageError("image_unreadable", _one_line(error)) from error


def crop_image(image: Image.Image, box: Sequence[float], margin: float = 0.0) -> Image.Image:
    """Cut a region out of an image.

    Args:
        image: the picture, upright.
        box: (x0, y0, x1, y1) as shares of its width and height, in [0, 1].
        margin: added on every side, as a share of the box's own sides; cut off at the picture's edge.

    Returns:
        The region, at least one pixel in size.

    Raises:
        ValueError: when the box is not x0 < x1, y0 < y1 with finite numbers.
    """
    x0, y0, x1, y1 = (float(value) for value in box)
    if not (np.isfinite([x0, y0, x1, y1]).all() and x0 < x1 and y0 < y1):
        raise ValueError(f"a box needs x0 < x1 and y0 < y1, not {tuple(box)}")
    left, right = _pixels(x0 - margin * (x1 - x0), x1 + margin * (x1 - x0), image.width)
    top, bottom = _pixels(y0 - margin * (y1 - y0), y1 + margin * (y1 - y0), image.height)
    return image.crop((left, top, right, bottom))


def _pixels(start: float, stop: float, length: int) -> tuple[int, int]:
    """Turn shares of a side into a pixel range inside it that is never empty."""
    first = min(max(round(start * length), 0), length - 1)
    last = min(max(round(stop * length), first + 1), length)
    return first, last


def _open(source: str | Path | bytes) -> Image.Image:
    """Read the header only; the name's extension plays no part, the bytes decide."""
    if isinstance(source, bytes):
        data = source
    else:
        path = Path(source)
        if not path.is_file():
            raise BadImageError("image_unreadable", f"no such file: {path}")
        try:
            data = path.read_bytes()
        except OSError as error:
            raise BadImageError("image_unreadable", _one_line(error)) from error
    if not data:
        raise BadImageError("image_unreadable", "the file is empty")
    try:
        return Image.open(io.BytesIO(data), formats=IMAGE_FORMATS)
    except Image.DecompressionBombError as error:
        raise BadImageError("image_too_large", _one_line(error)) from error
    except UnidentifiedImageError as error:
        if data.startswith(_MAGIC):
            raise BadImageError("image_unreadable", "the header is damaged") from error
        known = f"not one of {', '.join(IMAGE_FORMATS)}; the file starts with {data[:12]!r}"
        raise BadImageError("image_format", known) from error
    except _DECODE_ERRORS as error:
        raise BadImageError("image_unreadable", _one_line(error)) from error


def _upright(image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation. With damaged EXIF a photo stays as it lies, as in a browser."""
    try:
        turned = image.getexif().get(_ORIENTATION, 1) != 1
        return ImageOps.exif_transpose(image) if turned else image
    except _DECODE_ERRORS:
        return image


def _eight_bit(image: Image.Image) -> Image.Image:
    """Scale 16-bit and 32-bit greys to 8 bits; Pillow's own conversion clips them to white."""
    if not image.mode.startswith(("I", "F")):
        return image
    values = np.nan_to_num(np.asarray(image, dtype=np.float64))
    # I;16 states its range; a 32-bit grey does not, so its own extremes stand for black and white.
    low, high = (0.0, 65535.0) if image.mode.startswith("I;16") else (values.min(), values.max())
    scaled = (values - low) * (255.0 / max(high - low, 1e-12))
    return Image.fromarray(scaled.round().clip(0, 255).astype(np.uint8))


def _on_white(image: Image.Image) -> Image.Image:
    """Composite alpha (a channel, or a palette's transparent entry) on white, as a shop page would."""
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return (text or type(error).__name__)[:300]
