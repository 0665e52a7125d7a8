"""audit: compares what a collection holds with its ledger and the lake's vectors; writes nothing, not even a lease.

The number of rows alone does not see one row deleted and a foreign one added. Each side is therefore read once, and a
row adds a 64-bit hash of its product id, hashes and epoch, modulo 2**64. Where the sums differ, or all vectors
are to be compared, both sides are read in the order of their ids and compared row by row, in constant memory.

A run that writes during the audit would be taken for damage: lease and ledger are looked at before and after.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.errors import EXIT_TEMPORARY, MoonError, NightStoppedError
from jobs.milvus.client import (
    PAGE_ROWS,
    build_range_filter,
    connect_reader,
    count_rows,
    fetch_rows,
    read_collection_properties,
    scan_rows,
    vector_page_size,
)
from jobs.serving.alias import find_alias_problem
from jobs.serving.collection_checks import describe_lost_index, load_collection
from jobs.serving.row_faults import (
    DOUBLED,
    FAULTS,
    ROW_FIELDS,
    RowSum,
    find_row_faults,
    find_vector_faults,
    join_hashes,
    list_hash_fields,
    merge_by_id,
    sum_rows,
)
from jobs.serving.row_writer import iter_local_batches
from jobs.serving.search import read_served_collection
from jobs.state.lease import describe_holder, find_writer, read_lease_state
from jobs.state.ledger import read_ledger, read_ledger_head
from jobs.state.ledger_check import LEDGER_REMEDY, find_ledger_problem
from jobs.state.run_context import RunContext
from schemas.collection import ID_FIELD, PAYLOAD_HASH_FIELD, PROPERTY_DIMENSION, VECTOR_FIELD
from schemas.tables import CONTENT_KEY

if TYPE_CHECKING:
    from pymilvus import MilvusClient

_SUM_SCHEMA = "rows long, total string"
"""Spark's schema of a task's sum; Spark has no unsigned integers of 64 bits."""


class CollectionBusyError(MoonError):
    """A run writes the collection while it is audited: its rows would be taken for damage."""

    exit_status = EXIT_TEMPORARY


@dataclass
class AuditResult:
    """Result of an audit.

    Attributes:
        collection, alias: collection that was audited, and the name by which it was found.
        held, wanted: sums of the collection and of its ledger.
        compared: number of products whose vectors were compared with the lake.
        counts: number of rows with each fault (`jobs.serving.row_faults.FAULTS`).
        examples: a few product ids of each fault.
        problems: what is wrong with the collection as a whole, each with its remedy.
    """

    collection: str
    alias: str
    held: RowSum = field(default_factory=RowSum)
    wanted: RowSum = field(default_factory=RowSum)
    compared: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong, as far as was looked."""
        return not self.counts and not self.problems

    def add(self, faults: Iterable[str], product_id: str, max_examples: int) -> None:
        """Count the faults of a product."""
        for fault in faults:
            self.counts[fault] += 1
            named = self.examples.setdefault(fault, [])
            if len(named) < max_examples:
                named.append(product_id)

    def as_dict(self) -> dict[str, object]:
        """Return the fields, for JSON; sums as hexadecimal text, and the number of every fault."""
        sums = {name: f"{one.total:016x}" for name, one in (("sum", self.held), ("ledger_sum", self.wanted))}
        rows = {"rows": self.held.rows, "ledger_rows": self.wanted.rows, "compared_vectors": self.compared}
        named = {"collection": self.collection, "alias": self.alias, "equal": self.is_sound}
        counts = {fault: self.counts[fault] for fault in FAULTS}
        return {**named, **rows, **sums, "counts": counts, "examples": self.examples, "problems": self.problems}


def audit_served(context: RunContext, *, max_examples: int = 5, sample: int = 0, full: bool = False) -> AuditResult:
    """Return how the served collection compares with its ledger and the lake.

    Args:
        context: lake, session and settings; its date is not used.
        max_examples: most ids of each fault.
        sample: number of products whose vectors are compared with the lake: the same ones while the ledger has them.
        full: compare the vectors of all products.

    Raises:
        NothingPublishedError: the alias names no collection of ours.
        NightStoppedError: this lake has no ledger of the collection.
        CollectionBusyError: a run writes the collection.
        DamageError: the collection has other fields, or a server cannot load it without its index.
    """
    with connect_reader(context.settings) as client:
        served = read_served_collection(client, context.settings.alias)
        result = AuditResult(served.collection, context.settings.alias)
        if problem := find_alias_problem(context.lake, result.alias, result.collection):
            result.problems.append(problem)
        if not context.lake.exists("served") or not read_ledger_head(context.lake, result.collection).version:
            if problem:
                return result  # the collection is not one of this lake's
            raise NightStoppedError(
                f"the ledger of this lake knows nothing of {result.collection}, which alias {result.alias} names: name "
                "the lake that its nights are kept in (--lake)"
            )
        before = _read_write_state(context, result.collection)
        load_collection(client, result.collection)
        _Audit(context, client, result, served.model_version, max_examples).run(sample, full=full)
        if _read_write_state(context, result.collection) != before:
            raise CollectionBusyError(
                f"{result.collection} was written while it was audited: run the same command again"
            )
    return result


