"""Tests of decoding: all kinds of images that catalogues deliver, and those that they should not deliver."""

import io
import pickle
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from moon_model.images import IMAGE_FORMATS, MIN_PHOTO_SIDE, BadImageError, crop_image, decode_image

RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def photo(width: int = 64, height: int = 48) -> Image.Image:
    """Red on the left, blue on the right: orientation shows."""
    image = Image.new("RGB", (width, height), BLUE)
    image.paste(RED, (0, 0, width // 2, height))
    return image


def noise(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def is_red(pixel: tuple[int, int, int]) -> bool:
    return pixel[0] > 200 and pixel[2] < 60


def is_blue(pixel: tuple[int, int, int]) -> bool:
    return pixel[2] > 200 and pixel[0] < 60


def png_header(width: int, height: int) -> bytes:
    """A PNG whose header has a size but which has no pixels, so that decoding it would fail."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", IMAGE_FORMATS)
def test_every_allowed_format_decodes_to_rgb(kind: str) -> None:
    image = decode_image(encoded(photo(), kind))
    assert (image.mode, image.size) == ("RGB", (64, 48))
    assert is_red(image.getpixel((8, 24)))
    assert is_blue(image.getpixel((56, 24)))


def test_bytes_path_string_and_pil_agree(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encoded(photo(), "PNG"))
    expected = np.asarray(photo())
    for source in (path, str(path), path.read_bytes(), photo()):
        assert np.array_equal(np.asarray(decode_image(source)), expected)


def test_a_wrong_extension_does_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "really-a-png.jpg"
    path.write_bytes(encoded(photo(), "PNG"))
    assert np.array_equal(np.asarray(decode_image(path)), np.asarray(photo()))


@pytest.mark.parametrize(("width", "height"), [(60_000, 60_000), (20_000, 4_000)])
def test_a_bomb_is_refused_from_its_header(width: int, height: int) -> None:
    with pytest.raises(BadImageError) as caught:
        decode_image(png_header(width, height))
    assert caught.value.reason == "image_too_large"


def test_the_pixel_limit_is_exact_and_holds_for_pil_images_too() -> None:
    data = encoded(photo(10, 10), "PNG")
    assert decode_image(data, max_pixels=100).size == (10, 10)
    for source in (data, photo(10, 10)):
        with pytest.raises(BadImageError, match="10×10"):
            decode_image(source, max_pixels=99)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "image_unreadable"),
        (b"<html>not found</html>", "image_format"),
        (b"%PDF-1.7 ...", "image_format"),
        (b"\xff\xd8\xff\xe0 nothing more", "image_unreadable"),
        (b"\x89PNG\r\n\x1a\n", "image_unreadable"),
        (png_header(8, 8), "image_unreadable"),
    ],
)
def test_what_is_no_image_says_why(data: bytes, reason: str) -> None:
    with pytest.raises(BadImageError) as caught:
        decode_image(data)
    assert caught.value.reason == reason
    assert caught.value.detail


def test_a_format_off_the_list_is_refused() -> None:
    with pytest.raises(BadImageError) as caught:
        decode_image(encoded(photo(), "PPM"))
    assert caught.value.reason == "image_format"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadImageError, match=r"no such file: .*gone\.jpg") as caught:
        decode_image(tmp_path / "gone.jpg")
    assert caught.value.reason == "image_unreadable"


def test_a_truncated_jpeg_is_unreadable() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    data = encoded(noise, "JPEG")
    with pytest.raises(BadImageError) as caught:
        decode_image(data[: len(data) // 2])
    assert caught.value.reason == "image_unreadable"


@pytest.mark.filterwarnings("ignore::UserWarning")
@given(
    st.binary(max_size=200),
    st.sampled_from(IMAGE_FORMATS),
    st.integers(0, 400),
)
def test_damage_anywhere_gives_an_image_or_bad_image(junk: bytes, kind: str, at: int) -> None:
    data = encoded(photo(), kind)
    at = min(at, len(data))
    try:
        image = decode_image(data[:at] + junk + data[at + len(junk) :])
    except BadImageError as error:
        assert error.reason in {"image_unreadable", "image_too_large", "image_format"}
    else:
        assert image.mode == "RGB"


@pytest.mark.parametrize(("orientation", "red_at"), [(1, "left"), (3, "right"), (6, "top"), (8, "bottom")])
def test_exif_orientation_is_applied(orientation: int, red_at: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = decode_image(encoded(photo(), "JPEG", exif=exif))
    width, height = image.size
    assert (width, height) == ((64, 48) if orientation in (1, 3) else (48, 64))
    at = {"left": (4, height // 2), "right": (width - 4, height // 2)}
    at |= {"top": (width // 2, 4), "bottom": (width // 2, height - 4)}
    assert is_red(image.getpixel(at[red_at]))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damaged_exif_leaves_the_photo_as_it_lies() -> None:
    data = encoded(photo(), "JPEG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff")
    assert decode_image(data).size == (64, 48)


def test_alpha_is_composited_on_white() -> None:
    image = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    image.putpixel((1, 1), (255, 0, 0, 255))
    image.putpixel((2, 2), (0, 0, 0, 128))
    result = decode_image(encoded(image, "PNG"))
    assert result.getpixel((0, 0)) == WHITE
    assert result.getpixel((1, 1)) == RED
    assert result.getpixel((2, 2)) == (127, 127, 127)


def test_palette_with_a_transparent_entry() -> None:
    image = Image.new("P", (4, 4), 0)
    image.putpalette([0, 255, 0, 255, 0, 0] + [0] * 762)
    image.putpixel((1, 1), 1)
    result = decode_image(encoded(image, "PNG", transparency=0))
    assert result.getpixel((0, 0)) == WHITE
    assert result.getpixel((1, 1)) == RED
    assert decode_image(encoded(image, "PNG")).getpixel((0, 0)) == (0, 255, 0)


def test_grey_with_alpha() -> None:
    assert decode_image(encoded(Image.new("LA", (3, 3), (0, 0)), "PNG")).getpixel((0, 0)) == WHITE


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_an_animation_gives_its_first_frame(kind: str) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in (RED, BLUE)]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=50, **options)
    assert is_red(decode_image(data).getpixel((8, 8)))


def test_one_pixel() -> None:
    assert decode_image(encoded(Image.new("RGB", (1, 1), RED), "PNG")).getpixel((0, 0)) == RED


def test_cmyk_jpeg() -> None:
    cyan = decode_image(encoded(Image.new("CMYK", (16, 16), (255, 0, 0, 0)), "JPEG")).getpixel((8, 8))
    assert is_blue(cyan)
    assert cyan[1] > 200


def test_sixteen_bit_grey_is_scaled_not_clipped() -> None:
    values = np.full((4, 4), 32768, dtype=np.uint16)
    for kind in ("PNG", "TIFF"):
        assert decode_image(encoded(Image.fromarray(values), kind)).getpixel((0, 0)) == (128, 128, 128)


def test_float_tiff_spans_its_own_range() -> None:
    values = np.linspace(-1, 1, 16, dtype=np.float32).reshape(4, 4)
    image = decode_image(encoded(Image.fromarray(values), "TIFF"))
    assert (image.getpixel((0, 0)), image.getpixel((3, 3))) == ((0, 0, 0), WHITE)


def test_two_colour_images() -> None:
    assert decode_image(encoded(Image.new("1", (4, 4), 1), "PNG")).getpixel((0, 0)) == WHITE


def test_least_side_shrinks_large_jpegs_only() -> None:
    large = photo(1600, 1200)
    assert decode_image(encoded(large, "JPEG"), min_side=300).size == (400, 300)
    assert decode_image(encoded(large, "JPEG"), min_side=700).size == (1600, 1200)
    assert decode_image(encoded(large, "PNG"), min_side=300).size == (1600, 1200)


def test_the_given_pil_image_is_left_alone() -> None:
    image = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    decode_image(image)
    assert image.mode == "RGBA"


def test_bad_image_survives_pickling_between_workers() -> None:
    error = pickle.loads(pickle.dumps(BadImageError("image_format", "a sentence")))  # noqa: S301
    assert (error.reason, error.detail) == ("image_format", "a sentence")


def test_crop_takes_shares_and_margin() -> None:
    image = photo(100, 100)
    assert crop_image(image, (0.2, 0.2, 0.6, 0.4)).size == (40, 20)
    assert crop_image(image, (0.2, 0.2, 0.6, 0.4), margin=0.1).size == (48, 24)
    assert crop_image(image, (0.0, 0.0, 1.0, 1.0), margin=0.5).size == (100, 100)


@given(
    st.tuples(*[st.floats(0, 1) for _ in range(4)]).filter(lambda b: b[0] < b[2] and b[1] < b[3]),
    st.floats(0, 1),
    st.integers(1, 40),
    st.integers(1, 40),
)
def test_a_crop_is_never_empty_and_never_outside(
    box: tuple[float, ...], margin: float, width: int, height: int
) -> None:
    part = crop_image(Image.new("RGB", (width, height)), box, margin)
    assert 1 <= part.width <= width
    assert 1 <= part.height <= height


@pytest.mark.parametrize("box", [(0.5, 0, 0.5, 1), (0.6, 0, 0.5, 1), (0, 0, float("nan"), 1)])
def test_a_degenerate_box_is_refused(box: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="x0 < x1"):
        crop_image(photo(), box)


def test_a_jpeg_lacks_its_end_marker_or_more():
    data = encoded(noise(160, 120), "JPEG")
    whole = decode_image(data)
    assert data.endswith(b"\xff\xd9")
    assert decode_image(data[:-2]).tobytes() == whole.tobytes()
    for cut in (30, len(data) // 2):
        with pytest.raises(BadImageError, match="truncated"):
            decode_image(data[:-cut])


def test_png_texts_are_not_looked_at():
    texts = PngInfo()
    texts.add_text("Comment", "x" * (4 << 20), zip=True)
    data = encoded(noise(40, 30), "PNG", pnginfo=texts)
    plain = decode_image(encoded(noise(40, 30), "PNG")).tobytes()
    assert decode_image(data).tobytes() == plain
    at = data.index(b"zTXt") + 20
    assert decode_image(data[:at] + b"?" + data[at + 1 :]).tobytes() == plain  # its checksum is wrong now


def test_the_transparent_grey_of_a_16_bit_png_is_white():
    greys = np.full((20, 30), 40_000, np.uint16)
    greys[:, :10] = 500
    data = encoded(Image.fromarray(greys), "PNG", transparency=500)
    image = decode_image(data)
    assert image.getpixel((0, 0)) == (255, 255, 255)
    assert image.getpixel((20, 0)) == (156, 156, 156)


@pytest.mark.parametrize("size", [(1, 1), (4000, 1), (7, 40)])
def test_spacers_and_tracking_pixels_are_no_photos(size):
    with pytest.raises(BadImageError, match="image_too_small"):
        decode_image(encoded(Image.new("RGB", size), "PNG"), min_stored_side=MIN_PHOTO_SIDE)
    photo = decode_image(encoded(Image.new("RGB", (8, 8)), "PNG"), min_stored_side=MIN_PHOTO_SIDE)
    assert photo.size == (8, 8)


@pytest.mark.skipif("AVIF" not in IMAGE_FORMATS, reason="this Pillow has no AVIF decoder")
def test_avif_is_read():
    assert decode_image(encoded(noise(64, 48), "AVIF")).size == (64, 48)
