"""Searches by words and by meaning together, where the collection has a field that is searched by words.

The nearest vectors are merged with the products that contain every word of the query, by reciprocal ranks: an article
number, a name or "Volt9 400 ml" is found by its words, and a query in other words than the shop's by its meaning alone
(docs/decisions/0054-hybrid-search.md). Nothing here needs more than pymilvus; services may import it.
"""

import json
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from schemas.collection import BM25, ID_FIELD, SEARCH_TEXT_FIELD, SPARSE_FIELD, SPARSE_METRIC

if TYPE_CHECKING:
    from pymilvus import MilvusClient

RANK_CONSTANT = 60
"""A product at place p of a list counts 1 / (60 + p), as in the paper on reciprocal rank fusion (SIGIR 2009)."""

MERGED_HITS = 200
"""First hits of each list that are merged; fixed, so that the order does not depend on the number of hits wanted."""

NO_WORDS = (
    "this collection has no field that is searched by words (Milvus Lite 3.2 has them; a collection of an earlier "
    "release gets one with `moon migrate`): the answer is by meaning alone"
)
"""Message to a user, once, where a hybrid search is answered by the vectors alone."""

Hit = dict[str, Any]


def can_search_words(features: Collection[str]) -> bool:
    """Return whether a collection with these features (`schemas.collection.read_features`) can be searched by words."""
    return BM25 in features


@dataclass(frozen=True)
class HybridSearch:
    """A search of one query by meaning and by words.

    Attributes:
        client, collection: Milvus client, and a collection that can be searched by words.
        text: words of the query.
        nearest: returns the nearest products, best first, for a number of hits and a filter.
        expression: a Milvus filter.
    """

    client: "MilvusClient"
    collection: str
    text: str
    nearest: Callable[[int, str], list[Hit]]
    expression: str = ""

    def __call__(self, k: int, group_by: str = "") -> list[Hit]:
        """Return ``k`` hits, best first, as ``nearest`` returns them: their score stays the cosine, not the order.

        ``group_by`` has no effect: Milvus cannot group a merged list (`jobs.serving.variants` does it then).
        """
        by_meaning = self.nearest(max(k, MERGED_HITS), self.expression)
        by_words = find_by_words(self.client, self.collection, self.text, self.expression)
        hits = {hit[ID_FIELD]: hit for hit in by_meaning}
        if absent := [name for name in by_words if name not in hits]:
            others = self.nearest(len(absent), f"{ID_FIELD} in {json.dumps(absent, ensure_ascii=False)}")
            hits |= {hit[ID_FIELD]: hit for hit in others}
        merged = merge_ranks(by_words, [hit[ID_FIELD] for hit in by_meaning])
        return [hits[name] for name in merged if name in hits][:k]


def merge_ranks(by_words: list[str], by_meaning: list[str]) -> list[str]:
    """Return the products of two lists by the sum of their reciprocal ranks; of equal sums the first by words leads.

    A product that words found counts in the second list only among its first `MERGED_HITS`.
    """
    sums = {name: 1 / (RANK_CONSTANT + place) for place, name in enumerate(by_words)}
    for place, name in enumerate(by_meaning):
        if place < MERGED_HITS or name not in sums:
            sums[name] = sums.get(name, 0.0) + 1 / (RANK_CONSTANT + place)
    return sorted(sums, key=sums.__getitem__, reverse=True)


def find_by_words(client: "MilvusClient", collection: str, text: str, expression: str = "") -> list[str]:
    """Return the products that contain every word of a text, best first by BM25; one with this very id is the first."""
    wanted = split_words(text)
    if not wanted:
        return []
    hits = client.search(
        collection,
        data=[text],
        anns_field=SPARSE_FIELD,
        limit=MERGED_HITS,
        filter=expression,
        output_fields=[ID_FIELD, SEARCH_TEXT_FIELD],
        search_params={"metric_type": SPARSE_METRIC},
    )[0]
    rows = [hit["entity"] for hit in hits]
    found = [row[ID_FIELD] for row in rows if wanted <= split_words(row[SEARCH_TEXT_FIELD])]
    return sorted(found, key=lambda name: name.casefold() != text.strip().casefold())


def split_words(text: str) -> set[str]:
    """Return the words of a text in lower case: letters and digits, as Milvus's standard analyzer splits them."""
    return set(re.findall(r"[^\W_]+", text.casefold()))
