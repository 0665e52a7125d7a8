"""Reads a fixed sample of served products with their nearest neighbours, and compares them with the run before.

The sample is the served products with the smallest hashes of their ids: the same on every date, except for products
that come and go. The work is bounded whatever the size of the catalogue: at most `SAMPLE` rows are read, and
`RECORDED` products and those shown on the page are searched for.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from jobs.milvus.client import connect_reader, fetch_rows
from jobs.pages.run_record import RunRecord
from jobs.serving.canary import search_hits
from jobs.serving.collection_checks import load_collection
from jobs.state.ledger import read_ledger
from jobs.state.plan_record import Plan
from jobs.state.run_context import RunContext
from schemas.collection import ID_FIELD, VECTOR_FIELD

if TYPE_CHECKING:
    from pymilvus import MilvusClient

SAMPLE = 2000
"""Served products whose vectors are read."""

RECORDED = 1000
"""Products of the sample whose neighbours are recorded."""

NEIGHBOURS = 5
CANARIES = 6
"""Products of the sample that the run did not write, shown with their neighbours."""

FETCHED_AT_ONCE, SEARCHED_AT_ONCE = 500, 250
"""Rows and queries of one call to Milvus."""

STAYED, ENTERED, LEFT = "stayed", "entered", "left"
"""How a neighbour stands to those of the run before."""

_FIELDS = ["title", "category_1", "content_hash", "snapshot_date"]

Hits = list[tuple[str, float]]


@dataclass(frozen=True)
class ServedProduct:
    """What a collection holds of a product, without its vector."""

    product_id: str
    title: str
    category: str
    content_hash: str
    snapshot_date: str


@dataclass(frozen=True)
class Neighbour:
    """A product near another one.

    Attributes:
        product_id, title: the product; its title is empty if it is not served any more.
        score: cosine; None for one that left.
        mark: `STAYED`, `ENTERED` or `LEFT`; empty where nothing is known of the run before.
    """

    product_id: str
    title: str
    score: float | None
    mark: str = ""


@dataclass(frozen=True)
class ServedSample:
    """The sample of a collection, and neighbours.

    Attributes:
        ids: ids of the sample, in the order of their hashes.
        vectors: their vectors, [N, D].
        products: what the collection holds, by id: of the sample, of the products shown, and of their neighbours.
        hits: id and score of the nearest products, nearest first, by id of a recorded or shown product.
        canaries: ids of products of the sample that the run did not write.
    """

    ids: list[str]
    vectors: NDArray[np.float32]
    products: Mapping[str, ServedProduct] = field(default_factory=dict)
    hits: Mapping[str, Hits] = field(default_factory=dict)
    canaries: list[str] = field(default_factory=list)

    @property
    def categories(self) -> list[str]:
        """Top category of each product of the sample; empty where it has none."""
        return [self.products[name].category for name in self.ids]


def order_by_hash(rows: DataFrame, count: int) -> DataFrame:
    """Return the rows with the smallest hashes of product_id, the smallest first: a sample that stays the same."""
    hashed: Column = F.xxhash64(ID_FIELD)
    return rows.orderBy(hashed, ID_FIELD).limit(count)


def read_served_sample(context: RunContext, plan: Plan, shown: Sequence[str], before: RunRecord | None) -> ServedSample:
    """Return the sample of a plan's collection, with the neighbours of the recorded and the shown products.

    Args:
        context, plan: run whose collection is read.
        shown: ids of further products whose neighbours are wanted; those that are not served are left out.
        before: record of the run before, whose neighbours get their titles too.

    Raises:
        NoDatabaseError, LiteBusyError, MilvusUnreachableError, DamageError: Milvus does not answer.
    """
    ledger = read_ledger(context.spark, context.lake, plan.collection).select(ID_FIELD)
    ids = [row[ID_FIELD] for row in order_by_hash(ledger, SAMPLE).collect()]
    with connect_reader(context.settings) as client:
        load_collection(client, plan.collection)
        rows = _fetch(client, plan.collection, [*ids, *shown], [*_FIELDS, VECTOR_FIELD])
        ids = [name for name in ids if name in rows]
        searched = [name for name in dict.fromkeys([*ids[:RECORDED], *shown]) if name in rows]
        hits = _search(client, plan.collection, searched, rows)
        canaries = [name for name in ids[:RECORDED] if rows[name]["snapshot_date"] < plan.date][:CANARIES]
        near = {name for one in (*shown, *canaries) for name, _ in hits.get(one, [])}
        if before:
            near |= {name for one in (*shown, *canaries) for name in before.neighbours.get(one, [])}
        others = _fetch(client, plan.collection, sorted(near - rows.keys()), _FIELDS)
    products = {name: _read_product(row) for name, row in {**others, **rows}.items()}
    return ServedSample(ids, _stack(rows, ids), products, hits, canaries)


def mark_neighbours(sample: ServedSample, product_id: str, before: RunRecord | None) -> list[Neighbour]:
    """Return the neighbours of a product, nearest first, then those of the run before that left.

    Args:
        sample: the neighbours now.
        product_id: product whose neighbours are wanted.
        before: record of the run before; None or a product that it lacks gives no marks.
    """
    hits = sample.hits.get(product_id, [])
    was = before.neighbours.get(product_id) if before else None
    titles = {name: product.title for name, product in sample.products.items()}
    found = [
        Neighbour(name, titles.get(name, ""), score, "" if was is None else STAYED if name in was else ENTERED)
        for name, score in hits
    ]
    now = {name for name, _ in hits}
    return [*found, *(Neighbour(name, titles.get(name, ""), None, LEFT) for name in was or [] if name not in now)]


def measure_stayed(sample: ServedSample, before: RunRecord | None) -> float | None:
    """Return the share of neighbours of the run before that stayed, over products that both have; None without any."""
    was = before.neighbours if before else {}
    shares = [
        len({name for name, _ in hits} & set(was[product])) / len(was[product])
        for product, hits in sample.hits.items()
        if was.get(product)
    ]
    return float(np.mean(shares)) if shares else None


def list_recorded(sample: ServedSample) -> dict[str, list[str]]:
    """Return the neighbours of the recorded products, as `RunRecord` keeps them."""
    return {name: [near for near, _ in sample.hits[name]] for name in sample.ids[:RECORDED]}


def _search(
    client: "MilvusClient", collection: str, searched: list[str], rows: Mapping[str, dict[str, Any]]
) -> dict[str, Hits]:
    """Return the nearest products of each product, without itself."""
    found: dict[str, Hits] = {}
    for chunk in _split(searched, SEARCHED_AT_ONCE):
        answers = search_hits(client, collection, _stack(rows, chunk), NEIGHBOURS + 1)
        for own, hits in zip(chunk, answers, strict=True):
            found[own] = [hit for hit in hits if hit[0] != own][:NEIGHBOURS]
    return found


def _fetch(client: "MilvusClient", collection: str, ids: Iterable[str], fields: list[str]) -> dict[str, dict[str, Any]]:
    chunks = _split(list(dict.fromkeys(ids)), FETCHED_AT_ONCE)
    return {row[ID_FIELD]: row for chunk in chunks for row in fetch_rows(client, collection, chunk, fields)}


def _split(ids: list[str], size: int) -> list[list[str]]:
    rest = iter(ids)
    return list(iter(lambda: list(islice(rest, size)), []))


def _stack(rows: Mapping[str, dict[str, Any]], ids: Sequence[str]) -> NDArray[np.float32]:
    return np.array([rows[name][VECTOR_FIELD] for name in ids], np.float32)


def _read_product(row: Mapping[str, Any]) -> ServedProduct:
    return ServedProduct(row[ID_FIELD], row["title"], row["category_1"], row["content_hash"], row["snapshot_date"])
