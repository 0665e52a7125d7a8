"""Lists the files of a delivery that a run reads, with their format, and checks that all of them were read.

`{date}` is already replaced in the names. The rules for names are in `jobs.catalog.parts`.
"""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import unquote

from pyspark.sql import functions as F

from jobs.catalog.archives import MAX_ARRAY_BYTES, check_array_sizes, choose_data_files, make_empty_error
from jobs.catalog.formats import CatalogBlock, scan_blocks
from jobs.catalog.parts import UnreadableFileError, has_subfolders, list_local_files
from jobs.catalog.records import HEAD_BYTES, PACKED_SUFFIXES, CatalogFormat, is_json_document
from jobs.spark.filesystem import list_files
from schemas.source import SourceMapping

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyspark.sql import DataFrame, SparkSession


@dataclass(frozen=True)
class Delivery:
    """The files of a delivery.

    Attributes:
        path: name of the delivery in messages.
        files: paths or URIs of the data files, sorted by name.
        kind: format of the files.
        partitions: names of the columns that come from ``name=value`` folders.
        has_subfolders: whether files are in folders that are not partitions.
    """

    path: str
    files: list[str]
    kind: CatalogFormat
    partitions: list[str]
    has_subfolders: bool


def list_delivery(spark: "SparkSession", path: str, mapping: SourceMapping) -> Delivery:
    """Return the data files of the catalogue and their format, taken from their names or the mapping.

    Raises:
        UnreadableFileError: there is no such file, or a part of the delivery would not be read.
    """
    local = Path(path)
    found = list_local_files(local) if local.exists() else list_files(spark, to_spark_path(path))
    if not found:
        raise UnreadableFileError(f"{path}: no such file or folder, or nothing in it")
    names, kind = choose_data_files(path, found, mapping.format)
    files = [found[name][0] for name in names]
    folders = dict.fromkeys(part for name in names for part in PurePosixPath(name).parts[:-1] if "=" in part)
    partitions = list(dict.fromkeys(folder.split("=", 1)[0] for folder in folders))
    # A .json file is an array, a wrapped array or JSON Lines: its first bytes must be read.
    if mapping.format == "auto" and kind == "json" and not _is_array(spark, files, mapping):
        kind = "jsonl"
    if kind == "json":
        check_array_sizes({name: found[name][1] for name in names}, MAX_ARRAY_BYTES)
    return Delivery(path, files, kind, partitions, has_subfolders(names))


def _is_array(spark: "SparkSession", files: list[str], mapping: SourceMapping) -> bool:
    lines = scan_blocks(spark, files, "jsonl", mapping.encoding)
    head = lines.select(F.substring("value", 1, HEAD_BYTES).alias("head")).head()
    return head is not None and is_json_document(bytes(head.head), mapping.id)


def check_packed_files(delivery: Delivery, rows: "DataFrame", counts: "Mapping[CatalogBlock, int]") -> None:
    """Check that no packed file unpacks to nothing; the sizes of plain files were checked before.

    Args:
        delivery: the files of the delivery.
        rows: lines of the files (`jobs.catalog.formats.scan_blocks`).
        counts: records by block; a file with records is not checked further.

    Raises:
        UnreadableFileError: a file has no line.
    """
    packed = {PurePosixPath(file).name for file in delivery.files if file.lower().endswith(PACKED_SUFFIXES)}
    if not packed or len({file for file, _ in counts}) == len(delivery.files):
        return
    seen = {PurePosixPath(unquote(row[0])).name for row in rows.select(rows.columns[0]).distinct().collect()}
    if empty := packed - seen:
        raise make_empty_error(min(empty))


def to_spark_path(path: str) -> str:
    """Return a path in Hadoop's form: s3a for S3."""
    return path.replace("s3://", "s3a://", 1)
