"""Compares rows of a collection with the ledger and the lake's vectors, and names what is wrong with each.

`moon audit` counts these faults over a collection, `moon explain` shows them of one product.
"""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.serving.rows import UNIT_NORM_TOLERANCE
from schemas.collection import ID_FIELD, PAYLOAD_HASH_FIELD, has_payload

MISSING, ORPHANED, DOUBLED = "missing", "orphaned", "doubled"
STALE, UNRECORDED, CHANGED, FOREIGN_MODEL = "stale", "unrecorded", "changed", "foreign_model"
WRONG_NORM, DIFFERENT, NOT_IN_LAKE = "wrong_norm", "different", "not_in_lake"

FAULTS: Mapping[str, str] = {
    MISSING: "in the ledger, not in the collection",
    ORPHANED: "in the collection, not in the ledger",
    DOUBLED: "two rows of one product",
    STALE: "of an earlier write than the ledger says",
    UNRECORDED: "of a later write than the ledger says, such as that of a killed run",
    CHANGED: "with another content or payload than the ledger says",
    FOREIGN_MODEL: "marked with another model version than the collection's",
    WRONG_NORM: "with a vector whose length is not 1",
    DIFFERENT: "with another vector than the lake has",
    NOT_IN_LAKE: "with a vector that the lake does not have: it can be neither compared nor repaired",
}
"""Meaning of each fault, to follow a number of rows. One row may have several."""

ROW_FIELDS = ("epoch", "model_version")
"""Fields of a row that are compared besides its hashes and its vector."""

HASH_FIELDS = ("content_hash", PAYLOAD_HASH_FIELD)
"""Hashes of what the model reads and of what is served only."""

HASH_BYTES = 8
MODULUS = 1 << (8 * HASH_BYTES)

VECTOR_TOLERANCE = 1e-6
"""How far a number of a vector may be from the lake's: both are the same float32 numbers."""


def list_hash_fields(collection: str) -> list[str]:
    """Return the fields of a collection that identify what a row says; earlier ones have no payload."""
    return list(HASH_FIELDS) if has_payload(collection) else [HASH_FIELDS[0]]


def join_hashes(row: Mapping[str, Any], fields: Iterable[str]) -> str:
    """Return a row's hashes as one text; rows of the ledger before 0.3 have none of a payload."""
    return "".join(row.get(name) or "" for name in fields)


def find_row_faults(held: Mapping[str, Any] | None, wanted: Mapping[str, Any] | None, model_version: str) -> list[str]:
    """Return the faults of a product's row, without those of its vector; empty where it is as the ledger says.

    Args:
        held: the row of the collection (`list_hash_fields`, `ROW_FIELDS`); None where it has none.
        wanted: the same hashes and the epoch by the ledger; None where the product is not to be served.
        model_version: model version of the collection.
    """
    if held is None:
        return [MISSING] if wanted else []
    foreign = [FOREIGN_MODEL] if held["model_version"] != model_version else []
    if wanted is None:
        return [ORPHANED, *foreign]
    if held["epoch"] != wanted["epoch"]:
        return [STALE if held["epoch"] < wanted["epoch"] else UNRECORDED, *foreign]
    hashes = [name for name in HASH_FIELDS if name in held]
    return [*([CHANGED] if join_hashes(held, hashes) != join_hashes(wanted, hashes) else []), *foreign]


def find_vector_faults(vector: NDArray[np.float32], known: Sequence[Sequence[float]] | None) -> list[str]:
    """Return the faults of a served vector.

    Args:
        vector: the vector that the collection holds, [D].
        known: vectors of this product and content in the lake; a content that was encoded twice has two, which differ
            by the rounding of another batch, and either may be served. None where the row has another content than the
            ledger says, which is a fault of its own: then only the length is checked.
    """
    faults = [] if abs(measure_norm(vector) - 1) <= UNIT_NORM_TOLERANCE else [WRONG_NORM]
    if not known:
        return faults if known is None else [*faults, NOT_IN_LAKE]
    found = (np.asarray(one, np.float32) for one in known)
    is_known = any(one.shape == vector.shape and np.allclose(one, vector, 0, VECTOR_TOLERANCE) for one in found)
    return faults if is_known else [*faults, DIFFERENT]


def suggest_remedy(faults: Collection[str]) -> str:
    """Return what corrects rows with these faults, as sentences; empty for none.

    `moon repair` compares ids, hashes and epochs, and with --deep all fields and vectors. It writes what the lake has.
    """
    steps = []
    if DOUBLED in faults:
        steps.append(
            f"Delete both rows of the doubled products (pymilvus: delete with the filter {ID_FIELD} in [...]), because "
            "an upsert may leave one; `moon repair` then writes them again"
        )
    if NOT_IN_LAKE in faults:
        steps.append(
            "Put the files of the table `vectors` back from a backup (`moon check-lake` names damaged ones), or encode "
            "their dates again with `moon backfill` (docs/runbook.md, Damage)"
        )
    deep = {FOREIGN_MODEL, WRONG_NORM, DIFFERENT} & set(faults)
    if deep or set(faults) - {DOUBLED, NOT_IN_LAKE}:
        steps.append(f"Run `moon repair{' --deep' if deep else ''}`, which restores these rows from the lake")
    return ". ".join(steps)


def measure_norm(vector: NDArray[np.float32] | Sequence[float]) -> float:
    """Return the length of a vector; NaN where a number is."""
    return float(np.linalg.norm(np.asarray(vector, np.float64)))


@dataclass(frozen=True)
class RowSum:
    """Number of rows, and the sum of their hashes modulo 2**64.

    Attributes:
        rows, total: both; equal sums are sums of equal rows, up to one chance in 2**64.
    """

    rows: int = 0
    total: int = 0

    def __add__(self, other: "RowSum") -> "RowSum":
        return RowSum(self.rows + other.rows, (self.total + other.total) % MODULUS)


def sum_rows(rows: Iterable[tuple[str, str, int]]) -> RowSum:
    """Return the sum of rows, given as product id, hashes (one after the other) and epoch."""
    number = total = 0
    for row in rows:
        number += 1
        total += hash_row(*row)
    return RowSum(number, total % MODULUS)


def hash_row(product_id: str, content_hash: str, epoch: int) -> int:
    """Return the 64-bit hash of a row; the id's length and a colon separate its three parts."""
    text = f"{len(product_id)}:{product_id}{epoch}:{content_hash}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=HASH_BYTES).digest())


def merge_by_id(
    left: Iterable[Mapping[str, Any]], right: Iterable[Mapping[str, Any]]
) -> Iterator[tuple[Mapping[str, Any] | None, Mapping[str, Any] | None]]:
    """Yield the rows of two sides with the same product id together; None for a side that has none.

    Args:
        left, right: rows in the order of their ids by code points, which is that of their UTF-8 bytes; an id occurs
            once on each side.
    """
    first, second = iter(left), iter(right)
    one, other = next(first, None), next(second, None)
    while one is not None or other is not None:
        if other is None or (one is not None and one[ID_FIELD] < other[ID_FIELD]):
            yield one, None
            one = next(first, None)
        elif one is None or other[ID_FIELD] < one[ID_FIELD]:
            yield None, other
            other = next(second, None)
        else:
            yield one, other
            one, other = next(first, None), next(second, None)
