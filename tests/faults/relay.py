"""A gRPC relay on loopback between a run and a Milvus server, which mistreats writes as a network may.

It passes whole calls on as bytes, so that a request can be delivered twice, late, after others, or after its writer is
dead. What a TCP connection that is cut does is in `tests.loopback_proxy`.
"""

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc

CUT, LOSE, DELAY, DOUBLE, REORDER, HOLD = "cut", "lose", "delay", "double", "reorder", "hold"
"""What may happen to a write: it never arrives; its answer never arrives; it arrives late; twice; once more after
later ones; or only when the relay lets it go, after its writer got the answer that it failed."""

WRITES = ("Upsert", "Delete", "Flush", "CreateAlias", "AlterAlias", "CreateCollection", "CreateIndex")
ROWS = ("Upsert", "Delete")
LONGEST_DELAY_SECONDS = 2.0
OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


@dataclass(frozen=True)
class HeldCall:
    """A call that the relay keeps."""

    method: str
    request: bytes
    metadata: Any


class MilvusRelay(grpc.GenericRpcHandler):
    """Passes calls on to a server.

    Args:
        target: ``host:port`` of the server.
        shares: share of the writes that each of the actions above meets; they add up to at most 1.
        seed: of the draws.
    """

    def __init__(self, target: str, shares: Mapping[str, float], seed: int = 0) -> None:
        self._channel = grpc.insecure_channel(target, options=OPTIONS)
        self._shares, self._random, self._lock = dict(shares), random.Random(seed), threading.Lock()
        self.held: list[HeldCall] = []
        self.done: list[str] = []
        """What happened, as ``action method``."""
        self._later: list[HeldCall] = []
        self._hold_at = 0
        self._sent = 0

    def service(self, details: Any) -> Any:
        """Return the handler of any method: requests and answers are bytes."""

        def handle(request: bytes, context: Any) -> bytes:
            return self._handle(HeldCall(details.method, request, context.invocation_metadata()), context)

        return grpc.unary_unary_rpc_method_handler(handle)

    def deliver_held(self) -> int:
        """Deliver the calls that were held, whose writers are gone by now; return their number."""
        calls, self.held = self.held, []
        for call in calls:
            self._pass_on(call)
        return len(calls)

    def hold_write(self, number: int) -> None:
        """Hold the n-th upsert or delete."""
        self._hold_at = number

    def close(self) -> None:
        self._channel.close()

    def _handle(self, call: HeldCall, context: Any) -> bytes:
        name = call.method.rpartition("/")[2]
        action = self._draw() if name in WRITES else ""
        if name in ROWS:
            self._sent += 1
            action = HOLD if self._sent == self._hold_at else action
        if action:
            self.done.append(f"{action} {name}")
        if action == HOLD:
            self.held.append(call)
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the relay ends the writer")  # a code that nobody retries
        if action == CUT:
            context.abort(grpc.StatusCode.UNAVAILABLE, "the relay lost the request")
        if action == DELAY:
            time.sleep(self._random.uniform(0, LONGEST_DELAY_SECONDS))
        try:
            answer = self._pass_on(call)
            if action == DOUBLE:
                answer = self._pass_on(call)
            if action == REORDER:
                self._later.append(call)
            elif name in ROWS:
                later, self._later = self._later, []
                for one in later:
                    self._pass_on(one)
        except grpc.RpcError as error:
            context.abort(error.code(), error.details())
        if action == LOSE:
            context.abort(grpc.StatusCode.UNAVAILABLE, "the relay lost the answer")
        return answer

    def _draw(self) -> str:
        with self._lock:
            drawn = self._random.random()
        for action, share in self._shares.items():
            drawn -= share
            if drawn < 0:
                return action
        return ""

    def _pass_on(self, call: HeldCall) -> bytes:
        own = [(key, value) for key, value in call.metadata if not key.startswith("grpc-") and key != "user-agent"]
        send: Callable[..., bytes] = self._channel.unary_unary(call.method)
        return send(call.request, metadata=own, timeout=60)


@contextmanager
def open_relay(uri: str, shares: Mapping[str, float], seed: int = 0) -> Iterator[tuple[MilvusRelay, str]]:
    """Yield a relay to the server of a URI, and the relay's own URI."""
    relay = MilvusRelay(uri.rpartition("//")[2], shares, seed)
    server = grpc.server(ThreadPoolExecutor(16), handlers=[relay], options=OPTIONS)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield relay, f"http://127.0.0.1:{port}"
    finally:
        server.stop(grace=1).wait()
        relay.close()
