"""Decoder of untrusted image bytes to upright RGB pixels; all photos of products pass through it.

The header is checked before any pixel is decoded: the format must be one of ``IMAGE_FORMATS`` and the number of pixels
under a limit. The result is what a shop page shows: EXIF orientation applied, transparency on white, the first frame of
an animation.
"""

import io
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError, features

ImageSource = str | Path | bytes | Image.Image

IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", *(("AVIF",) if features.check("avif") else ()))
MIN_PHOTO_SIDE = 8
"""Pixels of the shorter side below which a catalogue's image counts as a spacer or a tracking pixel."""
MAX_PIXELS = 50_000_000
"""Default limit of width × height: the largest photos of today's phones (50 megapixels), 150 MB when decoded."""

_ORIENTATION = 0x0112
_PNG_START, _PNG_TEXTS = b"\x89PNG\r\n\x1a\n", (b"tEXt", b"zTXt", b"iTXt")
_JPEG_END = b"\xff\xd9"
_MAGIC = (b"\xff\xd8", b"\x89PNG", b"RIFF", b"GIF8", b"BM", b"II*\x00", b"MM\x00*")
_AVIF_BOX = b"ftyp"
# Pillow has no exception class of its own for damaged files: it raises whatever its parsers raise.
_DECODE_ERRORS = (
    OSError, ValueError, SyntaxError, EOFError, TypeError, LookupError, ArithmeticError, AttributeError, RuntimeError,
    struct.error, zlib.error,
)  # fmt: skip


class BadImageError(ValueError):
    """An image that cannot be used.

    Attributes:
        reason: ``image_unreadable`` (absent, empty, truncated, corrupt), ``image_too_large`` (too many pixels),
            ``image_too_small`` (under ``min_stored_side``) or ``image_format`` (not one of ``IMAGE_FORMATS``).
        detail: one sentence for the person who corrects the catalogue.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type["BadImageError"], tuple[str, str]]:
        """Make the error picklable between worker processes (the default would pass one argument, not two)."""
        return type(self), (self.reason, self.detail)


def decode_image(
    source: ImageSource, *, max_pixels: int = MAX_PIXELS, min_side: int | None = None, min_stored_side: int = 1
) -> Image.Image:
    """Upright RGB picture of one encoded image.

    Args:
        source: encoded bytes, a path, or a PIL image (whose size is checked and which is normalised in the same way).
        max_pixels: width × height above which the image is refused before it is decoded.
        min_side: pixels of the shorter side that are needed. A JPEG whose shorter side is at least twice as long is
            decoded at 1/2, 1/4 or 1/8 of its size, never below ``min_side``, which is faster. Other formats are
            decoded at full size.
        min_stored_side: pixels of the shorter side below which the image is refused.

    Returns:
        A loaded ``RGB`` image, with ``min_side`` possibly smaller than the stored one. A PIL image that needs no
        change is returned itself.

    Raises:
        BadImageError: the image cannot be used, with one of its four reasons.
    """
    data = None if isinstance(source, Image.Image) else _read_bytes(source)
    image = source if isinstance(source, Image.Image) else _open_image(data or b"")
    _check_size(image, max_pixels, min_stored_side)
    try:
        if image is not source and image.format in ("JPEG", "MPO"):
            image = _load_jpeg(data or b"", image, min_side)
        image.load()
        return _put_on_white(_scale_to_8_bits(_apply_orientation(image)))
    except (*_DECODE_ERRORS, MemoryError) as error:
        raise BadImageError("image_unreadable", _to_one_line(error)) from error


def check_image_start(data: bytes) -> None:
    """Refuse bytes that are empty or do not begin like an accepted format, such as a web page; nothing is parsed.

    Raises:
        BadImageError: image_unreadable or image_format.
    """
    if not data:
        raise BadImageError("image_unreadable", "the file is empty")
    if not data.startswith(_MAGIC) and data[4:8] != _AVIF_BOX:
        raise _make_format_error(data)


def crop_image(image: Image.Image, box: Sequence[float], margin: float = 0.0) -> Image.Image:
    """Part of an image, at least one pixel in size.

    Args:
        image: an upright picture.
        box: (x0, y0, x1, y1) as shares of its width and height, in [0, 1].
        margin: share of the box's own sides added on every side, cut at the picture's edge.

    Raises:
        ValueError: the box is not x0 < x1, y0 < y1 with finite numbers.
    """
    x0, y0, x1, y1 = (float(value) for value in box)
    if not (np.isfinite([x0, y0, x1, y1]).all() and x0 < x1 and y0 < y1):
        raise ValueError(f"a box needs x0 < x1 and y0 < y1, not {tuple(box)}")
    left, right = _to_pixel_range(x0 - margin * (x1 - x0), x1 + margin * (x1 - x0), image.width)
    top, bottom = _to_pixel_range(y0 - margin * (y1 - y0), y1 + margin * (y1 - y0), image.height)
    return image.crop((left, top, right, bottom))


def _check_size(image: Image.Image, max_pixels: int, min_stored_side: int) -> None:
    width, height = image.size
    if min(width, height) < min_stored_side:
        raise BadImageError("image_too_small", f"{width}×{height} pixels, at least {min_stored_side} a side are wanted")
    if width * height > max_pixels:
        detail = f"{width}×{height} is {width * height:,} pixels; at most {max_pixels:,} are decoded"
        raise BadImageError("image_too_large", detail)


def _to_pixel_range(start: float, stop: float, length: int) -> tuple[int, int]:
    """First and end pixel of a range given as shares of a side; inside the side and never empty."""
    first = min(max(round(start * length), 0), length - 1)
    last = min(max(round(stop * length), first + 1), length)
    return first, last


def _read_bytes(source: str | Path | bytes) -> bytes:
    if isinstance(source, bytes):
        return source
    path = Path(source)
    if not path.is_file():
        raise BadImageError("image_unreadable", f"no such file: {path}")
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadImageError("image_unreadable", _to_one_line(error)) from error


def _open_image(data: bytes) -> Image.Image:
    """Image of which only the header is read; its format is decided by the bytes, not by the file's name."""
    if not data:
        raise BadImageError("image_unreadable", "the file is empty")
    try:
        return Image.open(io.BytesIO(_drop_png_texts(data)), formats=IMAGE_FORMATS)
    except Image.DecompressionBombError as error:
        raise BadImageError("image_too_large", _to_one_line(error)) from error
    except UnidentifiedImageError as error:
        if data.startswith(_MAGIC):
            raise BadImageError("image_unreadable", "the header is damaged") from error
        raise _make_format_error(data) from error
    except _DECODE_ERRORS as error:
        raise BadImageError("image_unreadable", _to_one_line(error)) from error


