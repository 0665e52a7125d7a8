"""Builds a benchmark from the products of a lake (`moon evaluate --data lake`)."""

from pyspark.sql import functions as F

from jobs.catalog.source import list_allowed_roots
from jobs.errors import MoonError
from jobs.images.reading import read_image
from jobs.state.run_context import RunContext
from moon_model.evaluation.catalogue import build_catalogue_tasks
from moon_model.evaluation.tasks import Benchmark
from moon_model.images import BadImageError
from moon_model.product import Product


def build_lake_benchmark(context: RunContext, max_products: int, seed: int) -> Benchmark:
    """Return the tasks that the validated products of a date allow.

    Args:
        context: run context with the date.
        max_products: size of a random sample; its images are kept in memory.
        seed: seed of the sample.

    Raises:
        MoonError: the lake has no products of the date.
    """
    products = context.lake.read(context.spark, "products", context.partition)
    order = F.xxhash64(F.lit(seed), "product_id")
    rows = products.orderBy(order, "product_id").limit(max_products).collect()
    if not rows:
        raise MoonError(f"no products for {context.date} in {context.settings.lake}: run `moon prepare` first")
    roots = list_allowed_roots(context)
    sample = [
        Product(
            row["product_id"], row["title"], row["description"] or "", row["category"] or (),
            dict(row["attributes"] or {}), _read_images([image["uri"] for image in row["images"]], roots),
        )
        for row in rows
    ]  # fmt: skip
    return Benchmark(f"lake {context.date}", build_catalogue_tasks(sample), {"products": len(sample), "seed": seed})


def _read_images(uris: list[str], roots: tuple[str, ...]) -> list[bytes]:
    """Return the bytes of the images that can be read; the nightly run has reported the others."""
    found = []
    for uri in uris:
        try:
            found.append(read_image(uri, roots))
        except BadImageError:  # few images, each a file
            continue
    return found
