"""Services that read through the alias during a test, and record their results."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from fastapi.testclient import TestClient
from pymilvus import MilvusClient

from examples.service import Shop, create_app
from jobs.serving.search import CollectionEncoderError, QueryEncoder, search_products
from jobs.settings import Settings

PAUSE = 0.2
TEXT = "red mug"
Vectors = dict[tuple[str, str], list[np.ndarray]]


class Reader:
    """Repeats a function in a thread until it is stopped; an exception ends the thread and is stored."""

    def __init__(self, act: Callable[[], None], pause: float = PAUSE) -> None:
        self._act, self._pause, self._stop = act, pause, threading.Event()
        self._thread = threading.Thread(target=self._loop, daemon=True)
        self.error: BaseException | None = None
        self.times = 0
        self._thread.start()

    def _loop(self) -> None:
        while not self._stop.wait(self._pause):
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

    def check(self, vectors: Vectors) -> None:
        """Check that every score is one of its own model's vectors with its own model's query."""
        check_scores(self.answers, self.encoders, vectors)


class HttpService:
    """``examples/service.py``: each call is a search by HTTP. Threads may share it.

    Attributes:
        answers: model version, product and score of each hit of each answer.
    """

    def __init__(self, uri: str) -> None:
        self._http = TestClient(create_app(Shop(MilvusClient(uri, dedicated=True), "products")))
        self.answers: list[tuple[str, str, float]] = []

    def __call__(self) -> None:
        answer = self._http.get("/search", params={"text": TEXT, "size": 5, "mode": "hybrid"})
        assert answer.status_code == 200, answer.text
        found = answer.json()
        assert found["hits"], "an empty answer"
        self.answers += [(found["model_version"], hit["product_id"], hit["score"]) for hit in found["hits"]]


def check_scores(answers: list[tuple[str, str, float]], encoders: dict[str, QueryEncoder], vectors: Vectors) -> None:
    """Check that every score is one of the vectors of its own model with the query of its own model.

    Args:
        answers: model version, product and score of hits.
        encoders: by model version.
        vectors: all that the lake has of a (model version, product).
    """
    queries = {version: encoder.encode_queries([TEXT])[0] for version, encoder in encoders.items()}
    for version, product, score in set(answers):
        own = [float(vector @ queries[version]) for vector in vectors[version, product]]
        assert min(abs(one - score) for one in own) < 2e-3, (version, product, score, own)


def wait_for(look: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait until a function returns True."""
    deadline = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < deadline, f"no {what} within {seconds:.0f} s"
        time.sleep(PAUSE)
