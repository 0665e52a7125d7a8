"""Reads the lake's files as a DataFrame: with Spark's own reader if possible, else with pyarrow in the tasks.

Spark reads a folder itself. For an object store it needs a Hadoop connector (``hadoop-aws`` for S3), which is not part
of the package pyspark. Without it the tasks read the files through pyarrow, with the lake's own options. Whole rows
then pass through Python, which is slower than a connector that skips columns (docs/cluster.md, "Object store").
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.dataset as ds
from deltalake import DeltaTable
from deltalake.transaction import RemoveAction

from jobs.lake.storage import Storage, escape_glob

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

TASKS_PER_CORE = 4
READ_BATCH_ROWS = 4096


def read_lake_files(
    spark: "SparkSession",
    storage: Storage,
    uris: Sequence[str],
    schema: pa.Schema,
    base: str,
    partition_by: Sequence[str] = (),
) -> "DataFrame":
    """Return the rows of Parquet files under the lake's root.

    Args:
        spark: the session.
        storage: the lake's root.
        uris: URIs of the files, from `Storage.uri`; without files there are no rows.
        schema: columns to return, including those from folder names.
        base: URI of the table's folder, below which folders are named ``column=value``.
        partition_by: the (string) columns that come only from those names.
    """
    from pyspark.sql.pandas.types import from_arrow_schema  # noqa: PLC0415  (spares readers without Spark)

    columns = from_arrow_schema(schema)
    if not uris:
        return spark.createDataFrame([], columns)
    if storage.is_local or can_spark_read(spark, storage.spark_uri(base)):
        reader = spark.read.schema(columns)
        reader = reader.option("basePath", storage.spark_uri(base)) if partition_by else reader
        return reader.parquet(*(escape_glob(storage.spark_uri(uri)) for uri in uris))
    prefix = len(base) + 1
    names = [(uri[prefix:],) for uri in uris]
    tasks = min(len(names), TASKS_PER_CORE * spark.sparkContext.defaultParallelism)
    read = partial(_read, storage=storage, schema=schema, base=base, partition_by=tuple(partition_by))
    return spark.createDataFrame(names, "name string").repartition(tasks).mapInArrow(read, columns)


def can_spark_read(spark: "SparkSession", uri: str) -> bool:
    """Return whether this session has a Hadoop connector for the URI's scheme."""
    from py4j.protocol import Py4JJavaError  # noqa: PLC0415

    context: Any = spark.sparkContext
    scheme = uri.partition("://")[0]
    try:
        context._jvm.org.apache.hadoop.fs.FileSystem.getFileSystemClass(scheme, context._jsc.hadoopConfiguration())
    except Py4JJavaError:
        return False
    return True


def open_dataset(
    storage: Storage, names: Sequence[str], schema: pa.Schema, base: str, partition_by: Sequence[str] = ()
) -> ds.Dataset:
    """Return Parquet files as a pyarrow dataset.

    Args:
        storage, schema, base, partition_by: as for `read_lake_files`.
        names: the files, relative to ``base``.
    """
    filesystem, root = storage.open()
    folder = root + base.removeprefix(storage.uri())
    folders = pa.schema([pa.field(column, pa.string()) for column in partition_by])
    return ds.dataset(
        [f"{folder}/{name}" for name in names],
        schema=schema,
        format="parquet",
        filesystem=filesystem,
        partitioning=ds.partitioning(folders, flavor="hive"),
        partition_base_dir=folder,
    )


def _read(
    batches: Iterator[pa.RecordBatch], storage: Storage, schema: pa.Schema, base: str, partition_by: tuple[str, ...]
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a task's files (column ``name``)."""
    for batch in batches:
        names = batch.column("name").to_pylist()
        if names:
            files = open_dataset(storage, names, schema, base, partition_by)
            yield from files.to_batches(batch_size=READ_BATCH_ROWS, batch_readahead=2, fragment_readahead=1)


def list_live_files(delta: DeltaTable, partition: Mapping[str, str]) -> dict[str, RemoveAction]:
    """Return the partition's live files by relative path, each as the action that would remove it."""
    actions = pa.table(delta.get_add_actions(flatten=True))
    now = int(time.time() * 1000)
    return {
        row["path"]: RemoveAction(row["path"], True, now, row["size_bytes"], dict(partition))
        for row in actions.to_pylist()
        if all(row[f"partition.{name}"] == value for name, value in partition.items())
    }
