"""A real webhook and a real mail server on the loopback interface that record what they receive."""

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from ssl import SSLContext
from typing import Any


@contextmanager
def webhook() -> Iterator[tuple[int, list[tuple[str | None, Any]]]]:
    """Yield the port and the received requests as (Authorization header, JSON body)."""
    received = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append((self.headers.get("Authorization"), json.loads(body)))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            """Log nothing."""

    with _serve(HTTPServer(("127.0.0.1", 0), Handler)) as server:
        yield server.server_port, received


@contextmanager
def mail_server(tls: SSLContext | None = None) -> Iterator[tuple[int, list[list[str]]]]:
    """Yield the port and the received mails, each as the lines between DATA and the dot.

    Args:
        tls: server context with a certificate, for TLS from the first byte; None: no encryption, no STARTTLS.
    """
    received = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.reply("220 test")
            while line := self.rfile.readline().decode().strip():
                verb = line.upper()
                if verb == "DATA":
                    self.reply("354 send the mail")
                    mail = []
                    while (text := self.rfile.readline().decode().rstrip("\r\n")) != ".":
                        mail.append(text)
                    received.append(mail)
                self.reply("221 bye" if verb == "QUIT" else "250 ok")
                if verb == "QUIT":
                    return

        def reply(self, text: str) -> None:
            self.wfile.write(f"{text}\r\n".encode())

    server = socketserver.TCPServer(("127.0.0.1", 0), Handler)
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    with _serve(server):
        yield server.server_address[1], received


@contextmanager
def _serve(server: Any) -> Iterator[Any]:
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
