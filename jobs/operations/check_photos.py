"""Checks photos for check-source: image headers for the first products, file existence for the others."""

import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from jobs.catalog.delivery_judge import PhotoVerdict
from jobs.catalog.head import CatalogHead, estimate_records
from jobs.catalog.part_reader import PartReader
from jobs.images.answers import FAILED
from jobs.images.fetcher import FetchPolicy, fetch_photos
from jobs.images.hosts import ForbiddenAddressError
from jobs.images.reading import read_image, read_image_version
from jobs.stages.estimate import FetchEstimate, format_size
from moon_model.images import IMAGE_FORMATS, BadImageError
from schemas.source import MappedRow
from schemas.uri import FILE_SCHEME, is_under, is_web
from validation.reasons import UNREACHED, Reason


@dataclass(frozen=True)
class ImageHeader:
    """Width and height (pixels) and format of an image, or `problem`: a reason code with a description.

    A photo by URL that was not requested has none of these. `size` is the number of bytes of one that was.
    """

    uri: str
    width: int | None = None
    height: int | None = None
    format: str | None = None
    problem: str | None = None
    size: int | None = None


class PhotoCheck:
    """Checks the photos of products, one product after the other; opens those of the first products.

    Args:
        roots: Canonical URIs of the folders that images may come from.
        policy: Rules for requests to hosts.
        max_opened: Number of products whose photos are opened. For others only local files that are missing or
            unreadable are found; photos in object stores and by URL are neither opened nor requested.
        max_images: Photos of a product that the model sees; None: all.

    Attributes:
        headers: Headers of the opened photos, by URI.
        total: Number of photos of all products.
        inside: Photos under the roots that are read in place.
        by_url: Addresses of photos under the roots that a nightly run fetches.
        problems: Number of photos in `inside` with a problem, by reason code.
        examples: Reason code and description of the first problem, by reason code.
        unopened: Photos that were not opened and may turn out to be unusable.
    """

    def __init__(
        self, roots: tuple[str, ...], policy: FetchPolicy, max_opened: int, max_images: int | None = None
    ) -> None:
        self.headers: dict[str, ImageHeader] = {}
        self.total = self.inside = self.unopened = 0
        self.by_url: set[str] = set()
        self.problems: Counter[str] = Counter()
        self.examples: dict[str, str] = {}
        self._roots = roots
        self._policy = policy
        self._max_opened = max_opened
        self._max_images = max_images
        self._products = 0

    def judge(self, row: MappedRow, is_refused: bool) -> PhotoVerdict:
        """Return the verdict on a product's photos that the model would see; a refused row's are only counted."""
        self._products += 1
        problems = [self._find_problem(image.uri) for image in row.images]
        self.total += len(problems)
        found = problems[: self._max_images]
        reasons = [problem.partition(":")[0] for problem in found if problem]
        if not is_refused:
            self.unopened += sum(image.uri not in self.headers for image in row.images[: self._max_images])
        unreached = sum(reason in UNREACHED for reason in reasons)
        return PhotoVerdict(len(found), unreached, is_lost=len(reasons) == len(found) > 0)

    def ask_hosts(self, uris: Sequence[str]) -> None:
        """Open the given photos that are not opened yet: photos by URL, and photos outside the roots."""
        self.headers |= read_image_headers([uri for uri in uris if uri not in self.headers], self._roots, self._policy)

    def describe_store(self) -> str:
        """Return a sentence with the expected size of a store that keeps the photos that are read in place."""
        sizes = [header.size for uri, header in self.headers.items() if header.size and uri not in self.by_url]
        if not sizes:
            return f"the image store will keep {self.inside:,} photos of folders and object stores"
        each = sum(sizes) / len(sizes)
        size = format_size(each * self.inside)
        return f"the image store will keep {self.inside:,} photos of folders and object stores, about {size}"

    def _find_problem(self, uri: str) -> str | None:
        """Return reason code and description of the problem of a photo that is read in place; None for a good one."""
        if not is_under(uri, self._roots):
            return None
        if is_web(uri):
            self.by_url.add(uri)
            return None
        self.inside += 1
        if uri not in self.headers and (self._products <= self._max_opened or self._is_broken_file(uri)):
            self.headers[uri] = read_image_header(uri, self._roots)
        problem = self.headers[uri].problem if uri in self.headers else None
        if problem:
            reason = problem.partition(":")[0]
            self.problems[reason] += 1
            self.examples.setdefault(reason, problem)
        return problem

    def _is_broken_file(self, uri: str) -> bool:
        return uri.startswith(FILE_SCHEME) and read_image_version(uri, self._roots) is None


def read_image_headers(uris: Sequence[str], roots: tuple[str, ...], policy: FetchPolicy) -> dict[str, ImageHeader]:
    """Return the parsed headers of images by URI; no pixels are decoded.

    Args:
        uris: Canonical URIs.
        roots: Canonical URIs of the folders that images may come from.
        policy: Rules for requests to hosts. A photo by URL that they forbid is not opened and is not a problem.
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
    """Return the parsed header of an image that is read in place."""
    try:
        return _parse_header(uri, read_image(uri, roots))
    except BadImageError as error:
        return ImageHeader(uri, problem=f"{error.reason}: {error.detail}")


def describe_first_fetch(head: CatalogHead, reader: PartReader, photos: int, photo_bytes: float | None) -> str:
    """Return a sentence with the expected size and time of the first fetch of a delivery's photos by URL.

    Args:
        head: The first records of the delivery.
        reader: The reader of the delivery, after reading.
        photos: Number of addresses in the records that were read.
        photo_bytes: Mean size of a photo in bytes; None if no host was asked.
    """
    records = reader.rows if reader.is_whole else estimate_records(head)
    if records is None:
        return f"where the delivery names a million: {FetchEstimate(1_000_000, 1_000_000, photo_bytes)}"
    total = photos * records // max(reader.rows, 1)
    extent = "the delivery" if reader.is_whole else f"the delivery of about {records:,} records"
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
