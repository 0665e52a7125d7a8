"""Selects the version of each stored photo that a date uses, and the photos that a run must request or read.

The table `images` holds the answers of hosts, `image_versions` the versions of each date. The functions take and return
DataFrames; the stage fetch commits the results. Sources: docs/decisions/0043-photos-by-url.md,
0050-store-of-all-photos.md.
"""

from typing import TYPE_CHECKING

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from jobs.images.answers import FAILED
from jobs.lake.store import Lake
from schemas.product import SHA256_PREFIX, SHA256_VERSION
from schemas.tables import IMAGE_VERSIONS, STORED_IMAGES
from schemas.uri import WEB_SCHEMES
from validation.reasons import UNREACHED, Reason

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

STORED, REFUSED, UNREACHABLE = "stored", "refused", "unreachable"
OUTCOMES = ("fetched", "not_modified", STORED, REFUSED, UNREACHABLE)
"""Values of ``image_versions.outcome``; every wanted photo has exactly one."""

RETRY_NIGHTS = (1, 2, 4, 7)
"""Days after which a photo is requested again that failed on one, two, three, or more consecutive dates."""

_STORED_TYPE = "struct<pack string, offset bigint, size bigint, checksum bigint>"
_FAILURE_TYPE = "struct<reason string, detail string>"
_KNOWN = (
    "date", "outcome", "reason", "cause", "detail", "image_sha256", "etag", "last_modified", "given_version",
    "failed_nights", "missing_nights",
)  # fmt: skip


def is_web_image(uri: Column) -> Column:
    """Return the condition of `schemas.uri.is_web`."""
    return F.split_part(uri, F.lit("://"), F.lit(1)).isin(*WEB_SCHEMES)


def is_content_version(version: Column) -> Column:
    """Return the condition that an image is identified by its bytes (`schemas.product.find_image_key`)."""
    return version.rlike(SHA256_VERSION)


def select_wanted(products: DataFrame, *, with_files: bool = False) -> DataFrame:
    """Return uri and given_version (null if there is none) of the photos for the image store, each address once.

    Args:
        products: table `products` of a date.
        with_files: whether the store also keeps photos of folders and object stores, not only those by URL.
    """
    images = products.select(F.explode("images").alias("image")).select("image.uri", "image.version")
    is_web = is_web_image(F.col("uri"))
    # Photos by URL of products that were fetched before have versions of the stage fetch, not of the catalogue.
    given = F.when(~is_web | ~is_content_version(F.col("version")), F.col("version"))
    wanted = images if with_files else images.where(is_web)
    return wanted.groupBy("uri").agg(F.max(given).alias("given_version"))


def find_latest(images: DataFrame, date: str) -> DataFrame:
    """Return the row of every address in `images` that applies to a date: that of the date, else the latest."""
    known = F.max_by(F.struct(*_KNOWN), F.struct(F.col("date") == date, F.col("asked_at")))
    return images.groupBy("uri").agg(known.alias("known")).select("uri", "known.*")


