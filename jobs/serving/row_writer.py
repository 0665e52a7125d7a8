"""Upserts and deletes rows in Milvus, in requests of bounded size, and checks the lease before each request.

Spark tasks write to a Milvus server in parallel, each with its own connection. Milvus Lite runs in the driver's
process, so only the driver writes to it, from batches that Spark sends one after the other.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyspark.errors import PythonException
from pyspark.sql import DataFrame

from jobs.errors import StoppedError
from jobs.milvus.client import build_ids_filter, connect, detect_backend, read_collection_properties
from jobs.milvus.retrying import MilvusUnreachableError, guard_retries
from jobs.serving.rows import Entity, estimate_entity_bytes, iter_entities
from jobs.settings import Settings
from jobs.spark.progress import report_done
from jobs.spark.row_stream import stream_rows
from jobs.spark.worker_errors import is_worker_error, read_worker_message
from jobs.state.lease import LeaseGuard
from schemas.collection import (
    ID_FIELD,
    PAYLOAD_HASH_FIELD,
    VECTOR_FIELD,
    parse_schema_version,
    read_features,
    select_scalar_fields,
)

if TYPE_CHECKING:
    from pymilvus import MilvusClient

SAMPLED_FIELDS = ("content_hash", PAYLOAD_HASH_FIELD, VECTOR_FIELD)

SAMPLES_PER_TASK = 8
"""Rows of every task that are read back afterwards."""

IDS_PER_DELETE = 1000

WRITTEN_SCHEMA = pa.schema(
    [
        pa.field("rows", pa.int64()),
        pa.field("stopped", pa.string()),
        pa.field(
            "sample",
            pa.list_(
                pa.struct(
                    [
                        pa.field(ID_FIELD, pa.string()),
                        pa.field("content_hash", pa.string()),
                        pa.field(PAYLOAD_HASH_FIELD, pa.string()),
                        pa.field(VECTOR_FIELD, pa.list_(pa.float32())),
                    ]
                )
            ),
        ),
    ]
)
"""What a writing task returns; one row a task. ``stopped`` says why it ended early: so every task ends at a batch,
where one that fails would have the others killed."""


@dataclass
class WriteResult:
    """Number and sample of the rows that were sent.

    Attributes:
        rows: number of rows.
        sample: a few of the rows (id, and `SAMPLED_FIELDS` as far as they were sent), to be read back.
    """

    rows: int = 0
    sample: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class RowWriter:
    """Writes one collection; picklable, so that Spark can send it to workers.

    Attributes:
        settings: Milvus connection and size of a request.
        guard: checks the lease.
        collection: name of the collection.
    """

    settings: Settings
    guard: LeaseGuard
    collection: str

    def read_fields(self, client: "MilvusClient") -> tuple[str, ...]:
        """Return the scalar fields of the collection."""
        features = read_features(read_collection_properties(client, self.collection))
        return select_scalar_fields(parse_schema_version(self.collection), features)

    def write(self, client: "MilvusClient", rows: DataFrame, fields: tuple[str, ...] = ()) -> WriteResult:
        """Upsert all rows (`jobs.serving.rows`) and return their number after the last acknowledgement.

        Args:
            client: Milvus client.
            rows: rows to write.
            fields: fields to write, where the rows' others stay as they are (`PARTIAL_UPDATE` only); empty for all.

        Raises:
            LeaseLostError: another writer took over; it reconciles what was sent.
            StoppedError: we were asked to end; nothing is on its way any more.
            MilvusUnreachableError: Milvus did not come back in time.
        """
        if detect_backend(client) == "lite":
            return self.send(client, iter_local_batches(rows), fields)
        try:
            answers = rows.mapInArrow(
                partial(_write_task, writer=self, fields=fields), _spark_type(WRITTEN_SCHEMA)
            ).collect()
        except Exception as error:
            self.guard.check()  # a lost lease ends the tasks: say so, not how Spark saw it
            if isinstance(error, PythonException) and is_worker_error(error, MilvusUnreachableError):
                raise MilvusUnreachableError(read_worker_message(error)) from error
            raise
        stopped = next((answer.stopped for answer in answers if answer.stopped), None)
        if stopped:
            raise StoppedError(stopped)
        samples = [row.asDict() for answer in answers for row in answer.sample]
        sample = [{name: value for name, value in row.items() if value is not None} for row in samples]
        return WriteResult(sum(answer.rows for answer in answers), sample)

    def send(
        self, client: "MilvusClient", batches: Iterable[pa.RecordBatch], fields: tuple[str, ...] = ()
    ) -> WriteResult:
        """Upsert the rows of some batches through one connection; `fields` as for `write`."""
        written, client = WriteResult(), guard_retries(client, self.guard.check)
        options = {"partial_update": True} if fields else {}
        names = fields or self.read_fields(client)
        rows = (entity for batch in batches for entity in iter_entities(batch, names))
        for request in split_requests(rows, self.settings.upsert_batch_bytes):
            self.guard.check()
            _upsert(client, self.collection, request, **options)
            written.rows += len(request)
            if len(written.sample) < SAMPLES_PER_TASK:
                names_of_sample = [name for name in (ID_FIELD, *SAMPLED_FIELDS) if name in request[0]]
                written.sample.append({name: request[0][name] for name in names_of_sample})
            report_done(written.rows)
        return written

    def delete(self, client: "MilvusClient", ids: DataFrame) -> int:
        """Delete the rows of all ``product_id`` and return the number of ids."""
        deleted, request = 0, list[str]()
        for row in stream_rows(ids.select(ID_FIELD)):
            request.append(row[ID_FIELD])
            if len(request) == IDS_PER_DELETE:
                deleted += self._delete(client, request)
                request = []
        return deleted + self._delete(client, request)

    def _delete(self, client: "MilvusClient", ids: list[str]) -> int:
        if ids:
            self.guard.check()
            guard_retries(client, self.guard.check).delete(self.collection, filter=build_ids_filter(ids))
        return len(ids)


def split_requests(rows: Iterable[Entity], max_bytes: int) -> Iterator[list[Entity]]:
    """Yield lists of rows of at most `max_bytes` together; a larger row is a list of its own."""
    request, size = list[Entity](), 0
    for row in rows:
        grown = size + estimate_entity_bytes(row)
        if request and grown > max_bytes:
            yield request
            request, grown = [], estimate_entity_bytes(row)
        request.append(row)
        size = grown
    if request:
        yield request


def iter_local_batches(rows: DataFrame) -> Iterator[pa.RecordBatch]:
    """Yield a DataFrame's Arrow batches on the driver, one after the other."""
    for row in stream_rows(rows.mapInArrow(_pack_entities, "batch binary")):
        with pa.ipc.open_stream(row.batch) as stream:
            yield from stream


def _pack_entities(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema) as stream:
            stream.write_batch(batch)
        yield pa.RecordBatch.from_pydict({"batch": [sink.getvalue().to_pybytes()]})


def _write_task(
    batches: Iterable[pa.RecordBatch], writer: RowWriter, fields: tuple[str, ...]
) -> Iterator[pa.RecordBatch]:
    written, stopped = WriteResult(), None
    with connect(writer.settings) as client:
        try:
            written = writer.send(client, batches, fields)
        except StoppedError as error:
            stopped = str(error)
    answer = {"rows": written.rows, "sample": written.sample, "stopped": stopped}
    yield pa.RecordBatch.from_pylist([answer], schema=WRITTEN_SCHEMA)


def _spark_type(schema: pa.Schema) -> Any:
    from pyspark.sql.pandas.types import from_arrow_schema  # noqa: PLC0415  (not needed by the tasks)

    return from_arrow_schema(schema)


def _upsert(client: "MilvusClient", collection: str, rows: list[Entity], **options: bool) -> None:
    client.upsert(collection, rows, **options)
