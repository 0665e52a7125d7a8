"""Finds the columns of a delivery, and the mapped columns whose absence stops a run."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from jobs.catalog.records import CatalogFormat
from schemas.source_mapping import SourceMapping


@dataclass(frozen=True)
class Survey:
    """The result of one pass over a catalogue.

    Attributes:
        counts: Number of records by block: a file's URI and the byte offset in it.
        columns: The source's columns; None if no record could be read.
        is_complete: Whether no record of any date can have further columns.
        is_whole: Whether all records were read.
    """

    counts: Mapping[tuple[str, int], int]
    columns: list[str] | None
    is_complete: bool
    is_whole: bool = False

    def find_missing(self, mapping: SourceMapping) -> tuple[dict[str, str | None], dict[str, str | None]]:
        """Return the mapped columns that the source lacks, and those of them that stop a run.

        Each is returned with its most similar column or None. If later records may have more columns, only id and title
        must occur.
        """
        missing = {} if self.columns is None else mapping.find_missing_columns(self.columns)
        required = missing if self.is_complete else (mapping.id, mapping.title)
        return missing, {name: near for name, near in missing.items() if name in required}


def is_complete(kind: CatalogFormat) -> bool:
    """Return whether the columns found are all columns that records can have.

    A later line of JSON Lines may have more columns than the sample, and a later delivery in XML may have more
    elements.
    """
    return kind not in ("jsonl", "xml")


def unite_columns(kind: CatalogFormat, blocks: Iterable[Sequence[str]]) -> list[str] | None:
    """Return the columns that the records of a delivery have; None if no record could be read.

    Args:
        kind: Format. Every record of CSV has all columns of its file, so a column that one of several files lacks is
            missing. What Parquet files may lack is in `jobs.catalog.parquet_parts.check_footers`.
        blocks: Columns of the records of each file or part of one; a block without a readable record has none.
    """
    known = [names for names in blocks if names]
    if not known:
        return None
    if kind == "csv":
        return [name for name in known[0] if all(name in names for names in known)]
    return list(dict.fromkeys(name for names in known for name in names))