def _read_write_state(context: RunContext, name: str) -> tuple[int, int]:
    """Return two numbers of which one changes when anybody writes the collection.

    Raises:
        CollectionBusyError: somebody writes it now.
    """
    epoch = 0
    if context.lake.exists("leases"):
        if writer := find_writer(context.lake, name, context.settings):
            raise CollectionBusyError(
                f"{describe_holder(writer.holder)} writes {name}, and rows on their way would be taken for damage: run "
                "the same command again when that run has ended"
            )
        epoch = read_lease_state(context.lake, name).epoch
    return read_ledger_head(context.lake, name).version, epoch


@dataclass(frozen=True)
class _Audit:
    """Reads both sides of one audit and fills its result."""

    context: RunContext
    client: "MilvusClient"
    result: AuditResult
    model_version: str
    max_examples: int

    def run(self, sample: int, *, full: bool) -> None:
        """Fill the result."""
        ledger = read_ledger(self.context.spark, self.context.lake, self.result.collection)
        if full or not self._sum(ledger):
            self._compare_all(ledger, with_vectors=full)
        if sample and not full:
            self._compare_sample(ledger, sample)
        self._find_doubled()
        self._find_problems()

    def _sum(self, ledger: DataFrame) -> bool:
        """Sum both sides; return whether they are equal and every row is of the collection's model."""
        held, is_ours = RowSum(), True
        hashes = list_hash_fields(self.result.collection)
        for page in scan_rows(self.client, self.result.collection, [*hashes, *ROW_FIELDS]):
            held += sum_rows((row[ID_FIELD], join_hashes(row, hashes), row["epoch"]) for row in page)
            is_ours &= all(row["model_version"] == self.model_version for row in page)
        sums = ledger.select(ID_FIELD, F.concat(*hashes), "epoch").mapInArrow(_sum_task, _SUM_SCHEMA).collect()
        self.result.held = held
        self.result.wanted = sum((RowSum(row.rows, int(row.total)) for row in sums), RowSum())
        return is_ours and held == self.result.wanted

    def _compare_all(self, ledger: DataFrame, *, with_vectors: bool) -> None:
        """Compare the rows of both sides, in the order of their ids."""
        held, wanted, hashes = RowSum(), RowSum(), list_hash_fields(self.result.collection)
        epochs: defaultdict[int, Counter[bool]] = defaultdict(Counter)
        for mine, theirs in merge_by_id(self._scan(with_vectors), self._read_ledger(ledger, with_vectors)):
            faults = find_row_faults(mine, theirs, self.model_version)
            if mine:
                held += sum_rows([(mine[ID_FIELD], join_hashes(mine, hashes), mine["epoch"])])
            if theirs:
                wanted += sum_rows([(theirs[ID_FIELD], join_hashes(theirs, hashes), theirs["epoch"])])
                epochs[theirs["epoch"]][bool(mine and mine["epoch"] == theirs["epoch"])] += 1
            if mine and theirs and with_vectors:
                faults += _compare_vectors(mine, theirs)
                self.result.compared += 1
            self.result.add(faults, (mine or theirs or {})[ID_FIELD], self.max_examples)
        self.result.held, self.result.wanted = held, wanted
        newest = max(epochs, default=0)
        if epochs[newest][False] and not epochs[newest][True]:
            self.result.problems.append(_describe_ledger_ahead(self.result.collection, newest, epochs[newest][False]))

    def _compare_sample(self, ledger: DataFrame, number: int) -> None:
        """Compare the vectors of some products with the lake."""
        chosen = ledger.orderBy(F.xxhash64(ID_FIELD), ID_FIELD).limit(number)
        rows, size = list(self._read_ledger(chosen, with_vectors=True)), self._page_rows()
        for start in range(0, len(rows), size):
            wanted = {row[ID_FIELD]: row for row in rows[start : start + size]}
            for row in fetch_rows(self.client, self.result.collection, wanted, ["content_hash", VECTOR_FIELD]):
                self.result.add(_compare_vectors(row, wanted[row[ID_FIELD]]), row[ID_FIELD], self.max_examples)
                self.result.compared += 1

    def _scan(self, with_vectors: bool) -> Iterator[dict[str, Any]]:
        """Yield the rows of the collection in the order of their ids."""
        hashes = list_hash_fields(self.result.collection)
        fields = [*hashes, *ROW_FIELDS, *([VECTOR_FIELD] if with_vectors else [])]
        size = self._page_rows() if with_vectors else PAGE_ROWS
        for page in scan_rows(self.client, self.result.collection, fields, page_rows=size):
            yield from page

    def _page_rows(self) -> int:
        properties = read_collection_properties(self.client, self.result.collection)
        return vector_page_size(int(properties[PROPERTY_DIMENSION]))

    def _read_ledger(self, ledger: DataFrame, with_vectors: bool) -> Iterator[dict[str, Any]]:
        """Yield rows of the ledger in the order of their ids; ``known`` has the lake's vectors of their contents."""
        rows = ledger.select(*CONTENT_KEY, PAYLOAD_HASH_FIELD, "epoch")
        if with_vectors:
            lake, spark = self.context.lake, self.context.spark
            vectors = lake.read(spark, "vectors", {"model_version": self.model_version})
            wanted = vectors.join(rows.select(*CONTENT_KEY), CONTENT_KEY, "left_semi")
            known = wanted.groupBy(*CONTENT_KEY).agg(F.collect_list(VECTOR_FIELD).alias("known"))
            rows = rows.join(known, CONTENT_KEY, "left")
        for batch in iter_local_batches(rows.orderBy(ID_FIELD)):
            yield from batch.to_pylist()

    def _find_doubled(self) -> None:
        """Count second rows of an id, which a server's insert adds and its queries do not show."""
        name = self.result.collection
        if count_rows(self.client, name) <= self.result.held.rows:
            return
        for page in scan_rows(self.client, name, []):
            ids = [row[ID_FIELD] for row in page]
            for product_id in find_doubled_ids(ids, self._count):
                self.result.add([DOUBLED], product_id, self.max_examples)

    def _count(self, low: str, high: str) -> int:
        return count_rows(self.client, self.result.collection, build_range_filter(low, high))

    def _find_problems(self) -> None:
        """Add what is wrong with the collection or its ledger as a whole."""
        lake, name, problems = self.context.lake, self.result.collection, self.result.problems
        if problem := find_ledger_problem(lake, name, self.result.wanted.rows):
            problems.append(f"the ledger is at fault: it {problem}. Remedy: {LEDGER_REMEDY}")
        if VECTOR_FIELD not in self.client.list_indexes(name):
            problems.append(describe_lost_index(name))


