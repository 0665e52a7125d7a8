"""A webhook and a mail server on the loopback that really listen, and keep what they got."""

import json
import socketserver
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer


@contextmanager
def webhook():
    """Yield the port and the list of (authorization, JSON body) of the requests."""
    received = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append((self.headers.get("Authorization"), json.loads(body)))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *arguments):
            """Keep the test's output clean."""

    with _served(HTTPServer(("127.0.0.1", 0), Handler)) as server:
        yield server.server_port, received


@contextmanager
def mail_server():
    """Yield the port and the list of mails, each as the lines between DATA and the dot."""
    received = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            self.say("220 test")
            while line := self.rfile.readline().decode().strip():
                verb = line.upper()
                if verb == "DATA":
                    self.say("354 go on")
                    mail = []
                    while (text := self.rfile.readline().decode().rstrip("\r\n")) != ".":
                        mail.append(text)
                    received.append(mail)
                self.say("221 bye" if verb == "QUIT" else "250 ok")
                if verb == "QUIT":
                    return

        def say(self, text):
            self.wfile.write(f"{text}\r\n".encode())

    with _served(socketserver.TCPServer(("127.0.0.1", 0), Handler)) as server:
        yield server.server_address[1], received


@contextmanager
def _served(server):
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
