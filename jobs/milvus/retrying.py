"""A Milvus client for writers: each call is made again while Milvus restarts or the network is cut.

pymilvus retries some failures itself, but gives up with CONNECT_FAILED as soon as one reconnection fails (3.0.2). A
restart of a server takes about ten seconds.
"""

import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_delay, wait_exponential_jitter

from jobs import fault_points
from jobs.errors import MoonError

if TYPE_CHECKING:
    from pymilvus import MilvusClient

log = logging.getLogger(__name__)

FIRST_WAIT, MAX_WAIT = 0.5, 5.0
"""Seconds between two attempts: the first, doubled each time up to the second."""

WRITES = {
    *("upsert", "delete", "flush", "load_collection"),
    *("create_collection", "drop_collection", "create_index"),
    *("create_alias", "alter_alias", "drop_alias"),
}
"""Calls that change something: faults are tried before the request and after its acknowledgement."""

_T = TypeVar("_T")


class MilvusUnreachableError(MoonError):
    """Nothing answers at the Milvus URI, or it does not let us in."""


def is_transient(error: BaseException) -> bool:
    """Return whether the same request may succeed a little later; bad data and a refused login never do."""
    import grpc  # noqa: PLC0415
    from pymilvus.client.types import Status  # noqa: PLC0415
    from pymilvus.exceptions import (  # noqa: PLC0415
        ConnectError,
        ErrorCode,
        MilvusException,
        MilvusUnavailableException,
    )

    passing = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.ABORTED}
    if isinstance(error, MilvusException):
        if error.code == Status.CONNECT_FAILED and isinstance(error.__cause__, grpc.RpcError):
            return error.__cause__.code() in passing  # a refused login has this code, too
        return (
            isinstance(error, ConnectError | MilvusUnavailableException)
            or error.retriable
            or error.code in {ErrorCode.RATE_LIMIT, Status.CONNECT_FAILED}
            or error.code in passing  # pymilvus hands the gRPC code on when its own retries are used up
        )
    return isinstance(error, grpc.RpcError) and error.code() in passing


def call_with_retries(
    function: Callable[..., _T],
    *arguments: Any,
    seconds: float,
    check: Callable[[], None] | None = None,
    **options: Any,
) -> _T:
    """Return what a call returns; while it fails for a passing reason it is made again.

    Args:
        function, arguments, options: The call, which may be made twice.
        seconds: How long after the first attempt others are made; 0 makes one attempt.
        check: Called before each further attempt; what it raises ends the attempts.

    Raises:
        MilvusUnreachableError: All attempts failed for a passing reason.
    """

    def prepare(state: RetryCallState) -> None:
        if check is not None and state.attempt_number > 1:
            check()

    def warn(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        wait = state.next_action.sleep if state.next_action else 0.0
        log.warning("Milvus: %s; the call is made again in %.1f s", _describe(error), wait)

    retrying = Retrying(
        retry=retry_if_exception(is_transient),
        wait=wait_exponential_jitter(multiplier=FIRST_WAIT, max=MAX_WAIT, jitter=FIRST_WAIT),
        stop=stop_after_delay(seconds),
        before=prepare,
        before_sleep=warn,
        reraise=True,
    )
    try:
        return retrying(function, *arguments, **options)
    except Exception as error:
        if not is_transient(error):
            raise
        raise MilvusUnreachableError(
            f"Milvus did not answer for {seconds:g} s ({_describe(error)}). What was acknowledged stays; run the same "
            "again when Milvus is back: it continues. Another time to wait: MOON_MILVUS_RETRY_SECONDS"
        ) from error


def wrap_client(client: "MilvusClient", seconds: float) -> "MilvusClient":
    """Return a client whose calls are made again, for this long, while they fail for a passing reason."""
    return cast("MilvusClient", _RetryingClient(client, seconds))


def guard_retries(client: "MilvusClient", check: Callable[[], None]) -> "MilvusClient":
    """Return a client that calls ``check`` (of a lease) before it makes a call again; it shares the connection."""
    if not isinstance(client, _RetryingClient):
        return client
    return cast("MilvusClient", _RetryingClient(client.inner, client.seconds, check))


class _RetryingClient:
    """Passes everything on to a MilvusClient; calls go through `call_with_retries`."""

    def __init__(self, inner: "MilvusClient", seconds: float, check: Callable[[], None] | None = None) -> None:
        self.inner, self.seconds, self._check = inner, seconds, check

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.inner, name)
        if not callable(value):
            return value
        if name in WRITES:
            value = partial(_write, value, name)
        return partial(call_with_retries, value, seconds=self.seconds, check=self._check)


def _write(call: Callable[..., Any], name: str, *arguments: Any, **options: Any) -> Any:
    with fault_points.surround(f"milvus.{name}"):
        return call(*arguments, **options)


def _describe(error: BaseException | None) -> str:
    return " ".join(str(getattr(error, "message", "") or error).split())[:300]
