"""Reads the photo of a query: a file, or a web address under an allowed root."""

from datetime import UTC, datetime
from pathlib import Path

from jobs.catalog.mapping import read_allowed_roots
from jobs.errors import EXIT_TEMPORARY, EXIT_USAGE, MoonError, NightStoppedError
from jobs.settings import Settings
from moon_model.images import BadImageError, decode_image
from schemas.uri import canonicalise_uri, is_web, mask_query
from validation.reasons import Reason


class QueryPhotoError(MoonError):
    """The photo of a query cannot be used."""

    exit_status = EXIT_USAGE


class QueryPhotoUnreachableError(MoonError):
    """The host of a query's photo does not answer: a retry may pass."""

    exit_status = EXIT_TEMPORARY


def read_query_photo(image: str | Path, settings: Settings) -> bytes:
    """Return the bytes of a photo that can be decoded.

    Args:
        image: path of a file, or a web address, which is fetched under the rules of nightly runs.
        settings: allowed roots, or the catalogue whose mapping names them; time limits of requests.

    Raises:
        QueryPhotoError: there is no such file, it is no photo, or the address is not allowed.
        QueryPhotoUnreachableError: the host does not answer.
    """
    text = str(image)
    uri = canonicalise_uri(text, text) if is_web(text.lower()) else ""
    shown = mask_query(uri) if uri else text
    try:
        data = _fetch(uri, settings) if uri else Path(text).expanduser().read_bytes()
        decode_image(data)
    except FileNotFoundError as error:
        raise QueryPhotoError(f"there is no image file {shown}: name another with --image, or an address") from error
    except OSError as error:
        raise QueryPhotoError(f"the photo {shown} cannot be read: {error.strerror or error}") from error
    except BadImageError as error:
        raise QueryPhotoError(
            f"the query cannot be encoded: {shown} is no photo that can be used ({error.reason}: {error.detail})"
        ) from error
    return data


def _fetch(uri: str, settings: Settings) -> bytes:
    from jobs.images.answers import FAILED  # noqa: PLC0415  (its HTTP client is imported only for an address)
    from jobs.images.fetcher import fetch_photos, make_policy  # noqa: PLC0415

    try:
        roots = read_allowed_roots(settings, settings.compute_snapshot_date(datetime.now(UTC)))
    except NightStoppedError as error:
        raise QueryPhotoError(
            f"{mask_query(uri)} is not fetched, because no allowed root is known ({error}): set MOON_ALLOWED_ROOTS, "
            "such as '[\"https://images.example/\"]', or save the photo and name its file"
        ) from error
    result = fetch_photos([uri], make_policy(settings, roots))[uri]
    if result.outcome != FAILED:
        return result.data
    if result.reason == Reason.IMAGE_UNREACHABLE:
        raise QueryPhotoUnreachableError(f"{result.detail}: try again, or save the photo and name its file")
    hint = ": MOON_ALLOWED_ROOTS, or images.roots of the mapping, names the allowed ones"
    raise QueryPhotoError(f"{result.detail}{hint if result.reason == Reason.IMAGE_FORBIDDEN else ''}")
