"""Fetches photos from web hosts with one asynchronous client, with limits per host, in time and in bytes.

Every request ends in a `FetchResult`: an error of a host or of the client affects one photo and never the run.
Addresses are sent exactly as in the catalogue. Redirects are followed here, hop by hop, because each target must be
under an allowed root. Source: docs/decisions/0043-photos-by-url.md.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import quote, urljoin, urlsplit
from urllib.request import getproxies

import aiohttp
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt
from yarl import URL

from jobs.images.answers import (
    FAILED,
    FETCHED,
    NOT_MODIFIED,
    FetchError,
    FetchRequest,
    FetchResult,
    choose_wait,
    explain_error,
    explain_status,
    fail,
)
from jobs.images.hosts import CheckedResolver, ForbiddenAddressError, HostRules, get_host, parse_site
from jobs.images.reading import MAX_IMAGE_BYTES
from jobs.settings import Settings
from moon_model.images import MIN_PHOTO_SIDE, BadImageError, check_image_start, decode_image
from schemas.uri import canonicalise_uri, mask_query, split_site
from validation.reasons import Reason

MAX_REDIRECTS = 5
ATTEMPTS = 4
"""Requests for a photo whose host answers 429 or 5xx or breaks off; waits of 0.5, 1 and 2 seconds between them."""

HEADERS = {"User-Agent": "moon-nightly (product photos)", "Accept": "image/*,*/*;q=0.5"}

_NOT_MODIFIED = 304
_LEGAL = "!#$%&'()*+,/:;=?@~-._"  # characters allowed in a path or query; the rest is percent-encoded
_REDIRECTS = (301, 302, 303, 307, 308)


@dataclass(frozen=True)
class FetchPolicy:
    """Rules and limits for requests to hosts; the settings have the defaults.

    Attributes:
        rules: Hosts that connections are allowed to.
        connections: Maximum number of parallel requests to one host.
        connect_seconds, read_seconds, total_seconds: Time limits of one request.
        give_up_after: Number of consecutive failures after which requests to a host stop for the run.
        use_proxy: Whether the proxy variables of the environment are used.
        max_bytes: Maximum size of a body.
    """

    rules: HostRules
    connections: int
    connect_seconds: float
    read_seconds: float
    total_seconds: float
    give_up_after: int
    use_proxy: bool = False
    max_bytes: int = MAX_IMAGE_BYTES


def make_policy(settings: Settings, roots: tuple[str, ...]) -> FetchPolicy:
    """Return the rules for requests to hosts, from the settings."""
    proxies = [urlsplit(proxy).hostname or "" for proxy in getproxies().values()] if settings.use_proxy else []
    return FetchPolicy(
        rules=HostRules.build(roots, [*settings.private_hosts, *proxies]),
        connections=settings.host_connections,
        connect_seconds=settings.connect_seconds,
        read_seconds=settings.read_seconds,
        total_seconds=settings.request_seconds,
        give_up_after=settings.host_failures,
        use_proxy=settings.use_proxy,
    )


@dataclass
class _Host:
    """A host's state in a run: its free connections and its number of consecutive failures."""

    slots: asyncio.Semaphore
    failures: int = 0


