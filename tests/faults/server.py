"""Tries networks that fail, on a real Milvus server: a night is served through a relay or a proxy, then compared."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from pymilvus import MilvusClient

from jobs.settings import Settings
from tests.faults.case import Case, Result
from tests.faults.one_jvm import FaultBench
from tests.faults.relay import CUT, DELAY, DOUBLE, LOSE, REORDER, open_relay
from tests.faults.state import compare, read_state
from tests.loopback_proxy import open_loopback_proxy

SERVE = ("upsert", "publish")
PACKET_LOSS = 0.03
"""Share of TCP packets at which a connection is cut."""

SHARES: Mapping[str, Mapping[str, float]] = {
    "cut": {CUT: 0.3},
    "lost answers": {LOSE: 0.3},
    "delay": {DELAY: 0.4},
    "double": {DOUBLE: 0.5},
    "reorder": {REORDER: 0.4},
    "all at once": {CUT: 0.1, LOSE: 0.1, DELAY: 0.1, DOUBLE: 0.2, REORDER: 0.1},
}


@dataclass
class ServerBench:
    """A server and a bench whose clean nights say what it must hold.

    Attributes:
        bench: with both nights recorded.
        uri: of the server; all its collections are dropped before each case.
    """

    bench: FaultBench
    uri: str

    def list_cases(self, seeds: int) -> dict[str, Callable[[], str]]:
        """Return the cases by name, each as a function that serves the second night and says how it ended."""
        cases: dict[str, Callable[[], str]] = {}
        for seed in range(1, seeds + 1):
            cases |= {
                f"server: {name}, seed {seed}": partial(self._serve_through_relay, shares, seed)
                for name, shares in SHARES.items()
            }
            cases[f"server: TCP connections cut, seed {seed}"] = partial(self._serve_through_proxy, seed)
        stages: dict[str, int] = {"first request": 1, "second request": 2, "third request": 3}
        for name, number in stages.items():
            cases[f"server: stale content of a dead writer, {name}"] = partial(self._serve_after_dead_writer, number)
        return cases

    def try_case(self, name: str, serve: Callable[[], str]) -> Result:
        """Serve the first night, try the case on the second, and compare with the clean run."""
        began, result = time.monotonic(), Result(name, fired=1)
        try:
            self._drop_all()
            self.bench.attempt(self.bench.copy_clean(Case(0, "upsert", ()), milvus=self.uri), 0, SERVE)
            result.ended = serve()
            if result.ended.startswith("writer done"):
                result.differences.append("the writer did not die, so that nothing stale arrived")
            self.bench.run(self._settings, 1, SERVE)
            result.differences += compare(read_state(self._settings), self.bench.clean[1, SERVE[-1]])
        except Exception as error:
            result.differences.append(f"{type(error).__name__}: {str(error)[:500]}")
        result.seconds = round(time.monotonic() - began, 2)
        return result

    def _serve_through_relay(self, shares: Mapping[str, float], seed: int) -> str:
        self._settings = self._copy()
        with open_relay(self.uri, shares, seed) as (relay, uri):
            ended = self.bench.attempt(self._settings.replace(milvus=uri), 1, SERVE)
            return f"{ended} after {len(relay.done)} calls were mistreated"

    def _serve_through_proxy(self, seed: int) -> str:
        self._settings = self._copy()
        with open_loopback_proxy(int(self.uri.rpartition(":")[2]), PACKET_LOSS, seed) as proxy:
            uri = f"http://127.0.0.1:{proxy.port}"
            ended = self.bench.attempt(self._settings.replace(milvus=uri), 1, SERVE)
            return f"{ended} after {proxy.losses} cuts"

    def _serve_after_dead_writer(self, number: int) -> str:
        """A writer ends at its n-th request, which arrives when its successor has served the night."""
        self._settings = self._copy(milvus_retry_seconds=0.0)
        with open_relay(self.uri, {}) as (relay, uri):
            relay.hold_write(number)
            ended = self.bench.attempt(self._settings.replace(milvus=uri), 1, SERVE)
            successor = self.bench.attempt(self._settings, 1, SERVE)
            return f"writer {ended}, successor {successor}, {relay.deliver_held()} requests arrived afterwards"

    def _copy(self, **options: Any) -> Settings:
        return self.bench.copy_clean(Case(1, "upsert", ()), milvus=self.uri, **options)

    def _drop_all(self) -> None:
        client = MilvusClient(self.uri)
        for alias in client.list_aliases()["aliases"]:
            client.drop_alias(alias)
        for name in client.list_collections():
            client.drop_collection(name)
        client.close()
