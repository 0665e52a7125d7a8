"""Estimates the number of records in a delivery from file sizes; only the footers of Parquet files are read."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.catalog.head import CatalogHead
from jobs.catalog.records import PACKED_SUFFIXES, CatalogFormat


def estimate_records(head: CatalogHead) -> int | None:
    """Return the approximate number of records in the files of a catalogue; None if sizes do not allow an estimate.

    Parquet footers have the number. For text formats all records are assumed to be as long as the first ones.
    """
    if head.whole and len(head.files) == 1:
        return len(head.records)
    lengths = [_measure_record(parsed.record, head.format) for parsed in head.records if parsed.record is not None]
    if not lengths or any("://" in file or file.lower().endswith(PACKED_SUFFIXES) for file in head.files):
        return None
    try:
        if head.format == "parquet":
            return sum(int(pq.read_metadata(file).num_rows) for file in head.files)
        size = sum(Path(file).stat().st_size for file in head.files)
    except (OSError, pa.ArrowException):
        return None
    return max(len(head.records), round(size * len(lengths) / sum(lengths)))


def _measure_record(record: dict[str, Any], kind: CatalogFormat) -> int:
    """Return the approximate size of a record in a file of a format, in bytes."""
    if kind in ("json", "jsonl"):
        return len(json.dumps(record, ensure_ascii=False, default=str).encode()) + 1
    values = sum(len(str(value).encode()) for value in record.values() if value is not None)
    if kind == "xml":  # <name>value</name>
        return values + sum(2 * len(name) + 5 for name in record)
    return values + len(record)  # a delimiter or the line's end after each field
