"""Finds one hit of each group: a product and its variants, such as sizes, count as one.

A server from 2.4 does that itself (`GROUP_SEARCH`). Elsewhere more hits are fetched than wanted, and the best of each
group is kept; a search that ends early for want of groups is repeated with more hits, up to `MAX_FETCHED`.
"""

import logging
from collections.abc import Iterable
from typing import Any, Protocol

from jobs.milvus.capabilities import GROUP_SEARCH, Tier
from schemas.collection import GROUP_FIELD, ID_FIELD

log = logging.getLogger(__name__)

FETCH_FACTOR = 4
"""Hits fetched for each one wanted, and the factor by which the next attempt fetches more."""

MAX_FETCHED = 16_384
"""Most hits fetched: Milvus answers with no more."""

Hit = dict[str, Any]


class Search(Protocol):
    """A search of one query that returns the best hits, the best first, with `GROUP_FIELD`."""

    def __call__(self, k: int, group_by: str = "") -> list[Hit]:
        """Return ``k`` hits; with ``group_by`` one for each value of that field, by Milvus itself."""
        ...


def find_one_per_group(search: Search, k: int, tier: Tier) -> list[Hit]:
    """Return the best hit of each of the ``k`` nearest groups, the best first.

    Args:
        search: the search.
        k: number of groups.
        tier: what Milvus can do.
    """
    if tier.has(GROUP_SEARCH):  # of unproved tiers only
        return keep_first(search(k, GROUP_FIELD))
    limit = min(FETCH_FACTOR * k, MAX_FETCHED)
    while True:
        hits = search(limit)
        found = keep_first(hits)
        if len(found) >= k or len(hits) < limit:
            return found[:k]
        if limit == MAX_FETCHED:
            log.warning("the nearest %d products belong to %d groups only; %d were wanted", limit, len(found), k)
            return found
        limit = min(FETCH_FACTOR * limit, MAX_FETCHED)


def keep_first(hits: Iterable[Hit]) -> list[Hit]:
    """Return the first hit of each group; a hit without a group is one of its own."""
    first: dict[str, Hit] = {}
    for hit in hits:
        first.setdefault(hit.get(GROUP_FIELD) or hit[ID_FIELD], hit)
    return list(first.values())
