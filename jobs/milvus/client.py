"""Connects to Milvus Lite or a Milvus server, and wraps the calls that need workarounds on both.

Reasons for the workarounds (measured with pymilvus 3.0.2 on Milvus Lite 3.2.2 and the 2.3.5 server):

* pymilvus pastes ids into expressions unescaped: ``get(ids=)``, ``delete(ids=)`` and its query iterator fail or match
  the wrong row for ids with quotes or backslashes. Every expression here is built by `build_ids_filter`.
* The query iterator also ignores Strong consistency on a server: right after an upsert, rows were missing. `scan_rows`
  pages through plain queries at Strong consistency instead.
* Every error that pymilvus logs with a traceback is raised as well; its logger is silenced.
"""

import json
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from jobs.errors import DamageError, MoonError
from jobs.milvus.lite import INDEX_SUFFIX, find_lite_damage, run_lite_server
from jobs.milvus.retrying import MilvusUnreachableError, call_with_retries, wrap_client
from jobs.settings import Settings
from schemas.collection import ID_FIELD, Backend

if TYPE_CHECKING:
    from pymilvus import MilvusClient

PAGE_ROWS = 10_000
"""Rows of one page of `scan_rows`; servers refuse more than 16,384."""

PAGE_BYTES = 16 << 20
"""Vectors that one page of a scan holds."""

STRONG_CONSISTENCY = "Strong"


LITE_CONSEQUENCE = "the collection cannot be read or written"

READER_WAIT_SECONDS = 30.0
"""How long readers wait for a Milvus Lite path that a run has open."""


class NoDatabaseError(MoonError):
    """There is no Milvus Lite database at the path that a reader was given."""


@contextmanager
def connect(settings: Settings) -> Iterator["MilvusClient"]:
    """Yield a client of the Milvus of the settings for a writer: its calls are made again while Milvus restarts.

    Only one process at a time can open a Milvus Lite path. It is opened here and fully closed at the end, so that other
    processes can open it while this process continues.

    Args:
        settings: URI or path, token, timeout, and how long calls are made again.

    Raises:
        LiteBusyError: another process kept the path for longer than `wait_seconds`.
        MilvusUnreachableError: nothing answers, or the token is refused.
        DamageError: a call failed, and a file of Milvus Lite is damaged.
    """
    seconds = settings.milvus_retry_seconds
    with _open_client(settings, settings.wait_seconds, seconds) as client:
        yield wrap_client(client, seconds)


@contextmanager
def connect_reader(settings: Settings) -> Iterator["MilvusClient"]:
    """Yield a client for reading: it waits shorter, tries once, and makes no database where there is none.

    Raises:
        NoDatabaseError: there is no Milvus Lite database at the path.
        LiteBusyError, MilvusUnreachableError: see `connect`.
    """
    if settings.is_lite and not Path(settings.milvus).expanduser().exists():
        raise NoDatabaseError(
            f"there is no Milvus Lite database at {settings.milvus}: run `moon nightly` first, or name the right one "
            "with --milvus"
        )
    with _open_client(settings, READER_WAIT_SECONDS, 0) as client:
        yield client


@contextmanager
def _open_client(settings: Settings, wait_seconds: float, retry_seconds: float) -> Iterator["MilvusClient"]:
    """Yield a client; wait for a Milvus Lite path that another process has open, and for a server that restarts."""
    if not settings.is_lite:
        with _client(settings.milvus, settings, retry_seconds) as client:
            yield client
        return
    from pymilvus import MilvusException  # noqa: PLC0415  (a second to import)

    try:
        with run_lite_server(settings.milvus, wait_seconds) as uri, _client(uri, settings, retry_seconds) as client:
            yield client
    except MilvusException as error:
        if damage := next(find_lite_damage(settings.milvus), None):
            raise DamageError(describe_lite_damage(*damage)) from error
        raise


def describe_lite_damage(file: str, problem: str) -> str:
    """Return what the damage of a file of Milvus Lite means, and what to do."""
    return f"{file} {problem}: {LITE_CONSEQUENCE}. Remedy: {find_lite_remedy(file)}"


def find_lite_remedy(file: str) -> str:
    """Return what brings a damaged file of Milvus Lite back."""
    if file.endswith(INDEX_SUFFIX):
        return "delete this file; Milvus Lite builds it again"
    return (
        "move the database's folder away and run `moon nightly` for the date that was served last (`moon status`): all "
        "rows come back from the lake, and nothing is encoded"
    )