def _make_format_error(data: bytes) -> BadImageError:
    known = f"not one of {', '.join(IMAGE_FORMATS)}; the file starts with {data[:12]!r}"
    return BadImageError("image_format", known)


def _drop_png_texts(data: bytes) -> bytes:
    """A PNG without its text chunks: Pillow refuses large ones and wrong checksums, which no browser looks at."""
    if not data.startswith(_PNG_START) or not any(kind in data for kind in _PNG_TEXTS):
        return data
    kept, position = [_PNG_START], len(_PNG_START)
    while position + 12 <= len(data):
        length = int.from_bytes(data[position : position + 4])
        end = position + 12 + length  # length, type, data and checksum
        if data[position + 4 : position + 8] not in _PNG_TEXTS:
            kept.append(data[position:end])
        position = end
    return b"".join([*kept, data[position:]])


def _load_jpeg(data: bytes, image: Image.Image, min_side: int | None) -> Image.Image:
    """The loaded JPEG; a JPEG in which only the end marker is missing is accepted."""

    def load(jpeg: Image.Image) -> Image.Image:
        if min_side is not None:
            jpeg.draft(None, (min_side, min_side))
        jpeg.load()
        return jpeg

    try:
        return load(image)
    except OSError:
        if "progressive" in image.info:  # whole scans may be missing, which cannot be detected
            raise
        # Complete pixels do not depend on the bytes after them; those of a truncated file do.
        ends = (_JPEG_END, b"\x5a" * 64 + _JPEG_END)
        first, second = (load(Image.open(io.BytesIO(data + end), formats=("JPEG",))) for end in ends)
        if first.tobytes() != second.tobytes():
            raise
        return first


def _apply_orientation(image: Image.Image) -> Image.Image:
    """The image turned by its EXIF orientation; with damaged EXIF unchanged, as in a browser."""
    try:
        turned = image.getexif().get(_ORIENTATION, 1) != 1
        return ImageOps.exif_transpose(image) if turned else image
    except _DECODE_ERRORS:
        return image


def _scale_to_8_bits(image: Image.Image) -> Image.Image:
    """16-bit and 32-bit greys scaled to 8 bits; Pillow's own conversion clips them to white."""
    if not image.mode.startswith(("I", "F")):
        return image
    values = np.nan_to_num(np.asarray(image, dtype=np.float64))
    # The range of I;16 is known; that of a 32-bit grey is not, so its minimum and maximum become black and white.
    low, high = (0.0, 65535.0) if image.mode.startswith("I;16") else (values.min(), values.max())
    scaled = (values - low) * (255.0 / max(high - low, 1e-12))
    grey = Image.fromarray(scaled.round().clip(0, 255).astype(np.uint8))
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):  # the grey that a 16-bit PNG marks as transparent
        grey.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return grey


def _put_on_white(image: Image.Image) -> Image.Image:
    """RGB image with transparent parts (alpha channel or transparent palette entry) on white, as on a shop page."""
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _to_one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return (text or type(error).__name__)[:300]