def find_doubled_ids(ids: Sequence[str], count: Callable[[str, str], int]) -> Iterator[str]:
    """Yield the ids that have more than one row, by halving ranges that hold more rows than ids.

    Args:
        ids: ids of adjacent rows, in their order.
        count: returns the number of rows from one id to another, both included.
    """
    if not ids or count(ids[0], ids[-1]) == len(ids):
        return
    if len(ids) == 1:
        yield ids[0]
        return
    middle = len(ids) // 2
    yield from find_doubled_ids(ids[:middle], count)
    yield from find_doubled_ids(ids[middle:], count)


def _compare_vectors(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """Return the faults of a row's vector; ``known`` of the ledger's row has the lake's vectors."""
    known = theirs["known"] or () if mine["content_hash"] == theirs["content_hash"] else None
    return find_vector_faults(np.asarray(mine[VECTOR_FIELD], np.float32), known)


def _describe_ledger_ahead(name: str, epoch: int, rows: int) -> str:
    return (
        f"the ledger is ahead of {name}, which has none of the {rows:,} rows that the last write (epoch {epoch}) "
        "brought: Milvus was restored from a backup, or that run wrote to another Milvus. Remedy: name the right one "
        "with --milvus, or run `moon repair`, which writes the rows again from the lake"
    )


def _sum_task(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    columns = ((column.to_pylist() for column in batch.columns) for batch in batches)
    found = sum_rows(row for one in columns for row in zip(*one, strict=True))
    yield pa.RecordBatch.from_pydict(
        {"rows": pa.array([found.rows], pa.int64()), "total": pa.array([str(found.total)], pa.string())}
    )
