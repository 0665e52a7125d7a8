"""The photos of the rows that check-source shows: their headers, and how hosts answer for those by URL."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from jobs.catalog.extent import estimate_records
from jobs.catalog.head import CatalogHead
from jobs.images.answers import FAILED
from jobs.images.fetcher import FetchPolicy, fetch_photos
from jobs.images.hosts import ForbiddenAddressError
from jobs.images.reading import read_image
from jobs.stages.estimate import FetchEstimate
from moon_model.images import IMAGE_FORMATS, BadImageError
from schemas.uri import is_under, is_web
from validation.reasons import Reason


@dataclass(frozen=True)
class ImageHeader:
    """Width and height (pixels) and format of an image, or `problem`: its reason code and what is wrong.

    A photo by URL that was not asked for has none of them. `size` is the number of bytes of one that was.
    """

    uri: str
    width: int | None = None
    height: int | None = None
    format: str | None = None
    problem: str | None = None
    size: int | None = None


def read_image_headers(uris: Sequence[str], roots: tuple[str, ...], policy: FetchPolicy) -> dict[str, ImageHeader]:
    """Return what the headers of some images say; no pixels are decoded.

    Args:
        uris: Canonical URIs.
        roots: Canonical URIs of the folders that images may come from.
        policy: How hosts are asked. A photo by URL that its rules forbid is not opened and is no problem.
    """
    by_url = {uri for uri in uris if is_web(uri) and is_under(uri, roots)}
    headers = {uri: read_image_header(uri, roots) for uri in dict.fromkeys(uris) if uri not in by_url}
    answers = fetch_photos([uri for uri in sorted(by_url) if _is_allowed(uri, policy)], policy)
    for uri in by_url:
        answer = answers.get(uri)
        if answer is None:
            headers[uri] = ImageHeader(uri)
        elif answer.outcome == FAILED:
            headers[uri] = ImageHeader(uri, problem=f"{answer.reason}: {answer.detail}")
        else:
            headers[uri] = _parse_header(uri, answer.data)
    return headers


def read_image_header(uri: str, roots: tuple[str, ...]) -> ImageHeader:
    """Return what the header of an image that is read in place says."""
    try:
        return _parse_header(uri, read_image(uri, roots))
    except BadImageError as error:
        return ImageHeader(uri, problem=f"{error.reason}: {error.detail}")


def describe_first_fetch(head: CatalogHead, photos: int, photo_bytes: float | None) -> str:
    """Return what the first fetch of all photos by URL of a delivery is expected to need, as a sentence.

    Args:
        head: The first records of the delivery.
        photos: Addresses that these records name.
        photo_bytes: Size of a photo; None where no host was asked.
    """
    records = estimate_records(head)
    if records is None:
        return f"where the delivery names a million: {FetchEstimate(1_000_000, 1_000_000, photo_bytes)}"
    total = photos * records // max(len(head.records), 1)
    extent = "the delivery" if records == len(head.records) else f"the delivery of about {records:,} records"
    return f"{extent}: {FetchEstimate(total, total, photo_bytes)}"


def _is_allowed(uri: str, policy: FetchPolicy) -> bool:
    try:
        policy.rules.check_url(uri)
    except ForbiddenAddressError:
        return False
    return True


def _parse_header(uri: str, data: bytes) -> ImageHeader:
    try:
        with Image.open(io.BytesIO(data), formats=IMAGE_FORMATS) as image:
            return ImageHeader(uri, *image.size, image.format, size=len(data))
    except (OSError, ValueError, SyntaxError, RuntimeError, Image.DecompressionBombError, ImportError) as error:
        return ImageHeader(uri, problem=f"{Reason.IMAGE_UNREADABLE}: {' '.join(str(error).split())[:200]}")
