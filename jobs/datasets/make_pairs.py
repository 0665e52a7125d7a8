"""Makes training pairs from purchases (``moon make-pairs``): query, item bought, hard negatives (docs/paper.md).

A purchase log (query text, query image or both; product id; time) is joined with the products of a date and with core
regions. The kinds of query are reduced to the paper's mix, variants get one identity, hard negatives are of the same
category. The same log, date and seed give the same pairs.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from jobs.catalog.source import list_allowed_roots
from jobs.datasets.pair_files import write_pairs
from jobs.datasets.pair_mix import QUERY_MIX, fit_query_mix
from jobs.datasets.pair_regions import RegionJob, find_regions
from jobs.datasets.purchases import PurchaseLog
from jobs.errors import MoonError
from jobs.state.run_context import RunContext
from moon_model.detection.detector import compute_detector_version

if TYPE_CHECKING:
    from pyspark.sql import Column

log = logging.getLogger(__name__)

IDENTITY_RANGE = 1 << 62
"""Identities are hashes below this: never negative, because the trainer marks padding by -1."""


@dataclass(frozen=True)
class PairOptions:
    """How pairs are drawn.

    Attributes:
        hard_negatives: maximum number of hard negatives of a pair.
        max_images: the first images of an item that are kept.
        rows_per_group: pairs of a Parquet row group; an incomplete last group is left out.
        seed: seed of all random draws.
    """

    hard_negatives: int = 2
    max_images: int = 3
    rows_per_group: int = 64
    seed: int = 0


@dataclass(frozen=True)
class PairSummary:
    """Numbers of purchases by what became of them.

    Attributes:
        purchases: rows of the log.
        unknown: the product is not one of the date.
        unusable: the query has neither text nor a readable image.
        thinned: left out for the mix of kinds or because they fill no row group.
        pairs: written pairs.
        kinds: written pairs by kind of query.
    """

    purchases: int
    unknown: int
    unusable: int
    thinned: int
    pairs: int
    kinds: Mapping[str, int] = field(default_factory=dict)


def write_training_pairs(context: RunContext, source: PurchaseLog, out: Path, options: PairOptions) -> PairSummary:
    """Write the training pairs of a log and return their numbers.

    Args:
        context: run context of the date whose validated products are the items.
        source: the purchases.
        out: folder to write.
        options: how pairs are drawn.

    Raises:
        MoonError: no products for the date, no log, or too few purchases to fill a row group.
    """
    products = _read_products(context, source)
    purchases = source.purchases(context.spark)
    known = purchases.join(products.select("product_id", "identity"), "product_id")
    roots = (*list_allowed_roots(context), source.image_root)
    views = _build_views(context, products, known, roots, options).persist()
    asked = _classify_purchases(known, views).persist()
    kept, kinds = _apply_mix(asked, options)
    pairs = _assemble_pairs(kept, products, views, options)
    manifest = write_pairs(pairs, out, rows_per_group=options.rows_per_group, kinds=kinds, seed=options.seed)
    total, joined, usable = purchases.count(), known.count(), asked.count()
    return PairSummary(total, total - joined, joined - usable, usable - manifest.rows, manifest.rows, kinds)


def _read_products(context: RunContext, source: PurchaseLog) -> DataFrame:
    """Return the products of the date with identity (one for all variants) and pool of hard negatives.

    A pool is a category. Products that are alone in their category share the pool of the parent category.
    """
    products = context.lake.read(context.spark, "products", context.partition)
    if products.isEmpty():
        raise MoonError(f"no products for {context.date} in {context.settings.lake}: run `moon prepare` first")
    family = F.coalesce(F.col("family"), F.col("product_id"))
    return (
        products.join(source.read_variants(context.spark), "product_id", "left")
        .withColumn("identity", F.pmod(F.xxhash64(family), F.lit(IDENTITY_RANGE)))
        .withColumn("parent", F.expr("slice(category, 1, greatest(size(category) - 1, 0))"))
        .withColumn("members", F.count("*").over(Window.partitionBy("category")))
        .withColumn("pool", F.to_json(F.when(F.col("members") > 1, F.col("category")).otherwise(F.col("parent"))))
        .drop("family", "parent", "members")
    )


def _build_views(
    context: RunContext, products: DataFrame, purchases: DataFrame, roots: tuple[str, ...], options: PairOptions
) -> DataFrame:
    shown = products.select(F.explode(F.slice("images", 1, options.max_images)).alias("image"))
    asked = purchases.where("query_image is not null").select("query_image", F.lit(None).cast("string"))
    version = compute_detector_version(context.settings.detector)
    known = context.lake.read(context.spark, "regions", {"detector_version": version})
    job = RegionJob(roots, context.settings.detector, version)
    return find_regions(shown.select("image.uri", "image.version").union(asked), known, job)


def _classify_purchases(purchases: DataFrame, views: DataFrame) -> DataFrame:
    """Return the usable purchases with ``asked``: image, text, or free (both, so any kind)."""
    photo = views.where("failure is null").select(F.col("uri").alias("query_image"), "box")
    seen = purchases.join(photo.withColumn("seen", F.lit(True)), "query_image", "left").withColumn(
        "photo", F.when(F.col("seen"), F.struct(F.col("query_image").alias("uri"), "box"))
    )
    has_text, has_photo = F.col("query") != "", F.col("photo.uri").isNotNull()
    asked = F.when(has_photo & has_text, "free").when(has_photo, "image").when(has_text, "text")
    return seen.withColumn("asked", asked).where("asked is not null").drop("box", "seen")


def _apply_mix(asked: DataFrame, options: PairOptions) -> tuple[DataFrame, dict[str, int]]:
    """Give every purchase a kind so that most of them fit the mix; shuffle, number, and cut at a whole row group.

    Returns:
        The purchases kept with pair_id 0 … N - 1 and kind, and how many are of each kind.
    """
    found = {"free": 0, "image": 0, "text": 0} | {
        row["asked"]: row["count"] for row in asked.groupBy("asked").count().collect()
    }
    wanted, borrowed = fit_query_mix(**found)
    if missing := sorted(QUERY_MIX.keys() - wanted.keys()):
        log.warning("no purchase has a query by %s: the mix has only the other kinds", " or ".join(missing))
    total = sum(wanted.values()) // options.rows_per_group * options.rows_per_group
    if not total:
        raise MoonError(
            f"{sum(found.values())} usable purchases ({found}) fill no row group of {options.rows_per_group} in the "
            "mix 12 image : 3 text : 2 both; deliver more, or lower --rows-per-group"
        )
    place = F.row_number().over(
        Window.partitionBy("asked").orderBy(_uniform_column(options.seed, "kind", "purchase"), "purchase")
    )
    placed = asked.select("purchase", "asked", place.alias("place")).withColumn("kind", _kind_column(wanted, borrowed))
    number = F.row_number().over(Window.orderBy(_uniform_column(options.seed, "shuffle", "purchase"), "purchase")) - 1
    chosen = placed.where("kind is not null").select("purchase", "kind", number.cast("long").alias("pair_id"))
    kept = asked.drop("asked").join(chosen.where(F.col("pair_id") < total), "purchase").persist()
    return kept, {row["kind"]: row["count"] for row in kept.groupBy("kind").count().collect()}


def _kind_column(wanted: Mapping[str, int], borrowed: Mapping[str, int]) -> "Column":
    """Return the kind of a purchase by its place among those with the same ``asked``; null for surplus ones."""
    asked, place = F.col("asked"), F.col("place")
    kind, end = F.when(F.lit(False), "image"), 0
    for name, count in borrowed.items():
        end += count
        kind = kind.when((asked == "free") & (place <= end), name)
    for name in wanted.keys() - {"both"}:
        kind = kind.when((asked == name) & (place <= wanted[name] - borrowed[name]), name)
    return kind


def _assemble_pairs(kept: DataFrame, products: DataFrame, views: DataFrame, options: PairOptions) -> DataFrame:
    """Return pairs as nested rows: pair_id, kind, identity, query, item, negatives."""
    items = _build_items(products, views, options.max_images).persist()
    text = F.when(F.col("kind") != "image", F.col("query")).otherwise("")
    photo = F.filter(F.array("photo"), lambda one: one.isNotNull() & (F.col("kind") != "text"))
    query = F.struct(F.concat(F.lit("query "), "pair_id").alias("id"), text.alias("title"), photo.alias("views"))
    pairs = kept.select("pair_id", "kind", "product_id", query.alias("query"))
    whole = pairs.join(items, "product_id")
    return whole.join(_choose_negatives(whole, items, options), "pair_id", "left").select(
        "pair_id", "kind", "identity", "query", "item", "negatives"
    )


def _build_items(products: DataFrame, views: DataFrame, max_images: int) -> DataFrame:
    """Return product_id, identity, pool, place in the pool and its size, and the item in the form of pairs."""
    good = views.where("failure is null").select("uri", F.struct("uri", "box").alias("view"))
    shown = products.select("product_id", F.posexplode(F.slice("images", 1, max_images)).alias("at", "image"))
    placed = shown.join(good, F.col("image.uri") == F.col("uri")).select(
        "product_id", F.struct("at", "view").alias("v")
    )
    listed = placed.groupBy("product_id").agg(F.array_sort(F.collect_list("v")).alias("v"))
    by_pool = Window.partitionBy("pool")
    fields = ("title", "description", "category", "attributes")
    item = F.struct(F.col("product_id").alias("id"), *fields, F.col("v.view").alias("views"))
    return products.join(listed, "product_id", "left").select(
        "product_id",
        "identity",
        "pool",
        (F.row_number().over(by_pool.orderBy(F.xxhash64("product_id"), "product_id")) - 1).alias("place"),
        F.count("*").over(by_pool).alias("count"),
        item.alias("item"),
    )


def _choose_negatives(pairs: DataFrame, items: DataFrame, options: PairOptions) -> DataFrame:
    """Return pair_id and other products of its pool with other identities; fewer if the pool has no more."""
    tries = 3 * options.hard_negatives
    start = 1 + F.floor(_uniform_column(options.seed, "negative", "pair_id") * F.col("count"))
    offsets = F.explode(F.sequence(F.lit(0), F.lit(tries - 1))).alias("try")
    drawn = (
        pairs.where("count > 1")
        .select("pair_id", "pool", F.col("identity").alias("own"), "count", start.alias("start"), "place", offsets)
        .where("try < count")
        .select("pair_id", "pool", "own", "try", F.pmod(F.expr("place + start + try"), F.col("count")).alias("place"))
    )
    others = items.select("pool", "place", "identity", F.col("item").alias("product"))
    found = drawn.join(others, ["pool", "place"]).where("identity <> own")
    once = found.dropDuplicates(["pair_id", "identity"])
    found_first = F.collect_list(F.struct("try", "identity", "product"))
    in_order = F.array_sort(found_first, lambda one, other: one["try"] - other["try"])  # Spark cannot compare maps
    listed = once.groupBy("pair_id").agg(in_order.alias("n"))
    picked = F.transform(
        F.slice("n", 1, options.hard_negatives),
        lambda one: F.struct(one["identity"].alias("identity"), one["product"].alias("product")),
    )
    return listed.select("pair_id", picked.alias("negatives"))


def _uniform_column(seed: int, purpose: str, key: str) -> "Column":
    """Return a number in [0, 1) that depends only on seed, purpose and key."""
    return F.pmod(F.xxhash64(F.lit(seed), F.lit(purpose), key), F.lit(1 << 40)) / F.lit(float(1 << 40))
