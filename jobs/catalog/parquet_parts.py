"""Reads the Parquet files of a delivery from any writer: only mapped columns, each file by its own schema.

Spark uses the schema of one file for all files and reads nulls for columns that another file lacks. It also refuses a
whole file for the type of a column that is not needed. Therefore the driver reads every footer first.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

from py4j.protocol import Py4JJavaError

from jobs.catalog.formats import make_place_columns, quote_name
from jobs.catalog.parts import UnreadableFileError
from jobs.lake.storage import escape_glob

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

SESSION_SETTINGS = {
    "spark.sql.caseSensitive": "true",
    "spark.sql.legacy.parquet.nanosAsLong": "true",
    "spark.sql.sources.partitionColumnTypeInference.enabled": "false",
}
"""Names as they are written, nanoseconds as numbers (made moments here), partition values as text."""


@dataclass(frozen=True)
class ParquetFooter:
    """Column names and types from one file's footer.

    Attributes:
        names: all columns, in order.
        types: Spark's type of each mapped column, as JSON.
        nanoseconds: mapped columns that are timestamps in nanoseconds; whether they are in UTC.
    """

    names: list[str]
    types: dict[str, str]
    nanoseconds: dict[str, bool]

    @property
    def layout(self) -> str:
        """The properties that files must share to be read together."""
        return f"{sorted(self.types.items())} {sorted(self.nanoseconds.items())}"


def read_footers(session: "SparkSession", files: Sequence[str], mapped: Iterable[str]) -> dict[str, ParquetFooter]:
    """Return the footer of every file, by path.

    Args:
        session: session from `open_parquet_session`.
        files: paths or URIs.
        mapped: columns whose types are needed.

    Raises:
        UnreadableFileError: a file is not Parquet or is truncated, or Spark cannot read the type of a mapped column.
    """
    wanted = set(mapped)
    return {file: _read_footer(session, file, wanted) for file in files}


def open_parquet_session(spark: "SparkSession") -> "SparkSession":
    """Return a session of the same application that reads Parquet by `SESSION_SETTINGS`."""
    session = spark.newSession()
    for name, value in SESSION_SETTINGS.items():
        session.conf.set(name, value)
    return session


def scan_parquet_files(
    session: "SparkSession",
    footers: dict[str, ParquetFooter],
    base: str,
    partitions: Sequence[str],
    mapped: Sequence[str],
) -> "DataFrame":
    """Return a DataFrame of file, block and the mapped columns of Parquet files.

    The columns are named ``c`` and their number in `mapped`, because Spark's tasks do not accept every column name.

    Args:
        session: session from `open_parquet_session`.
        footers: footers of the files (`read_footers`).
        base: folder below which ``name=value`` folders are columns.
        partitions: names of these columns.
        mapped: columns to read; columns that no file has are left out.

    Raises:
        UnreadableFileError: a file lacks a mapped column that another file has, or types cannot be read together.
    """
    in_files = {name for footer in footers.values() for name in footer.names}
    needed = [name for name in mapped if name in in_files and name not in partitions]
    check_footers(footers, needed)
    as_text = find_mixed_types(footers, needed)
    groups: dict[str, list[str]] = {}
    for file, footer in footers.items():
        groups.setdefault(footer.layout, []).append(file)
    frames = []
    for files in groups.values():
        footer = footers[files[0]]
        schema = ", ".join(f"{quote_name(name)} {footer.types[name]}" for name in needed)
        table = session.read.schema(schema).option("basePath", base).parquet(*map(escape_glob, files))
        numbered = [
            _read_column(footer, name, as_text).alias(f"c{number}")
            for number, name in enumerate(mapped)
            if name in needed or name in partitions
        ]
        frames.append(table.select(*make_place_columns(), *numbered))
    return reduce(lambda left, right: left.unionByName(right), frames)


def check_footers(footers: Mapping[str, ParquetFooter], needed: Sequence[str]) -> None:
    """Check that no file lacks a column that another file has.

    Args:
        footers: footers by file.
        needed: mapped columns that at least one file has.

    Raises:
        UnreadableFileError: a file lacks columns; the message names the file and the columns.
    """
    for file, footer in footers.items():
        if lacking := [name for name in needed if name not in footer.names]:
            raise UnreadableFileError(
                f"{file} lacks {', '.join(map(repr, lacking))}: the mapping names it, and other files of the delivery "
                "have it. Deliver the file again, or take it out of the mapping"
            )


def find_mixed_types(footers: Mapping[str, ParquetFooter], needed: Sequence[str]) -> set[str]:
    """Return the columns that have several types, all of which can be read as text.

    Args:
        footers: footers by file.
        needed: columns that all files have.

    Raises:
        UnreadableFileError: the types cannot be read together.
    """
    mixed = set()
    for name in needed:
        kinds = {footer.types[name]: file for file, footer in footers.items()}
        if len(kinds) > 1:
            if any(kind.startswith(("ARRAY", "MAP", "STRUCT")) for kind in kinds):
                listed = "; ".join(f"{kind} in {file}" for kind, file in kinds.items())
                raise UnreadableFileError(f"the column {name!r} has several types: {listed}. Deliver one of them")
            mixed.add(name)
    return mixed


def _read_footer(session: "SparkSession", file: str, mapped: set[str]) -> ParquetFooter:
    jvm = session._jvm
    hadoop, parquet = jvm.org.apache.hadoop.fs, jvm.org.apache.parquet  # type: ignore[union-attr]
    spark_sql = jvm.org.apache.spark.sql.execution.datasources.parquet  # type: ignore[union-attr]
    configuration = session._jsc.hadoopConfiguration()
    try:
        source = parquet.hadoop.util.HadoopInputFile.fromPath(hadoop.Path(file), configuration)
        reader = parquet.hadoop.ParquetFileReader.open(source)
        schema = reader.getFooter().getFileMetaData().getSchema()
        reader.close()
    except Py4JJavaError as error:
        cause = str(error.java_exception.getMessage()).strip().splitlines()[0]
        raise UnreadableFileError(f"{file} is no readable Parquet file: {cause}") from error
    converter = spark_sql.ParquetToSparkSchemaConverter(session._jsparkSession.sessionState().conf())
    names = [schema.getFieldName(index) for index in range(schema.getFieldCount())]
    types, nanoseconds = {}, {}
    for name in mapped.intersection(names):
        field = schema.getType(name)
        annotation = str(field.getLogicalTypeAnnotation())
        if annotation.startswith("TIMESTAMP(NANOS"):
            nanoseconds[name] = annotation.endswith("true)")
        fields = jvm.java.util.ArrayList()  # type: ignore[union-attr]
        fields.add(field)
        try:
            types[name] = converter.convert(parquet.schema.MessageType("column", fields)).fields()[0].dataType().sql()
        except Exception as error:  # Py4J's classes and those that pyspark makes of them
            raise UnreadableFileError(
                f"{file}: the column {name!r} has a type that cannot be read ({field})"
            ) from error
    return ParquetFooter(names, types, nanoseconds)


def _read_column(footer: ParquetFooter, name: str, as_text: set[str]) -> "Column":
    from pyspark.sql import functions as F  # noqa: PLC0415

    column = F.col(quote_name(name))
    if name in footer.nanoseconds:
        moment = F.timestamp_micros(F.expr(f"{quote_name(name)} div 1000"))
        column = moment if footer.nanoseconds[name] else moment.cast("timestamp_ntz")
    return column.cast("string") if name in as_text else column
