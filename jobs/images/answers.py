"""What a web host's answer means for a photo: requests, results, and failures with their reasons.

Source: docs/decisions/0043-photos-by-url.md.
"""

import hashlib
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
"""Seconds that a host's Retry-After is waited for; a host that wants more is asked on another night."""

_GONE_STATUSES = (404, 410)


@dataclass(frozen=True)
class FetchRequest:
    """A photo to ask for.

    Attributes:
        uri: Canonical address.
        etag, last_modified: Validators of its last answer.
        is_known: Whether a photo of this address is kept: another one replaces it only if it can be decoded.
    """

    uri: str
    etag: str | None = None
    last_modified: str | None = None
    is_known: bool = False


@dataclass(frozen=True)
class FetchResult:
    """What a host answered.

    Attributes:
        request: What was asked.
        outcome: fetched (data is set), not_modified or failed.
        reason, cause, detail: Of a failure: reason code, a short cause such as ``503`` or ``timeout``, a sentence.
        etag, last_modified: Validators for the next time.
        is_asked: False where the host was given up before this photo's turn.
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

    @property
    def sha256(self) -> str:
        """SHA-256 of the body as 64 hex digits."""
        return hashlib.sha256(self.data).hexdigest()


class FetchError(Exception):
    """One photo's failure inside the fetcher.

    Attributes:
        result: What becomes of the request.
        wait: Seconds after which a retry is right; None: it is not.
    """

    def __init__(self, result: FetchResult, wait: float | None = None) -> None:
        super().__init__(result.detail)
        self.result = result
        self.wait = wait


def fail(request: FetchRequest, reason: str, cause: str, detail: str) -> FetchResult:
    """Return a failure; its detail begins with the address, without secrets."""
    return FetchResult(request, FAILED, reason=reason, cause=cause, detail=f"{mask_query(request.uri)}: {detail}")


def explain_status(request: FetchRequest, response: aiohttp.ClientResponse) -> FetchError:
    """Return the failure that a status means; only 404 and 410 say that there is no such photo."""
    status = response.status
    reason = Reason.IMAGE_MISSING if status in _GONE_STATUSES else Reason.IMAGE_UNREACHABLE
    failure = fail(request, reason, str(status), f"{status} {response.reason or ''}".rstrip())
    if status != 429 and status < 500:
        return FetchError(failure)
    wait = _parse_retry_after(response.headers.get("Retry-After"))
    return FetchError(failure, wait if wait <= MAX_RETRY_AFTER else None)


def explain_error(request: FetchRequest, error: Exception) -> FetchError:
    """Return the failure that an exception of the client means; a connection that broke off is tried again."""
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
    """Return the seconds before the next attempt: what the host asks for, and at least 0.5, 1 and 2."""
    return max(asked, 0.5 * float(2 ** (attempt - 1)))


def _parse_retry_after(text: str | None) -> float:
    """Return the seconds of a Retry-After header, given as a number or as a date; 0 where it says nothing."""
    if not text:
        return 0.0
    if text.strip().isdigit():
        return float(text.strip())
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return 0.0
