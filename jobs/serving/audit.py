"""audit: compares what a collection holds with its ledger, by a sum that does not depend on the order of the rows.

The number of rows alone does not see one row deleted and a foreign one added. Each side is read once and nothing is
written or joined: a row adds a 64-bit hash of its product id, content and payload hash, modulo 2**64. Where the sums
differ, the rows are compared, to name some.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.milvus.client import scan_rows
from jobs.serving.reconcile import Reconciler
from schemas.collection import ID_FIELD, PAYLOAD_HASH_FIELD, has_payload

HASH_BYTES = 8
MODULUS = 1 << (8 * HASH_BYTES)

_SUM_SCHEMA = "rows long, total string"
"""Spark's schema of a task's sum; Spark has no unsigned integers of 64 bits."""


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


@dataclass(frozen=True)
class AuditResult:
    """Result of an audit.

    Attributes:
        collection: name of the collection.
        held, wanted: sums of the collection and of its ledger.
        examples: a few product ids of rows that differ, by kind (missing, changed, surplus).
    """

    collection: str
    held: RowSum
    wanted: RowSum
    examples: dict[str, list[str]] = field(default_factory=dict)

    @property
    def is_equal(self) -> bool:
        """Whether the collection holds what the ledger says."""
        return self.held == self.wanted

    def as_dict(self) -> dict[str, object]:
        """Return the fields, for JSON; sums as hexadecimal text."""
        sums = {name: f"{one.total:016x}" for name, one in (("sum", self.held), ("ledger_sum", self.wanted))}
        counts = {"rows": self.held.rows, "ledger_rows": self.wanted.rows}
        return {"collection": self.collection, "equal": self.is_equal, **counts, **sums, "examples": self.examples}


def audit_collection(reconciler: Reconciler, ledger: DataFrame, number: int) -> AuditResult:
    """Compare the sums of a collection and its ledger; nothing is written.

    Args:
        reconciler: reads the collection, under its lease.
        ledger: rows that it should hold (`jobs.state.ledger.read_ledger`).
        number: most examples of each kind of difference.
    """
    name = reconciler.writer.collection
    hashes = ["content_hash", *([PAYLOAD_HASH_FIELD] if has_payload(name) else [])]
    pages = scan_rows(reconciler.client, name, hashes)
    held = sum_rows((row[ID_FIELD], "".join(row[one] for one in hashes)) for page in pages for row in page)
    sums = ledger.select(ID_FIELD, F.concat(*hashes)).mapInArrow(_sum_task, _SUM_SCHEMA).collect()
    wanted = sum((RowSum(row.rows, int(row.total)) for row in sums), RowSum())
    if held == wanted:
        return AuditResult(name, held, wanted)
    return AuditResult(name, held, wanted, reconciler.find_examples(ledger, number))


def sum_rows(rows: Iterable[tuple[str, str]]) -> RowSum:
    """Return the sum of rows, given as product id and hashes (of content and payload, one after the other)."""
    number = total = 0
    for product_id, content_hash in rows:
        number += 1
        total += hash_row(product_id, content_hash)
    return RowSum(number, total % MODULUS)


def hash_row(product_id: str, content_hash: str) -> int:
    """Return the 64-bit hash of a row; the id's length separates id and content hash."""
    text = f"{len(product_id)}:{product_id}{content_hash}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=HASH_BYTES).digest())


def _sum_task(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    ids = ((batch.column(0).to_pylist(), batch.column(1).to_pylist()) for batch in batches)
    found = sum_rows(row for names, hashes in ids for row in zip(names, hashes, strict=True))
    yield pa.RecordBatch.from_pydict(
        {"rows": pa.array([found.rows], pa.int64()), "total": pa.array([str(found.total)], pa.string())}
    )
