"""Copies vectors to the new content hashes of products whose images got another key but kept their bytes.

An image whose version is the SHA-256 of its bytes is identified by it alone; otherwise by URI and version. When a shop
turns on the image store for all photos, or comes from a release before 0.3 with such versions, the content hashes
change and the model's input does not. The plan then finds the vector under the new hash and encodes nothing. Source:
docs/decisions/0050-store-of-all-photos.md.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from jobs.images.versions import is_content_version, is_web_image
from jobs.lake.store import Lake
from schemas.product import CatalogProduct, ImageRef, compute_content_hash, make_image_key
from schemas.tables import CONTENT_KEY, IMAGE_VERSIONS, PRODUCTS, VECTORS
from schemas.uri import is_web

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_REKEYED = "product_id string, content_hash string, earlier_hash string"
_GIVEN_TYPE = "map<string,string>"


def copy_rekeyed_vectors(
    spark: "SparkSession", lake: Lake, date: str, model_version: str, *, ledger: DataFrame, attempt: str
) -> int:
    """Commit vectors under the new content hashes of a date's products; return their number.

    Args:
        spark, lake: session, and the lake that holds the tables.
        date: ISO snapshot date.
        model_version: model whose complete vectors are copied.
        ledger: product_id and content_hash of what the collection holds; these products need nothing.
        attempt: name of the commit.
    """
    vectors = lake.read(spark, VECTORS.name, {"model_version": model_version}).where(~F.col("partial"))
    products = lake.read(spark, PRODUCTS.name, {"date": date}).where(F.exists("images", _is_rekeyed))
    if products.isEmpty():
        return 0
    unknown = products.join(ledger, CONTENT_KEY, "left_anti").join(vectors, CONTENT_KEY, "left_anti")
    rekeyed = _add_given_versions(unknown, lake.read(spark, IMAGE_VERSIONS.name, {"date": date}))
    hashes = rekeyed.mapInArrow(_find_earlier_hashes, _REKEYED)
    earlier = vectors.select("product_id", F.col("content_hash").alias("earlier_hash"), "vector", "partial")
    found = hashes.join(earlier, ["product_id", "earlier_hash"]).dropDuplicates(CONTENT_KEY)
    partition = {"model_version": model_version, "date": date}
    files = lake.write(found.select(*VECTORS.columns.names), VECTORS.name, partition)
    if files and not lake.commit(VECTORS.name, files, attempt=attempt, partition=partition):
        lake.discard(VECTORS.name, files)
        return 0
    return sum(file.rows for file in files)


def _is_rekeyed(image: Column) -> Column:
    """Return the condition that an image of a folder or an object store is identified by its bytes."""
    return ~is_web_image(image["uri"]) & is_content_version(image["version"])


def _add_given_versions(products: DataFrame, versions: DataFrame) -> DataFrame:
    """Return products with ``given``: the versions that their images had before the store, by URI."""
    shown = products.select(*CONTENT_KEY, F.explode("images.uri").alias("uri")).distinct()
    entry = F.struct("uri", F.coalesce("given_version", F.lit("")).alias("version"))
    given = shown.join(versions.where(~is_web_image(F.col("uri"))), "uri").groupBy(*CONTENT_KEY)
    found = given.agg(F.map_from_entries(F.collect_list(entry)).alias("given"))
    none = F.create_map().cast(_GIVEN_TYPE)
    return products.join(found, CONTENT_KEY, "left").withColumn("given", F.coalesce("given", none))


def _find_earlier_hashes(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield product_id, content_hash and the content hash by URI and version; none if a version is unknown."""
    for batch in batches:
        rows = [(row, _make_earlier_keys(row)) for row in batch.to_pylist(maps_as_pydicts="strict")]
        found = [
            {
                "product_id": row["product_id"],
                "content_hash": row["content_hash"],
                "earlier_hash": compute_content_hash(CatalogProduct.from_row(row), keys),
            }
            for row, keys in rows
            if all(key[-1] for key in keys)
        ]
        names = ("product_id", "content_hash", "earlier_hash")
        yield pa.RecordBatch.from_pylist(found, pa.schema([(name, pa.string()) for name in names]))


def _make_earlier_keys(row: dict[str, Any]) -> list[tuple[str | None, ...]]:
    """Return what each image of a product contributed to its hash before it was identified by its bytes."""
    return [
        make_image_key(ImageRef(**image))
        if is_web(image["uri"])
        else (image["uri"], row["given"].get(image["uri"], image["version"]))
        for image in row["images"]
    ]
