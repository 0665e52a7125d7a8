"""What the tests of pages share: a sample without Milvus, and a parser of fragments."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from jobs.pages.neighbours import Hits, ServedProduct, ServedSample
from tests.jobs.pages.page_reader import PageReader

EVIL = '<script>alert(1)</script> "& [/b]'
"""A title that would be markup in many places."""


class FragmentReader(PageReader):
    """Reads a page or a part of one; also collects the elements with their attributes, and each text."""

    def __init__(self, html: str) -> None:
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        super().__init__(html)
        assert not self._faults and not self._open, self._faults or self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        super().handle_starttag(tag, attrs)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        super().handle_startendtag(tag, attrs)

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append(" ".join(data.split()))
        super().handle_data(data)

    def count(self, tag: str) -> int:
        return sum(found == tag for found, _ in self.elements)

    def list_values(self, name: str) -> list[str]:
        return [value for _, attributes in self.elements if (value := attributes.get(name)) is not None]


def make_sample(
    vectors: NDArray[np.float32], categories: Sequence[str], hits: dict[str, Hits] | None = None, title: str = EVIL
) -> ServedSample:
    """Return a sample of products p0, p1 … with these vectors and categories."""
    ids = [f"p{row}" for row in range(len(vectors))]
    products = {
        name: ServedProduct(name, f"{title} {name}", category, f"hash {name}", "2026-01-01")
        for name, category in zip(ids, categories, strict=True)
    }
    return ServedSample(ids, vectors, products, hits or {})


def draw_unit_vectors(
    count: int, *, centre: Sequence[float] = (0.0, 0.0, 0.0, 0.0), seed: int = 0
) -> NDArray[np.float32]:
    """Return unit vectors around a direction, the same for the same seed."""
    drawn = np.random.default_rng(seed).normal(size=(count, len(centre))) + np.array(centre)
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)
