"""Reason codes of refused rows and images (table `quarantine`), each with its meaning."""

from enum import StrEnum
from typing import Self


class Reason(StrEnum):
    """A reason code; `description` is the line that the report and the documentation show.

    The first ten refuse a row in the stage validate, in the order in which they are tested, and no_readable_image
    refuses one in encode. Those that begin with ``image_`` refuse one image of a product that is served without it.
    """

    description: str

    def __new__(cls, code: str, description: str) -> Self:
        """Return a member that equals its code and has a description."""
        member = str.__new__(cls, code)
        member._value_ = code
        member.description = description
        return member

    MALFORMED_ROW = "malformed_row", "the record cannot be read: broken JSON, wrong number of CSV fields, not UTF-8"
    MISSING_ID = "missing_id", "the product id is absent or blank"
    INVALID_CHARACTERS = "invalid_characters", "control characters, or characters that an earlier decoding destroyed"
    EMPTY_TITLE = "empty_title", "the title is absent or has no visible character"
    TEXT_TOO_LONG = "text_too_long", "id, title, description, category or an attribute is over its limit"
    MALFORMED_ATTRIBUTES = "malformed_attributes", "the attributes are not a map of names to values"
    NO_IMAGE = "no_image", "the row names no image"
    TOO_MANY_IMAGES = "too_many_images", "the row names more images than a product may have"
    FORBIDDEN_URI = "forbidden_uri", "an image is outside the allowed roots"
    DUPLICATE_ID = "duplicate_id", "an earlier good row has the same product id"
    NO_READABLE_IMAGE = "no_readable_image", "none of the product's images could be read"
    PRODUCT_KEPT = (
        "product_kept",
        "photos cannot be reached: the complete vector served before stays",
    )
    IMAGE_MISSING = "image_missing", "there is no such image"
    IMAGE_GONE = "image_gone", "the image's host said on three nights that there is no such image"
    IMAGE_UNREACHABLE = "image_unreachable", "the store or host of the image answered with an error, or not at all"
    IMAGE_UNREADABLE = "image_unreadable", "the image is empty, truncated or corrupt, or no file"
    IMAGE_TOO_LARGE = "image_too_large", "the image has more bytes or pixels than may be decoded"
    IMAGE_TOO_SMALL = "image_too_small", "the image is under 8 pixels wide or high: a spacer or a tracking pixel"
    IMAGE_FORMAT = "image_format", "the file is not of an image format that is read"
    IMAGE_FORBIDDEN = "image_forbidden", "the image is a link that leaves the allowed roots"


UNREACHED = (Reason.IMAGE_MISSING, Reason.IMAGE_UNREACHABLE)
"""Reasons for which a photo was not reached: too many of them stop a run."""
