"""Which features of Milvus a connection has: one table of tiers, and the tier of a server.

A tier is a range of versions with the same features. Milvus Lite 3.2 and server 2.3 are proved: the tests run on them.
The later servers are in the table by Milvus's release notes alone. Code uses their features only if `MOON_MILVUS_TIER`
names the tier; without it such a server is used as server 2.3 (docs/decisions/0052-capability-tiers.md).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jobs.errors import EXIT_USAGE, MoonError
from schemas.collection import BM25, JSON, Backend

if TYPE_CHECKING:
    from pymilvus import MilvusClient

PARTIAL_UPDATE, GROUP_SEARCH, HYBRID = "partial_update", "group_search", "hybrid"
FLOAT16_VECTORS, INT8_VECTORS = "float16_vectors", "int8_vectors"

FEATURES: Mapping[str, str] = {
    JSON: "fields with JSON values, and filters by their keys",
    PARTIAL_UPDATE: "an upsert of some fields keeps the others",
    GROUP_SEARCH: "a search that returns one hit of each group",
    BM25: "a text field that is searched by its words",
    HYBRID: "one search over several fields, with merged ranks",
    FLOAT16_VECTORS: "vectors of float16",
    INT8_VECTORS: "vectors of int8",
}
"""All features, with what they are."""


@dataclass(frozen=True)
class Tier:
    """A range of versions of Milvus with the same features.

    Attributes:
        name: value of `MOON_MILVUS_TIER`.
        backend: Milvus Lite or a server.
        version: first version of the tier (major, minor).
        features: keys of `FEATURES`.
        is_proved: whether tests use each of these features.
    """

    name: str
    backend: Backend
    version: tuple[int, int]
    features: frozenset[str]
    is_proved: bool = False

    def has(self, feature: str) -> bool:
        """Return whether the tier has a feature."""
        return feature in self.features


_SERVER_2_3 = frozenset({JSON})
# Milvus Lite 3.2.2 groups only some of the nearest rows: it returned 8 of 10 groups where groups are large.
# 2.3.5 ignores `group_by_field` without an error, and has float16 vectors with wrong distances (decision 15).
_SERVER_2_4 = _SERVER_2_3 | {GROUP_SEARCH, FLOAT16_VECTORS}
_SERVER_2_5 = _SERVER_2_4 | {BM25, HYBRID}
_SERVER_2_6 = _SERVER_2_5 | {PARTIAL_UPDATE, INT8_VECTORS}

TIERS: Mapping[str, Tier] = {
    tier.name: tier
    for tier in (
        Tier("lite-3.2", "lite", (3, 2), frozenset({JSON, PARTIAL_UPDATE, BM25, HYBRID}), is_proved=True),
        Tier("server-2.3", "server", (2, 3), _SERVER_2_3, is_proved=True),
        Tier("server-2.4", "server", (2, 4), _SERVER_2_4),
        Tier("server-2.5", "server", (2, 5), _SERVER_2_5),
        Tier("server-2.6", "server", (2, 6), _SERVER_2_6),
    )
}
"""The tiers of each backend, the earliest first."""


class TierError(MoonError):
    """`MOON_MILVUS_TIER` names a tier that this Milvus does not belong to."""

    exit_status = EXIT_USAGE


def find_tier(client: "MilvusClient", named: str | None = None) -> Tier:
    """Return the tier of a connection; a server of an unproved tier has that tier only if it is named.

    Args:
        client: Milvus client.
        named: value of `MOON_MILVUS_TIER`; Milvus Lite, whose tier is proved, ignores it.

    Raises:
        TierError: the server has an earlier version than the named tier.
    """
    version: str = client.get_server_version()
    backend: Backend = "lite" if "milvus_lite" in version else "server"
    known = [tier for tier in TIERS.values() if tier.backend == backend]
    proved = next(tier for tier in known if tier.is_proved)
    if backend == "lite" or named is None:
        return proved
    wanted, found = TIERS[named], parse_version(version)
    if wanted.backend != backend or found < wanted.version:
        raise TierError(
            f"MOON_MILVUS_TIER={named} does not fit this Milvus, a server of version {version}: unset it, or name the "
            "server's own tier. Nothing was changed"
        )
    return wanted


def parse_version(version: str) -> tuple[int, int]:
    """Return major and minor version of a server, such as (2, 3) for ``v2.3.5-lite``; (0, 0) if it cannot be read."""
    found = re.search(r"(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else (0, 0)
