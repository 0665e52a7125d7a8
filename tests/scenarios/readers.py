"""Services that read through the alias during a test, and record their results."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from pymilvus import MilvusClient

from jobs.serving.search import CollectionEncoderError, QueryEncoder, search_products
from jobs.settings import Settings

PAUSE = 0.2
TEXT = "red mug"


class Reader:
    """Repeats a function in a thread until it is stopped; an exception ends the thread and is stored."""

    def __init__(self, act: Callable[[], None]) -> None:
        self._act, self._stop = act, threading.Event()
        self._thread = threading.Thread(target=self._loop, daemon=True)
        self.error: BaseException | None = None
        self.times = 0
        self._thread.start()

    def _loop(self) -> None:
        while not self._stop.wait(PAUSE):
            try:
                self._act()
            except Exception as error:  # kept for `stop`
                self.error = error
                return
            self.times += 1

    def stop(self) -> int:
        """Stop the thread; return the number of reads, or raise the stored exception."""
        self._stop.set()
        self._thread.join(60)
        if self.error:
            raise self.error
        return self.times


@dataclass
class AliasReader:
    """A service that queries the alias with one vector and one long-lived client.

    Attributes:
        versions: model versions of each answer's rows.
    """

    settings: Settings
    query: list[float]
    versions: list[set[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._client = MilvusClient(self.settings.milvus)

    def __call__(self) -> None:
        hits = self._client.search(
            self.settings.alias, data=[self.query], anns_field="vector", limit=5, output_fields=["model_version"]
        )[0]
        assert hits, "an empty answer"
        self.versions.append({hit["entity"]["model_version"] for hit in hits})


@dataclass
class Service:
    """A service that searches with its loaded encoder, and loads the served model's encoder when its own is refused.

    Attributes:
        encoders: by model version; the service starts with one of them.
        answers: model version of the encoder, product and score of each best hit.
        refused: number of times that its encoder was refused.
    """

    settings: Settings
    encoders: dict[str, QueryEncoder]
    held: QueryEncoder
    answers: list[tuple[str, str, float]] = field(default_factory=list)
    refused: int = 0

    def __call__(self) -> None:
        try:
            (hit,) = search_products(self.settings, text=TEXT, k=1, encoder=self.held)
        except CollectionEncoderError:
            self.refused += 1
            self.held = next(encoder for encoder in self.encoders.values() if encoder is not self.held)
            return
        self.answers.append((self.held.model_version, hit["product_id"], hit["score"]))

    def check(self, vectors: dict[tuple[str, str], list[np.ndarray]]) -> None:
        """Check that every score is one of its own model's vectors with its own model's query.

        Args:
            vectors: all that the lake has of a (model version, product).
        """
        queries = {version: encoder.encode_queries([TEXT])[0] for version, encoder in self.encoders.items()}
        for version, product, score in self.answers:
            own = [float(vector @ queries[version]) for vector in vectors[version, product]]
            assert min(abs(one - score) for one in own) < 2e-3, (version, product, score, own)


def wait_for(look: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait until a function returns True."""
    deadline = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < deadline, f"no {what} within {seconds:.0f} s"
        time.sleep(PAUSE)
