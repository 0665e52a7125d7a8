"""Reads a purchase log of a shop: query, product bought and time.

JSON Lines or Parquet with the columns ``product_id``, ``time``, and ``query`` (text) or ``query_image`` (path or URI;
paths start at the log's folder) or both. A second file may list products that are variants of one another:
``product_id``, ``family``. A family whose name is the id of a product includes that product.
"""

from dataclasses import dataclass
from pathlib import Path

from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F
from pyspark.sql.types import StringType

from jobs.errors import MoonError
from schemas.uri import canonicalise_uri, folder_uri

PURCHASE_COLUMNS = ("product_id", "time", "query", "query_image")
VARIANT_COLUMNS = ("product_id", "family")


@dataclass(frozen=True)
class PurchaseLog:
    """Files of a purchase log.

    Attributes:
        path: the purchases.
        variants_path: products and their families; None: every product is a family of its own.
    """

    path: Path
    variants_path: Path | None = None

    @property
    def image_root(self) -> str:
        """Canonical URI of the folder at which relative paths of query images start."""
        return folder_uri(str(self.path.parent))

    def purchases(self, spark: SparkSession) -> DataFrame:
        """Return the rows of the log.

        Returns:
            purchase (0-based, in order of time), product_id, query ("" for none), query_image (canonical URI or null).

        Raises:
            MoonError: the file is missing, of another format, or lacks a column.
        """
        rows = _read(spark, self.path, PURCHASE_COLUMNS, needed=("product_id", "time"))
        root = self.image_root
        uri = F.udf(lambda text: canonicalise_uri(text, root) if text else None, StringType())
        order = Window.orderBy("time", "product_id", "query", "query_image")
        return rows.select(
            (F.row_number().over(order) - 1).cast("long").alias("purchase"),
            "product_id",
            F.coalesce(F.trim("query"), F.lit("")).alias("query"),
            uri("query_image").alias("query_image"),
        )

    def read_variants(self, spark: SparkSession) -> DataFrame:
        """Return product_id and family, one row per product; no rows without a file.

        Raises:
            MoonError: as in `purchases`.
        """
        if self.variants_path is None:
            return spark.createDataFrame([], "product_id string, family string")
        rows = _read(spark, self.variants_path, VARIANT_COLUMNS, needed=VARIANT_COLUMNS)
        return rows.dropDuplicates(["product_id"])


def _read(spark: SparkSession, path: Path, columns: tuple[str, ...], needed: tuple[str, ...]) -> DataFrame:
    if not path.exists():
        raise MoonError(f"there is no {path}")
    uri = path.resolve().as_uri()
    if path.suffix in (".jsonl", ".ndjson"):
        rows = spark.read.json(uri)
    elif path.suffix == ".parquet" or path.is_dir():
        rows = spark.read.parquet(uri)
    else:
        raise MoonError(f"{path}: a purchase log is JSON Lines (.jsonl) or Parquet (.parquet)")
    if missing := [name for name in needed if name not in rows.columns]:
        raise MoonError(f"{path} has no column {', '.join(missing)}; it has {', '.join(rows.columns)}")
    return rows.select(*(_text_column(rows, name) for name in columns))


def _text_column(rows: DataFrame, name: str) -> Column:
    column = F.col(name) if name in rows.columns else F.lit(None)
    return column.cast("string").alias(name)
