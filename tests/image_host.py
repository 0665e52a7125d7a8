"""A web host of photos on loopback: its responses are set by path, and it records the requests."""

import hashlib
import io
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from PIL import Image


@dataclass
class Answer:
    """The response of the host for a path.

    Attributes:
        status: HTTP status.
        body: bytes of the photo.
        headers: further headers.
        sends_etag: whether the response has an entity tag and conditional requests are supported.
        seconds: delay before the response.
        cut: number of bytes that are missing at the end of the body.
        times: number of such responses, after which the path responds normally; None: always this one.
    """

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    sends_etag: bool = True
    seconds: float = 0.0
    cut: int = 0
    times: int | None = None


class ImageHost:
    """A running host; `answers` may be changed between runs."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.requests: list[tuple[str, int]] = []
        host = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_args: Any) -> None:
                """Log nothing."""

            def do_GET(self) -> None:
                host._answer(self)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def add_photo(self, path: str, seed: int, **options: Any) -> str:
        """Serve a drawn photo under a path; return its address."""
        self.answers[path] = Answer(body=draw_photo(seed), **options)
        return self.url + path

    def forget_requests(self) -> None:
        self.requests.clear()

    def list_bodies(self) -> list[str]:
        """Return the paths whose bodies were sent since the requests were forgotten."""
        return [path for path, status in self.requests if status == 200]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        answer = self.answers.get(handler.path, Answer(404))
        if answer.times is not None:
            answer.times -= 1
            if answer.times < 0:
                answer = Answer(body=answer.body)
        if answer.seconds:
            time.sleep(answer.seconds)
        tag = f'"{hashlib.sha256(answer.body).hexdigest()[:12]}"'
        status = answer.status
        if status == 200 and answer.sends_etag and handler.headers.get("If-None-Match") == tag:
            status = 304
        body = answer.body if status == 200 else b""
        self.requests.append((handler.path, status))
        handler.send_response(status)
        for name, value in {**answer.headers, **({"ETag": tag} if answer.sends_etag else {})}.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body)))
        if answer.cut:
            handler.send_header("Connection", "close")
            handler.close_connection = True
        handler.end_headers()
        try:
            handler.wfile.write(body[: len(body) - answer.cut])
        except OSError:
            handler.close_connection = True


def draw_photo(seed: int, side: int = 48) -> bytes:
    """Return a small JPEG that differs for every seed."""
    colour = (seed * 53 % 256, seed * 97 % 256, seed * 193 % 256)
    image = Image.new("RGB", (side, side), colour)
    image.paste((seed % 256, seed // 256 % 256, 99), (8, 8, 30, 30))
    target = io.BytesIO()
    image.save(target, "JPEG")
    return target.getvalue()


@contextmanager
def open_image_host() -> Iterator[ImageHost]:
    """Run a host while the context is open."""
    host = ImageHost()
    try:
        yield host
    finally:
        host.close()