def select_due(wanted: DataFrame, images: DataFrame, stored: DataFrame, date: str, recheck_nights: int) -> DataFrame:
    """Return the photos that a run of a date requests.

    These are photos without a version, failed photos that are due for a retry, photos for which the catalogue has
    another version, and a rotating share of the rest: those requested longest ago.

    Args:
        wanted: `select_wanted` of the date.
        images: table `images`; answers of this very date other than failures are final.
        stored: table `stored_images`: a photo that the store has lost is fetched again.
        date: ISO snapshot date.
        recheck_nights: number of days within which every known photo is requested once.

    Returns:
        uri, given_version, host, etag, last_modified, image_sha256, failed_nights, missing_nights; the last five come
        from other dates, and validators are set only if the photo is in the store.
    """
    done = images.where((F.col("date") == date) & (F.col("outcome") != FAILED)).select("uri").distinct()
    earlier = find_latest(images.where(F.col("date") != date), date)
    held = stored.select("image_sha256").distinct().withColumn("is_held", F.lit(True))
    known = earlier.join(held, "image_sha256", "left").withColumnRenamed("given_version", "known_version")
    rows = wanted.join(done, "uri", "left_anti").join(known, "uri", "left").withColumn("is_held", _is_true("is_held"))
    nights = F.datediff(F.lit(date).cast("date"), F.col("date").cast("date"))
    has_failed = F.col("outcome") == FAILED
    place = F.least(F.greatest(F.col("failed_nights"), F.lit(1)), F.lit(len(RETRY_NIGHTS)))
    step = F.element_at(F.array(*map(F.lit, RETRY_NIGHTS)), place)
    is_new = F.col("outcome").isNull() | (~F.col("is_held") & F.col("image_sha256").isNotNull())
    is_late = has_failed & ((nights >= step) | ((nights < 0) & F.col("image_sha256").isNull()))
    is_replaced = ~has_failed & (F.col("given_version") != F.col("known_version"))
    is_due = _is_true(is_new | is_late | is_replaced)
    rests = rows.where(~is_due & ~_is_true(has_failed) & F.col("given_version").isNull() & (nights > 0))
    # Answers to an earlier attempt of this date count.
    share = max(1, wanted.count() // recheck_nights) - done.count()
    chosen = rests.orderBy("date", F.xxhash64("uri")).limit(max(0, share))
    return _select_requests(rows.where(is_due).unionByName(chosen))


def select_unstored(wanted: DataFrame, images: DataFrame, stored: DataFrame, date: str) -> DataFrame:
    """Return the photos of folders and object stores that a run of a date reads into the image store.

    These are photos that were never read, that failed, that the store has lost, and those with another version.

    Args:
        wanted: `select_wanted` of the date, without photos by URL.
        images, stored, date: as for `select_due`.

    Returns:
        The columns of `select_due`; ``host`` says nothing.
    """
    held = stored.select("image_sha256").distinct().withColumn("is_held", F.lit(True))
    known = find_latest(images, date).withColumnRenamed("given_version", "known_version")
    rows = wanted.join(known.join(held, "image_sha256", "left"), "uri", "left")
    is_same = (F.col("outcome") != FAILED) & F.col("is_held") & (F.col("given_version") == F.col("known_version"))
    return _select_requests(rows.where(~_is_true(is_same)))


def select_all(wanted: DataFrame) -> DataFrame:
    """Return all wanted photos with the columns of `select_due`, for a lake without answers; runs no Spark job."""
    texts = {name: F.lit(None).cast("string") for name in ("etag", "last_modified", "image_sha256")}
    counts = {name: F.lit(None).cast("int") for name in ("failed_nights", "missing_nights")}
    return _select_requests(wanted.withColumns({**texts, **counts, "is_held": F.lit(False)}))


def select_failed(versions: DataFrame, images: DataFrame, date: str) -> DataFrame:
    """Return the failed photos of a fetched date that must be requested again, with the columns of `select_due`."""
    failed = versions.where(F.col("outcome").isin(REFUSED, UNREACHABLE)).select("uri", "given_version")
    known = find_latest(images.where(F.col("date") != date), date).drop("given_version")
    return _select_requests(failed.join(known, "uri", "left").withColumn("is_held", F.lit(False)))


def settle_versions(wanted: DataFrame, images: DataFrame, date: str) -> DataFrame:
    """Return the rows of `image_versions` for a date, one for each wanted photo.

    A photo that failed keeps its last known SHA-256, unless it is gone. ``given_version`` of a file is the one that it
    had when it was read, which is later than the catalogue was read.
    """
    known = find_latest(images, date).withColumnRenamed("given_version", "known_version")
    has_failed = F.coalesce(F.col("outcome") == FAILED, F.lit(True))
    reason = F.coalesce(F.col("reason"), F.lit(str(Reason.IMAGE_UNREACHABLE)))
    failure = F.when(reason.isin(*UNREACHED), UNREACHABLE).otherwise(REFUSED)
    success = F.when(F.col("date") == date, F.col("outcome")).otherwise(STORED)
    settled = F.when(has_failed, failure).otherwise(success)
    is_read = ~is_web_image(F.col("uri")) & ~has_failed
    given = F.when(is_read, F.col("known_version")).otherwise(F.col("given_version"))
    rows = wanted.join(known, "uri", "left").withColumns({"reason": F.when(has_failed, reason), "given_version": given})
    return rows.withColumn("outcome", settled).select(*IMAGE_VERSIONS.columns.names)


def apply_versions(products: DataFrame, versions: DataFrame) -> DataFrame:
    """Return products with the date's versions of their stored photos, and without photos that are gone."""
    place = products.select("product_id", F.posexplode("images").alias("place", "image"))
    shown = place.select("product_id", "place", "image.uri", "image.version")
    settled = versions.select("uri", "reason", F.concat(F.lit(SHA256_PREFIX), "image_sha256").alias("settled"))
    unknown = F.when(~is_web_image(F.col("uri")), F.col("version"))  # a photo by URL without an answer has none
    version = F.coalesce("settled", unknown)
    there = shown.join(settled, "uri", "left").where(~F.col("reason").eqNullSafe(F.lit(str(Reason.IMAGE_GONE))))
    image = F.struct("place", "uri", version.alias("version"))
    images = there.groupBy("product_id").agg(F.array_sort(F.collect_list(image)).alias("there"))
    plain = F.transform("there", lambda one: F.struct(one["uri"].alias("uri"), one["version"].alias("version")))
    none = F.filter("images", lambda _: F.lit(False))
    with_images = products.join(images, "product_id", "left").withColumn("images", F.coalesce(plain, none))
    return with_images.select(*products.columns)


def locate_images(spark: "SparkSession", lake: Lake, date: str, images: DataFrame) -> DataFrame:
    """Return images with their locations for reading; stored photos are read from the image store.

    Args:
        spark, lake: session, and the lake that holds the tables.
        date: ISO snapshot date.
        images: uri and version, with any other columns.

    Returns:
        The same rows with ``key``, which with its version identifies the image (`schemas.product.find_image_key`),
        ``stored`` (`jobs.images.store.StoredPart` or null) and ``failure`` (reason and detail of a photo for the
        store that has no version; else null).
    """
    if not lake.count(STORED_IMAGES.name, {}) and not lake.count(IMAGE_VERSIONS.name, {"date": date}):
        nothing = {"stored": F.lit(None).cast(_STORED_TYPE), "failure": F.lit(None).cast(_FAILURE_TYPE)}
        return images.withColumns({"key": _find_key(), **nothing})
    stored = lake.read(spark, STORED_IMAGES.name)
    parts = stored.groupBy("image_sha256").agg(
        F.first(F.struct("pack", "offset", "size", "checksum"), ignorenulls=True).alias("stored")
    )
    parts = parts.select(F.concat(F.lit(SHA256_PREFIX), "image_sha256").alias("key"), "stored")
    versions = lake.read(spark, IMAGE_VERSIONS.name, {"date": date}).where(F.col("image_sha256").isNull())
    failures = versions.select("uri", F.struct("reason", "detail").alias("failure"))
    keyed = images.withColumn("key", _find_key())
    return keyed.join(parts, "key", "left").join(failures, "uri", "left")


def _find_key() -> Column:
    """Return `schemas.product.find_image_key` of the columns uri and version."""
    return F.when(is_content_version(F.col("version")), F.col("version")).otherwise(F.col("uri"))


def _select_requests(rows: DataFrame) -> DataFrame:
    """Return the columns of `select_due`."""
    host = F.lower(F.split_part(F.split_part("uri", F.lit("://"), F.lit(2)), F.lit("/"), F.lit(1)))
    held = {name: F.when(F.col("is_held"), F.col(name)) for name in ("etag", "last_modified")}
    counts = {name: F.coalesce(F.col(name), F.lit(0)) for name in ("failed_nights", "missing_nights")}
    return rows.withColumns({"host": host, **held, **counts}).select(
        "uri", "given_version", "host", "etag", "last_modified", "image_sha256", "failed_nights", "missing_nights"
    )


def _is_true(condition: Column | str) -> Column:
    """Return a condition with null replaced by false."""
    return F.coalesce(F.col(condition) if isinstance(condition, str) else condition, F.lit(False))
