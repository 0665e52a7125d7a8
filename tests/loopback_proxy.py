"""A TCP proxy on loopback that loses its connections when a test says so."""

import random
import selectors
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class LoopbackProxy:
    """Passes bytes on to a port on loopback.

    Args:
        port: Of the server.
        loss: Share of packets with which a connection is cut.
        seed: Of the losses.
    """

    def __init__(self, port: int, loss: float = 0.0, seed: int = 0) -> None:
        self._target, self._loss, self._random = port, loss, random.Random(seed)
        self._is_cut = False
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self.losses = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, seconds: float) -> None:
        """Cut all connections and refuse others for a time; returns at once."""
        self._is_cut = True
        self._drop_all()

        def restore() -> None:
            time.sleep(seconds)
            self._is_cut = False

        threading.Thread(target=restore, daemon=True).start()

    def close(self) -> None:
        """Stop."""
        self._listener.close()
        self._drop_all()

    def _drop_all(self) -> None:
        for pair in list(self._pairs):
            for end in pair:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._is_cut:
                client.close()
                continue
            threading.Thread(target=self._pass_on, args=(client,), daemon=True).start()

    def _pass_on(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(("127.0.0.1", self._target))
        except OSError:
            client.close()
            return
        pair = (client, server)
        self._pairs.add(pair)
        with selectors.DefaultSelector() as ready, suppress(OSError):
            for source, sink in (pair, pair[::-1]):
                ready.register(source, selectors.EVENT_READ, sink)
            while True:
                for key, _ in ready.select():
                    data = key.fileobj.recv(65536)  # type: ignore[union-attr]
                    if not data:
                        raise ConnectionError
                    if self._random.random() < self._loss:
                        self.losses += 1
                        raise ConnectionError
                    key.data.sendall(data)
        self._pairs.discard(pair)
        for end in pair:
            end.close()


@contextmanager
def open_loopback_proxy(port: int, loss: float = 0.0, seed: int = 0) -> Iterator[LoopbackProxy]:
    """Yield a running proxy of a port."""
    proxy = LoopbackProxy(port, loss, seed)
    try:
        yield proxy
    finally:
        proxy.close()
