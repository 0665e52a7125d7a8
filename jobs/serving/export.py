"""export: writes the served collection to one Parquet file with ids, hashes, dates and vectors."""

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.errors import MoonError
from jobs.milvus.client import connect_reader, count_rows, read_collection_properties, scan_rows, vector_page_size
from jobs.serving.collection_checks import load_collection
from jobs.serving.search import read_served_collection
from jobs.settings import Settings
from schemas.collection import (
    GROUP_FIELD,
    ID_FIELD,
    PROPERTIES,
    PROPERTY_DIMENSION,
    VECTOR_FIELD,
    read_schema_version,
    select_scalar_fields,
)

EXPORT_COLUMNS = (ID_FIELD, "content_hash", "snapshot_date", GROUP_FIELD)
"""Columns besides the vector, as far as the collection's schema version has them."""


class ExportError(MoonError):
    """The collection changed while it was read, or the file cannot be written."""


def export_collection(
    settings: Settings, out: Path, progress: Callable[[int, int], None] = lambda done, total: None
) -> int:
    """Write the collection behind the alias to a Parquet file; return the number of rows.

    Columns: `EXPORT_COLUMNS` and vector (float32, fixed size); the file's metadata carries the collection's name and
    properties. The file appears only when it is complete.

    Args:
        settings: Milvus and alias.
        out: path of the file; an existing file is replaced.
        progress: called with the number of rows written so far and the total.

    Returns:
        The number of rows written.

    Raises:
        NothingPublishedError: nothing is published.
        ExportError: rows were written or deleted during the export, or the folder does not exist.
    """
    if not out.parent.is_dir():
        raise ExportError(f"there is no folder {out.parent} to export into")
    with connect_reader(settings) as client:
        collection = read_served_collection(client, settings.alias).collection
        load_collection(client, collection)
        properties = read_collection_properties(client, collection)
        total, written = count_rows(client, collection), 0
        schema = _build_schema(int(properties[PROPERTY_DIMENSION]), collection, properties)
        page = vector_page_size(int(properties[PROPERTY_DIMENSION]))
        draft = out.with_name(f".{out.name}.{uuid.uuid4().hex}")
        try:
            with pq.ParquetWriter(draft, schema, compression="zstd") as file:
                for rows in scan_rows(client, collection, schema.names[1:], page_rows=page):
                    file.write_table(_build_table(rows, schema))
                    written += len(rows)
                    progress(written, total)
            if written != total or count_rows(client, collection) != total:
                raise ExportError(
                    f"{collection} changed while it was exported ({written:,} of {total:,} rows read): run it again "
                    "when no night is running"
                )
            draft.replace(out)
        finally:
            draft.unlink(missing_ok=True)
    return written


def _build_schema(dimension: int, collection: str, properties: dict[str, str]) -> pa.Schema:
    metadata = {"moon.collection": collection, **{name: properties.get(name, "") for name in PROPERTIES}}
    known = select_scalar_fields(read_schema_version(properties))
    texts = [pa.field(name, pa.string(), nullable=False) for name in EXPORT_COLUMNS if name in known]
    vector = pa.field(VECTOR_FIELD, pa.list_(pa.float32(), dimension), nullable=False)
    return pa.schema([*texts, vector], metadata=metadata)


def _build_table(rows: list[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    vectors = np.array([row[VECTOR_FIELD] for row in rows], np.float32)
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
    texts = (pa.array([row[name] for row in rows]) for name in schema.names if name != VECTOR_FIELD)
    return pa.Table.from_arrays([*texts, column], schema=schema)
