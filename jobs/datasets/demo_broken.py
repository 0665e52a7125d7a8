"""Makes faulty rows and images for a demo shop: one for each reason code of the quarantine.

Row reasons refuse a row; image reasons (``image_…``) refuse one image of a product that is served without it.
"""

import json
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo_shop import DemoWorld, encode_jpeg, take_photo
from jobs.datasets.demo_products import build_catalog_row
from validation.reasons import Reason

FIRST_BROKEN_INDEX = 900_000  # indices of faulty products: far from those of good ones, the same every day
SMALL_SHOP_PRODUCTS = 200  # below this number a day has only some of the reasons: all would trip every breaker
SMALL_SHOP_REASONS = 8
FORBIDDEN_PATH = "/etc/hostname"  # an example of a file outside the shop's folder
SPOILING_REASONS = (
    Reason.EMPTY_TITLE,
    Reason.MALFORMED_ATTRIBUTES,
)  # these break products that were good the day before

_NOT_SHOWN = (Reason.PRODUCT_KEPT, Reason.IMAGE_GONE, Reason.IMAGE_UNREACHABLE, Reason.IMAGE_TOO_SMALL)
DEMO_REASONS = tuple(reason for reason in Reason if reason not in _NOT_SHOWN)
"""Reasons that occur in the demo shop. Failing image stores are left out; a further reason would change its files."""

CatalogRow = dict[str, Any]


@dataclass(frozen=True)
class BrokenLine:
    """A faulty line of a day's catalogue and the refusal that is expected.

    Attributes:
        line: The text in the file.
        reason: The expected reason code.
        product_id: The id in the line; None if it has none.
        image_index: Index of the refused image; None if the row is refused.
    """

    line: str
    reason: Reason
    product_id: str | None
    image_index: int | None

    def to_expected(self, source_row: int) -> dict[str, Any]:
        """Return the line of expected.jsonl; `served` is whether the product is served with its other images."""
        return {
            "source_row": source_row, "product_id": self.product_id, "image_index": self.image_index,
            "reason": self.reason.value, "served": self.image_index is not None,
        }  # fmt: skip


def choose_reasons(products: int, day: int) -> list[Reason]:
    """Return the reasons that occur on a day: all of them; in a small shop eight, others on each day."""
    if products >= SMALL_SHOP_PRODUCTS:
        return list(DEMO_REASONS)
    at = day * SMALL_SHOP_REASONS
    return [DEMO_REASONS[(at + k) % len(DEMO_REASONS)] for k in range(SMALL_SHOP_REASONS)]


def choose_spoiled_rows(rows: list[CatalogRow], reasons: list[Reason], day: int) -> dict[Reason, int]:
    """Return the index of the good row that is broken for each reason, so that earlier rows of products stay served.

    Empty on the first day. The first row is never chosen, because the duplicate has its id.
    """
    if day == 0 or len(rows) < 1 + len(SPOILING_REASONS):
        return {}
    chosen = [reason for reason in SPOILING_REASONS if reason in reasons]
    return {reason: 1 + (day * len(SPOILING_REASONS) + k) % (len(rows) - 1) for k, reason in enumerate(chosen)}


def make_broken_line(reason: Reason, world: DemoWorld, taken_id: str, row: CatalogRow | None = None) -> BrokenLine:
    """Return a line that must be refused for a reason.

    Args:
        reason: The reason code.
        world: World of the faulty product.
        taken_id: The id of an earlier good row, for the duplicate.
        row: The good row to break; None: the row of another product.
    """
    row = dict(row) if row is not None else _make_row(reason, world)
    image_index = None
    if reason.value.startswith("image_"):
        row["images"][1] = f"images/broken-{reason.value}.jpg"
        image_index = 1
    elif reason is Reason.DUPLICATE_ID:
        row["id"] = taken_id
    elif reason is not Reason.MALFORMED_ROW:
        _BREAK[reason](row)
    line = json.dumps(row, ensure_ascii=False)
    if reason is Reason.MALFORMED_ROW:
        line = line[: len(line) // 2]
    # The id of the line that is cut in half is before the damage.
    return BrokenLine(line, reason, None if reason is Reason.MISSING_ID else row["id"], image_index)


def list_sound_photos(reason: Reason) -> list[tuple[int, int]]:
    """Return (product index, picture number) of the good photos that the faulty row of a reason names."""
    index = FIRST_BROKEN_INDEX + DEMO_REASONS.index(reason)
    return [(index, 0), (index, 2)] if reason.value.startswith("image_") else [(index, 0)]


def write_broken_images(folder: Path, world: DemoWorld) -> None:
    """Write the files of the image reasons into the shop's folder; ``image_missing`` has none."""
    images = folder / "images"
    sound = encode_jpeg(take_photo(world.get_product(FIRST_BROKEN_INDEX), 0).image)
    contents = {
        Reason.IMAGE_UNREADABLE: sound[: len(sound) // 2],
        Reason.NO_READABLE_IMAGE: sound[: len(sound) // 3],
        Reason.IMAGE_TOO_LARGE: _make_huge_png(),
        Reason.IMAGE_FORMAT: b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>\n',
    }
    for reason, content in contents.items():
        path = images / f"broken-{reason.value}.jpg"
        if not path.is_file() or path.read_bytes() != content:
            path.write_bytes(content)
    link = images / f"broken-{Reason.IMAGE_FORBIDDEN.value}.jpg"
    if not link.is_symlink():
        link.unlink(missing_ok=True)
        link.symlink_to(FORBIDDEN_PATH)


def _make_row(reason: Reason, world: DemoWorld) -> CatalogRow:
    product = world.get_product(FIRST_BROKEN_INDEX + DEMO_REASONS.index(reason))
    photos = [f"images/{product.id}-0-r0.jpg"]
    if reason.value.startswith("image_"):
        photos += ["", f"images/{product.id}-2-r0.jpg"]
    return build_catalog_row(product, photos) | {"image_versions": ["1"] * len(photos)}


_BREAK: dict[Reason, Callable[[CatalogRow], None]] = {
    Reason.MISSING_ID: lambda row: row.update(id=None),
    Reason.INVALID_CHARACTERS: lambda row: row.update(title=row["title"] + " \ufffd\x07"),
    Reason.EMPTY_TITLE: lambda row: row.update(title="  "),
    Reason.TEXT_TOO_LONG: lambda row: row.update(description=row["description"] * 1_000),
    Reason.MALFORMED_ATTRIBUTES: lambda row: row.update(attributes="red, striped"),
    Reason.NO_IMAGE: lambda row: row.update(images=[], image_versions=[]),
    Reason.TOO_MANY_IMAGES: lambda row: row.update(images=row["images"] * 60, image_versions=["1"] * 60),
    Reason.FORBIDDEN_URI: lambda row: row.update(images=[f"file://{FORBIDDEN_PATH}"]),
    Reason.NO_READABLE_IMAGE: lambda row: row.update(images=["images/broken-no_readable_image.jpg"]),
}


def _make_huge_png() -> bytes:
    """Return a PNG of a few bytes whose header says 60,000 × 60,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\x00")) + chunk(b"IEND", b"")