@contextmanager
def _client(uri: str, settings: Settings, retry_seconds: float) -> Iterator["MilvusClient"]:
    from pymilvus import MilvusClient, MilvusException  # noqa: PLC0415  (a second to import)

    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # its import sets another level
    try:
        client = call_with_retries(
            MilvusClient,
            uri,
            token=settings.milvus_token.get_secret_value(),
            timeout=settings.milvus_timeout,
            dedicated=True,
            seconds=retry_seconds,
        )
    except (MilvusException, MilvusUnreachableError) as error:
        cause = error if isinstance(error, MilvusException) else error.__cause__
        said = getattr(cause, "message", cause)
        raise MilvusUnreachableError(
            f"no Milvus lets us in at {strip_credentials(uri)} ({said}): start it, or name another with "
            "--milvus (a path is the embedded Milvus Lite); a server with users needs MOON_MILVUS_TOKEN"
        ) from error
    try:
        yield client
    finally:
        client.close()


def strip_credentials(uri: str) -> str:
    """Return the URI without user and password, for display."""
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(netloc=parts.netloc.rsplit("@", 1)[-1]))


def detect_backend(client: "MilvusClient") -> Backend:
    """Return the kind of backend: Milvus Lite (embedded, or its own small server) or a real server."""
    return "lite" if "milvus_lite" in client.get_server_version() else "server"


def read_alias_target(client: "MilvusClient", alias: str) -> str | None:
    """Return the collection an alias points at; None if there is no such alias."""
    if alias not in client.list_aliases()["aliases"]:
        return None
    target: str = client.describe_alias(alias)["collection_name"]
    return target


def read_collection_properties(client: "MilvusClient", collection: str) -> dict[str, str]:
    """Return the properties of a collection (`schemas.collection.PROPERTIES`)."""
    return dict(client.describe_collection(collection).get("properties") or {})


def build_ids_filter(ids: Iterable[str]) -> str:
    """Return a filter expression that matches exactly these ids, which may contain any characters."""
    return f"{ID_FIELD} in {json.dumps(list(ids), ensure_ascii=False)}"


def build_range_filter(low: str, high: str) -> str:
    """Return a filter expression that matches the ids from one to another, both included."""
    first, last = (json.dumps(one, ensure_ascii=False) for one in (low, high))
    return f"{ID_FIELD} >= {first} and {ID_FIELD} <= {last}"


def count_rows(client: "MilvusClient", collection: str, expression: str = "") -> int:
    """Return the number of matching rows at Strong consistency: all acknowledged rows are counted."""
    rows = client.query(collection, filter=expression, output_fields=["count(*)"], consistency_level=STRONG_CONSISTENCY)
    return int(rows[0]["count(*)"])


def fetch_rows(client: "MilvusClient", collection: str, ids: Iterable[str], fields: list[str]) -> list[dict[str, Any]]:
    """Return the rows of some ids at Strong consistency, in any order."""
    rows = client.query(
        collection,
        filter=build_ids_filter(ids),
        output_fields=[ID_FIELD, *fields],
        consistency_level=STRONG_CONSISTENCY,
    )
    return [dict(row) for row in rows]


def vector_page_size(dimension: int) -> int:
    """Return the number of rows per page of `scan_rows` when vectors are read too."""
    return max(1, min(PAGE_ROWS, PAGE_BYTES // (4 * dimension)))


def scan_rows(
    client: "MilvusClient", collection: str, fields: list[str], expression: str = "", page_rows: int = PAGE_ROWS
) -> Iterator[list[dict[str, Any]]]:
    """Yield all matching rows, a page at a time, in order of their ids, at Strong consistency.

    Use it under the lease, so that no other process writes the collection: a row upserted between two pages may be
    missed.

    Args:
        client, collection: Milvus client and name of the collection.
        fields: fields to return besides the id.
        expression: a Milvus filter; empty for all rows.
        page_rows: number of rows per page, at most 16,384.
    """
    ordered = {"iterator": "True"} if detect_backend(client) == "lite" else {}  # servers order limited queries by id
    last: str | None = None
    while True:
        after = f"{ID_FIELD} > {json.dumps(last, ensure_ascii=False)}" if last is not None else f'{ID_FIELD} != ""'
        rows = _fetch_page(
            client, collection, f"{after} and ({expression})" if expression else after, fields, page_rows, ordered
        )
        if not rows:
            return
        last = rows[-1][ID_FIELD]
        yield rows


def _fetch_page(
    client: "MilvusClient", collection: str, expression: str, fields: list[str], page: int, options: dict[str, str]
) -> list[dict[str, Any]]:
    rows = client.query(
        collection,
        filter=expression,
        output_fields=[ID_FIELD, *fields],
        limit=page,
        consistency_level=STRONG_CONSISTENCY,
        **options,
    )
    return [dict(row) for row in rows]