@dataclass
class Fetcher:
    """HTTP client for the photos of one run; an asynchronous context manager.

    Attributes:
        policy: Rules for requests to hosts.
        window: Maximum number of waiting requests, which bounds the memory.
    """

    policy: FetchPolicy
    window: int = 256
    _hosts: dict[str, _Host] = field(default_factory=dict)
    _session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "Fetcher":
        """Open the client."""
        policy = self.policy
        connector = aiohttp.TCPConnector(
            limit=0, resolver=CheckedResolver(policy.rules), ttl_dns_cache=300, enable_cleanup_closed=False
        )
        timeout = aiohttp.ClientTimeout(
            total=policy.total_seconds, sock_connect=policy.connect_seconds, sock_read=policy.read_seconds
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=timeout,
            headers=HEADERS,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=policy.use_proxy,
        )
        return self

    async def __aexit__(self, *_exception: object) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    async def fetch_all(self, requests: Iterator[FetchRequest]) -> AsyncIterator[FetchResult]:
        """Yield the result of every request, in the order in which hosts answer.

        Args:
            requests: Read lazily; hosts should be mixed, because at most `window` requests wait at a time.
        """
        source = iter(requests)
        # The number of waiting bodies is bounded like that of open requests: a body may have 64 MiB.
        results: asyncio.Queue[FetchResult | None] = asyncio.Queue(self.policy.connections)

        async def work() -> None:
            for request in source:  # shared by all workers: each takes the next one
                await results.put(await self.fetch(request))

        async def work_together() -> None:
            try:
                await asyncio.gather(*(work() for _ in range(self.window)))
            finally:
                await results.put(None)

        running = asyncio.create_task(work_together())
        try:
            while (result := await results.get()) is not None:
                yield result
            await running
        finally:
            running.cancel()

    async def fetch(self, request: FetchRequest) -> FetchResult:
        """Return the result of one request, with retries; errors of a host or the client are not raised."""
        name = get_host(request.uri)
        host = self._hosts.get(name)
        if host is None:
            host = self._hosts[name] = _Host(asyncio.Semaphore(self.policy.connections))
        if self._is_given_up(host):
            return self._give_up(request, host)
        try:
            result = await self._fetch_with_retries(request, host)
        except FetchError as error:
            # A host that answers "there is no such photo" is working.
            host.failures = host.failures + 1 if error.result.reason == Reason.IMAGE_UNREACHABLE else 0
            return error.result
        host.failures = 0
        return result

    async def _fetch_with_retries(self, request: FetchRequest, host: _Host) -> FetchResult:
        try:
            return await self._fetch_in_turn(request, host)
        except FetchError as error:
            if error.wait is None:
                raise
            await asyncio.sleep(choose_wait(error.wait, 1))
        retrying = AsyncRetrying(
            retry=retry_if_exception(lambda error: isinstance(error, FetchError) and error.wait is not None),
            wait=_wait_for_retry,
            stop=stop_after_attempt(ATTEMPTS - 1),
            reraise=True,
        )
        result: FetchResult = await retrying(self._fetch_in_turn, request, host)
        return result

    def _is_given_up(self, host: _Host) -> bool:
        return host.failures >= self.policy.give_up_after

    def _give_up(self, request: FetchRequest, host: _Host) -> FetchResult:
        detail = f"{mask_query(request.uri)}: not asked, its host failed {host.failures} times in a row"
        return FetchResult(
            request, FAILED, reason=Reason.IMAGE_UNREACHABLE, cause="given up", detail=detail, is_asked=False
        )

    async def _fetch_in_turn(self, request: FetchRequest, host: _Host) -> FetchResult:
        """Make one attempt when the host has a free connection; a wait before a retry uses none."""
        async with host.slots:
            if self._is_given_up(host):
                raise FetchError(self._give_up(request, host))
            try:
                return await self._follow(request)
            except (FetchError, asyncio.CancelledError):
                raise
            except ForbiddenAddressError as error:
                raise FetchError(fail(request, Reason.IMAGE_FORBIDDEN, "forbidden", str(error))) from error
            except TimeoutError as error:
                raise FetchError(fail(request, Reason.IMAGE_UNREACHABLE, "timeout", "no answer in time")) from error
            except Exception as error:  # aiohttp has its own classes, and its parsers raise others
                raise explain_error(request, error) from error

    async def _follow(self, request: FetchRequest) -> FetchResult:
        url, headers = request.uri, _make_validators(request)
        for _ in range(MAX_REDIRECTS + 1):
            self.policy.rules.check_url(url)
            assert self._session is not None, "use the fetcher as a context manager"  # noqa: S101
            async with self._session.get(_make_request_url(url), headers=headers, allow_redirects=False) as response:
                location = response.headers.get("Location") if response.status in _REDIRECTS else None
                if location:
                    url = canonicalise_uri(urljoin(url, location), url)
                    continue
                return await self._read(request, response)
        raise FetchError(fail(request, Reason.IMAGE_UNREACHABLE, "redirects", f"more than {MAX_REDIRECTS} redirects"))

    async def _read(self, request: FetchRequest, response: aiohttp.ClientResponse) -> FetchResult:
        etag, modified = response.headers.get("ETag"), response.headers.get("Last-Modified")
        if response.status == _NOT_MODIFIED and _make_validators(request):
            kept = (etag or request.etag, modified or request.last_modified)
            return FetchResult(request, NOT_MODIFIED, etag=kept[0], last_modified=kept[1])
        if response.status != 200:
            raise explain_status(request, response)
        _acknowledge(response)
        parts, size = [], 0
        async for part in response.content.iter_any():
            parts.append(part)
            size += len(part)
            if size > self.policy.max_bytes:
                detail = f"more than {self.policy.max_bytes:,} bytes"
                raise FetchError(fail(request, Reason.IMAGE_TOO_LARGE, "too large", detail))
        data = b"".join(parts)
        # A body that ends with its connection may be truncated, and a damaged photo must not replace a good one.
        is_whole = (
            response.content_length is not None or "chunked" in response.headers.get("Transfer-Encoding", "").lower()
        )
        try:
            if is_whole and not request.is_known:
                check_image_start(data[:16])
            else:
                decode_image(data, min_stored_side=MIN_PHOTO_SIDE)
        except BadImageError as error:
            raise FetchError(fail(request, error.reason, "not an image", error.detail)) from error
        return FetchResult(request, FETCHED, data, etag=etag, last_modified=modified)


