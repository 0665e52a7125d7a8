"""Removes photos from the image store by rewriting their packs without them.

One copy of each photo that a retained date or a served product names is kept. Of the others the newest are kept, up to
a size limit. Used by `moon maintain` and `moon images delete`.
"""

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.images.store import PACKS_FOLDER, ImageReader, PackWriter, StoredPart
from jobs.lake.store import Lake
from jobs.lake.writing import FileSink
from jobs.spark.row_stream import stream_rows
from moon_model.images import BadImageError
from schemas.product import SHA256_PREFIX
from schemas.tables import IMAGE_VERSIONS, PRODUCTS, STORED_IMAGES

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RemovedImages:
    """Photos and packs that were removed from the store.

    Attributes:
        images, size: number of photos and their bytes.
        packs: pack files that are no longer referenced.
    """

    images: int
    size: int
    packs: tuple[str, ...]


def find_surplus(spark: "SparkSession", lake: Lake, max_bytes: int) -> set[str]:
    """Return the SHA-256 of photos that no retained date names, oldest first beyond a number of bytes.

    Args:
        spark, lake: session, and the lake that holds the tables.
        max_bytes: maximum size of all such photos together, in bytes.
    """
    stored = lake.read(spark, STORED_IMAGES.name)
    rest = stored.join(_list_named(spark, lake), "image_sha256", "left_anti")
    rows = rest.groupBy("image_sha256").agg(F.sum("size").alias("size"), F.max("stored_at").alias("stored_at"))
    surplus, kept = set(), 0
    for row in stream_rows(rows.orderBy(F.desc("stored_at"))):
        kept += row.size
        if kept > max_bytes:
            surplus.add(row.image_sha256)
    return surplus


def find_product_photos(spark: "SparkSession", lake: Lake, product_id: str) -> tuple[set[str], int]:
    """Return the SHA-256 of a product's stored photos on all retained dates, and the number of other products' uses."""
    shown = _explode_versions(lake.read(spark, PRODUCTS.name))
    own = shown.where(F.col("product_id") == product_id).select("image_sha256").distinct()
    others = shown.join(own, "image_sha256", "left_semi").where(F.col("product_id") != product_id)
    return {row.image_sha256 for row in own.collect()}, others.select("product_id").distinct().count()


def remove_images(lake: Lake, surplus: set[str]) -> RemovedImages:
    """Remove photos from the store, by rewriting the packs that hold them in one commit.

    Args:
        lake: lake of the store.
        surplus: SHA-256 of the photos to remove.

    Returns:
        The removed photos and packs. The pack files still exist (`delete_packs`), because a running task may read them.
    """
    files = lake.list_paths(STORED_IMAGES.name)
    rows = lake.read_arrow(STORED_IMAGES.name)
    gone = rows.filter(pc.is_in(rows["image_sha256"], pa.array(sorted(surplus), pa.string()))).to_pylist()
    touched = {row["pack"] for row in gone}
    reader, packs = ImageReader(lake.storage, ()), PackWriter(lake.storage)
    sink = FileSink(lake.storage, STORED_IMAGES.name, {})
    for row in (row for batch in rows.to_batches() for row in batch.to_pylist()):
        if row["pack"] not in touched:
            sink.write_rows([row])
        elif row["image_sha256"] not in surplus:
            sink.write_rows(_move_photo(row, reader, packs))
    packs.close()
    if gone:
        # Exactly the files that were read go: a run may add others at the same time.
        lake.commit(STORED_IMAGES.name, sink.close(), attempt=None, partition={}, remove=files)
    return RemovedImages(len(gone), sum(row["size"] for row in gone), tuple(sorted(touched)))


def drop_second_copies(lake: Lake, *, dry_run: bool = False) -> int:
    """Remove the rows of duplicate copies of photos, except the first of each; return the number of rows removed.

    The bytes stay in the packs until the packs are no longer referenced.
    """
    files = lake.list_paths(STORED_IMAGES.name)
    order = [(name, "ascending") for name in ("image_sha256", "stored_at", "pack", "offset")]
    rows = lake.read_arrow(STORED_IMAGES.name).sort_by(order)
    if not len(rows):
        return 0
    names = rows["image_sha256"].combine_chunks()
    is_first = pa.concat_arrays([pa.array([True]), pc.not_equal(names[1:], names[:-1])])
    kept = rows.filter(is_first)
    if len(kept) < len(rows) and not dry_run:
        _replace_rows(lake, files, kept)
    return len(rows) - len(kept)


def forget_pack(lake: Lake, pack: str) -> None:
    """Remove the rows of a lost pack's photos, which are stored again when they are wanted."""
    files = lake.list_paths(STORED_IMAGES.name)
    rows = lake.read_arrow(STORED_IMAGES.name)
    _replace_rows(lake, files, rows.filter(pc.not_equal(rows["pack"], pack)))


def _replace_rows(lake: Lake, files: list[str], kept: pa.Table) -> None:
    """Commit the kept rows in place of exactly the files that were read: a run may add others at the same time."""
    sink = FileSink(lake.storage, STORED_IMAGES.name, {})
    sink.write(kept)
    lake.commit(STORED_IMAGES.name, sink.close(), attempt=None, partition={}, remove=files)


def delete_packs(lake: Lake, packs: tuple[str, ...]) -> None:
    """Delete pack files that are no longer referenced."""
    filesystem, root = lake.storage.open()
    for pack in packs:
        filesystem.delete_file(f"{root}/{PACKS_FOLDER}/{pack}")


def _move_photo(row: dict[str, Any], reader: ImageReader, packs: PackWriter) -> list[dict[str, object]]:
    """Return the row of a photo in a new pack; none if it is there already, or is damaged and therefore lost."""
    part = StoredPart(pack=row["pack"], offset=row["offset"], size=row["size"], checksum=row["checksum"])
    try:
        moved = packs.add(row["image_sha256"], reader.read(row["image_sha256"], part))
    except BadImageError as error:
        log.warning("a photo is lost, and is fetched again when it is wanted: %s", error.detail)
        return []
    return [] if moved is None else [{**moved, "stored_at": row["stored_at"]}]


def _list_named(spark: "SparkSession", lake: Lake) -> DataFrame:
    """Return image_sha256 of every photo that a retained date or a served product names."""
    versions = lake.read(spark, IMAGE_VERSIONS.name).select("image_sha256")
    products = _explode_versions(lake.read(spark, PRODUCTS.name)).select("image_sha256")
    return versions.unionByName(products).where(F.col("image_sha256").isNotNull()).distinct()


def _explode_versions(products: DataFrame) -> DataFrame:
    """Return product_id and image_sha256 of the images whose version is a SHA-256."""
    versions = products.select("product_id", F.explode("images.version").alias("version"))
    is_digest = F.col("version").startswith(SHA256_PREFIX)
    sha256 = F.split_part("version", F.lit(":"), F.lit(2)).alias("image_sha256")
    return versions.where(is_digest).select("product_id", sha256)
