"""Serves the pages of runs and the data docs of a lake on loopback, and nothing else of it."""

import re
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from jobs.lake.storage import Storage
from jobs.pages.page import DATA_DOCS_FOLDER, REPORTS_FOLDER
from jobs.pages.report_index import INDEX_PAGE

LOOPBACK = "127.0.0.1"
FOLDERS = (REPORTS_FOLDER, DATA_DOCS_FOLDER)

_NAME = re.compile(rf"({'|'.join(FOLDERS)})/(?:[\w .-]+/)*[\w .-]+\.html")
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def make_report_server(storage: Storage, port: int = 0) -> ThreadingHTTPServer:
    """Return a server on loopback that is not started; `serve_forever` answers requests.

    Args:
        storage: the lake whose pages are served, on disk or in an object store.
        port: port; 0 takes a free one.
    """
    return ThreadingHTTPServer((LOOPBACK, port), partial(_Handler, storage))


class _Handler(BaseHTTPRequestHandler):
    """Answers with a page; only pages of `FOLDERS` exist, and only for requests to this machine by name or number."""

    def __init__(self, storage: Storage, *arguments: Any) -> None:
        self._storage = storage
        super().__init__(*arguments)

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def log_message(self, format: str, *arguments: Any) -> None:
        """Log nothing: the terminal shows where the pages are."""

    def _answer(self) -> None:
        host = urlsplit(f"//{self.headers.get('Host', '')}").hostname
        if host not in (LOOPBACK, "localhost"):  # another name may be one that a web site points here
            self.send_error(HTTPStatus.FORBIDDEN)
            return
        path = unquote(urlsplit(self.path).path)
        if path == "/":
            self.send_response(HTTPStatus.FOUND)
            self.send_header("Location", f"/{INDEX_PAGE}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        page = self._read(path.removeprefix("/"))
        if page is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(page)))
        self.send_header("Content-Security-Policy", _POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(page)

    def _read(self, name: str) -> bytes | None:
        """Return a page by its name below the lake's root; None for anything that is no page."""
        found = _NAME.fullmatch(name)
        if not found or ".." in name.split("/"):
            return None
        filesystem, root = self._storage.open()
        if self._storage.is_local and not Path(root, name).resolve().is_relative_to(Path(root, found[1]).resolve()):
            return None  # a link that leaves the folder
        try:
            with filesystem.open_input_stream(f"{root}/{name}") as stream:
                page: bytes = stream.read()
        except OSError:
            return None
        return page
