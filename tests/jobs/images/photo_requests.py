"""Requests for photos to a host on loopback."""

import asyncio

from jobs.images.answers import FAILED, FetchRequest, FetchResult
from jobs.images.fetcher import Fetcher, FetchPolicy, fetch_photos
from jobs.images.hosts import HostRules
from tests.image_host import Answer, ImageHost


def fetch(host: ImageHost, *paths: str, conditional: dict[str, str] | None = None, **options) -> list[FetchResult]:
    """Ask the host for paths, at once; return the results in the order of the paths."""
    limits = {"connections": 8, "connect_seconds": 2.0, "read_seconds": 1.0, "total_seconds": 5.0, "give_up_after": 50}
    policy = FetchPolicy(rules=HostRules.build((host.url,)), **{**limits, **options})

    requests = [FetchRequest(host.url + path, **(conditional or {})) for path in paths]

    async def run() -> dict[str, FetchResult]:
        async with Fetcher(policy) as fetcher:
            return {result.request.uri: result async for result in fetcher.fetch_all(iter(requests))}

    found = asyncio.run(run()) if conditional else fetch_photos([request.uri for request in requests], policy)
    return [found[request.uri] for request in requests]


def check_failure(host: ImageHost, answer: Answer, reason: str, cause: str, requests: int) -> None:
    """Assert what a photo with this answer fails with, and that it is asked for at most so often."""
    host.answers["/a.jpg"] = answer
    [result] = fetch(host, "/a.jpg")
    assert (result.outcome, result.reason, result.cause) == (FAILED, reason, cause), result.detail
    assert len(host.requests) <= requests  # a host that answers late may not have written its record yet