def _acknowledge(response: aiohttp.ClientResponse) -> None:
    """Acknowledge the header at once where the body has not come with it.

    A host that sends both in two small writes waits for it (Nagle's algorithm), and Linux delays it by 40 ms.
    """
    transport = response.connection.transport if response.connection else None
    if transport is not None and (connection := transport.get_extra_info("socket")) is not None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


def _wait_for_retry(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    return choose_wait((error.wait or 0.0) if isinstance(error, FetchError) else 0.0, state.attempt_number + 1)


def _make_validators(request: FetchRequest) -> dict[str, str]:
    if not request.etag and not request.last_modified:
        return {}
    pairs = {"If-None-Match": request.etag, "If-Modified-Since": request.last_modified}
    return {name: value for name, value in pairs.items() if value}


def _make_request_url(url: str) -> URL:
    """Return an address with its path and query as written, except characters that a request line cannot hold."""
    scheme, host, rest = split_site(url)
    target = rest.partition("#")[0]
    target = target if target.startswith("/") else f"/{target}"
    # Path and query are passed as the path, because an empty query would lose its question mark.
    return _build_origin(f"{scheme}://{host}").with_path(quote(target, safe=_LEGAL), encoded=True)


@lru_cache(4096)  # a run has millions of addresses and few sites
def _build_origin(address: str) -> URL:
    """Return a site's address for the request; an international name in its ASCII form."""
    site = parse_site(address)
    host = URL.build(scheme="http", host=site.host).raw_host or ""
    return URL.build(scheme=site.scheme, host=host, port=site.port, encoded=True)


def fetch_photos(uris: Iterable[str], policy: FetchPolicy) -> dict[str, FetchResult]:
    """Return the results for a few photos by URL, for checks; a run fetches in tasks.

    Args:
        uris: Canonical addresses.
        policy: Rules for requests to hosts.
    """

    async def run() -> dict[str, FetchResult]:
        requests = (FetchRequest(uri) for uri in dict.fromkeys(uris))
        async with Fetcher(policy) as fetcher:
            return {result.request.uri: result async for result in fetcher.fetch_all(requests)}

    return asyncio.run(run())
