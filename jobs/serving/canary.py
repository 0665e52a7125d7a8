"""Canary queries: test searches on the live collection, after the written rows are verified.

The first test searches for rows that were just written: each must find itself, otherwise the index is broken. The
second compares the neighbours of products that the run did not change with those before the run. New vectors that
displace all others (a broken detector, black photos) pass every other check, because they are unit vectors and were
stored as sent. The share of lost neighbours, the *shift*, has a breaker like that of the deletes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.errors import NightStoppedError
from jobs.milvus.client import STRONG_CONSISTENCY, fetch_rows
from schemas.collection import ID_FIELD, METRIC, VECTOR_FIELD, build_search_params

if TYPE_CHECKING:
    from pymilvus import MilvusClient

CANARY_NEIGHBOURS = 10
"""Neighbours of a product that are looked at."""

CANARY_QUERIES = 64
MIN_QUERIES = 20
"""With fewer products that stay as they are, a shift says nothing; small catalogues are exempt."""

SCORE_TIE = 1e-4
"""Scores this close are one: products of equal content find each other as well as themselves."""

MAX_LOST_SHARE = 0.05
"""Rows that an approximate index may fail to find; an exact one finds all."""

SearchHits = list[tuple[str, float]]


@dataclass(frozen=True)
class CanaryBaseline:
    """Products that a run does not change, with their neighbours before the run.

    Attributes:
        ids, vectors: product ids (N) and vectors [N, D].
        neighbours: N sets of product ids.
    """

    ids: list[str]
    vectors: NDArray[np.float32]
    neighbours: list[set[str]]


def sample_unchanged_ids(ledger: DataFrame, touched: DataFrame) -> list[str]:
    """Return ids of products that a run does not change; the same ids for the same rows."""
    rows = (
        ledger.join(touched, ID_FIELD, "left_anti")
        .select(ID_FIELD)
        .orderBy(F.xxhash64(ID_FIELD), ID_FIELD)
        .limit(CANARY_QUERIES)
        .collect()
    )
    return [row[ID_FIELD] for row in rows]


def record_neighbours(client: "MilvusClient", collection: str, ids: Sequence[str]) -> CanaryBaseline | None:
    """Return the current neighbours of products; None if there are too few products for a comparison."""
    rows = fetch_rows(client, collection, ids, [VECTOR_FIELD]) if len(ids) >= MIN_QUERIES else []
    if len(rows) < MIN_QUERIES:
        return None
    names, vectors = [row[ID_FIELD] for row in rows], np.array([row[VECTOR_FIELD] for row in rows], np.float32)
    return CanaryBaseline(names, vectors, _search_neighbours(client, collection, names, vectors))


def measure_neighbour_churn(client: "MilvusClient", collection: str, canary: CanaryBaseline, epoch: int) -> float:
    """Return the share of lost neighbours, counting only neighbours that this run did not change; 0 is no change.

    Args:
        client, collection: Milvus client and name of the collection.
        canary: neighbours before the run.
        epoch: epoch of the run, which its rows carry.
    """
    before = sorted(set().union(*canary.neighbours))
    left = {row[ID_FIELD] for row in fetch_rows(client, collection, before, ["epoch"]) if row["epoch"] != epoch}
    lost = []
    now = _search_neighbours(client, collection, canary.ids, canary.vectors)
    for was, found in zip(canary.neighbours, now, strict=True):
        stayed = was & left
        if stayed:
            lost.append(1 - len(stayed & found) / len(stayed))
    return float(np.mean(lost)) if lost else 0.0


def check_self_retrieval(client: "MilvusClient", collection: str, sample: Sequence[dict[str, Any]]) -> None:
    """Check that a search for a row just written returns that row first.

    Raises:
        NightStoppedError: too many rows do not find themselves.
    """
    rows = list(sample)[:CANARY_QUERIES]
    if not rows:
        return
    found = search_hits(
        client, collection, np.array([row[VECTOR_FIELD] for row in rows], np.float32), CANARY_NEIGHBOURS
    )
    lost = [row[ID_FIELD] for row, hits in zip(rows, found, strict=True) if not _is_found_first(row[ID_FIELD], hits)]
    kind = _index(client, collection)
    if len(lost) > (0 if kind == "FLAT" else max(1, MAX_LOST_SHARE * len(rows))):
        raise NightStoppedError(
            f"{len(lost)} of {len(rows)} rows that were just written to {collection} do not find themselves "
            f"({lost[0]!r}, for one): its {kind} index is broken. The ledger was not written. Drop and make the index "
            "anew (`drop_index`, then run the night again, which makes it)"
        )


def _search_neighbours(
    client: "MilvusClient", collection: str, ids: Sequence[str], vectors: NDArray[np.float32]
) -> list[set[str]]:
    """Return the K nearest neighbours of each product, without the product itself."""
    found = search_hits(client, collection, vectors, CANARY_NEIGHBOURS + 1)
    return [{name for name, _ in hits} - {own} for own, hits in zip(ids, found, strict=True)]


def _is_found_first(name: str, hits: SearchHits) -> bool:
    """Return whether a row is first, alone or tied with rows of the same vector (there may be more than K)."""
    best = hits[0][1] if hits else 0.0
    return best >= 1 - SCORE_TIE or dict(hits).get(name, -1.0) >= best - SCORE_TIE


def _index(client: "MilvusClient", collection: str) -> str:
    return str((client.describe_index(collection, VECTOR_FIELD) or {}).get("index_type", ""))


def search_hits(client: "MilvusClient", collection: str, vectors: NDArray[np.float32], k: int) -> list[SearchHits]:
    """Return the hits of each vector, best first, at Strong consistency."""
    answers = client.search(
        collection,
        data=list(vectors),
        anns_field=VECTOR_FIELD,
        limit=k,
        search_params={"metric_type": METRIC, "params": build_search_params(_index(client, collection), k)},
        consistency_level=STRONG_CONSISTENCY,
    )
    return [[(hit.get("id", hit.get(ID_FIELD)), float(hit["distance"])) for hit in hits] for hits in answers]
