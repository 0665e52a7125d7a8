"""Request and result types for photos by URL, and the classification of hosts' failures by reason.

Source: docs/decisions/0043-photos-by-url.md.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import aiohttp

from jobs.images.hosts import ForbiddenAddressError
from schemas.uri import mask_query
from validation.reasons import Reason

FETCHED, NOT_MODIFIED, FAILED = "fetched", "not_modified", "failed"

MAX_RETRY_AFTER = 20.0
"""Maximum Retry-After in seconds that is waited for; with a longer one the photo is requested in another run."""

_GONE_STATUSES = (404, 410)


@dataclass(frozen=True)
class FetchRequest:
    """A photo to request.

    Attributes:
        uri: Canonical address.
        etag, last_modified: Validators of its last answer.
        is_known: Whether a photo of this address is stored: a new one replaces it only if it can be decoded.
    """

    uri: str
    etag: str | None = None
    last_modified: str | None = None
    is_known: bool = False


@dataclass(frozen=True)
class FetchResult:
    """Result of a request to a host.

    Attributes:
        request: The request.
        outcome: fetched (data is set), not_modified or failed.
        reason, cause, detail: For a failure: reason code, a short cause such as ``503`` or ``timeout``, a sentence.
        etag, last_modified: Validators for the next request.
        is_asked: False if requests to the host were stopped before this photo's turn.
    """

    request: FetchRequest
    outcome: str
    data: bytes = b""
    reason: str = ""
    cause: str = ""
    detail: str = ""
    etag: str | None = None
    last_modified: str | None = None
    is_asked: bool = True


class FetchError(Exception):
    """One photo's failure inside the fetcher.

    Attributes:
        result: Result of the request.
        wait: Seconds after which it may be retried; None: no retry.
    """

    def __init__(self, result: FetchResult, wait: float | None = None) -> None:
        super().__init__(result.detail)
        self.result = result
        self.wait = wait


def fail(request: FetchRequest, reason: str, cause: str, detail: str) -> FetchResult:
    """Return a failure; its detail begins with the address, without secrets."""
    return FetchResult(request, FAILED, reason=reason, cause=cause, detail=f"{mask_query(request.uri)}: {detail}")


def explain_status(request: FetchRequest, response: aiohttp.ClientResponse) -> FetchError:
    """Return the failure of an HTTP status; only 404 and 410 mean that there is no such photo."""
    status = response.status
    reason = Reason.IMAGE_MISSING if status in _GONE_STATUSES else Reason.IMAGE_UNREACHABLE
    failure = fail(request, reason, str(status), f"{status} {response.reason or ''}".rstrip())
    if status != 429 and status < 500:
        return FetchError(failure)
    wait = _parse_retry_after(response.headers.get("Retry-After"))
    return FetchError(failure, wait if wait <= MAX_RETRY_AFTER else None)


def explain_error(request: FetchRequest, error: Exception) -> FetchError:
    """Return the failure of a client's exception; a broken connection is retried."""
    forbidden = error.__cause__ if isinstance(error.__cause__, ForbiddenAddressError) else None
    if forbidden is not None:
        return FetchError(fail(request, Reason.IMAGE_FORBIDDEN, "forbidden", str(forbidden)))
    words = re.sub(r"\s+", " ", str(error)).replace(request.uri, mask_query(request.uri))[:200]
    if isinstance(error, aiohttp.ClientPayloadError):
        return FetchError(fail(request, Reason.IMAGE_UNREADABLE, "cut", f"the body is incomplete: {words}"), 0.0)
    failure = fail(request, Reason.IMAGE_UNREACHABLE, "connection", f"{type(error).__name__}: {words}")
    has_broken_off = isinstance(error, aiohttp.ServerDisconnectedError | ConnectionResetError)
    return FetchError(failure, 0.0 if has_broken_off else None)


def choose_wait(asked: float, attempt: int) -> float:
    """Return the seconds before the next attempt: the host's Retry-After, and at least 0.5, 1 and 2."""
    return max(asked, 0.5 * float(2 ** (attempt - 1)))


def _parse_retry_after(text: str | None) -> float:
    """Return the seconds of a Retry-After header, given as a number or as a date; 0 if it is missing or invalid."""
    if not text:
        return 0.0
    if text.strip().isdigit():
        return float(text.strip())
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return 0.0
