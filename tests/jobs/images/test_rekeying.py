"""Tests of vectors that products take over when their images are identified by their bytes."""

from dataclasses import dataclass
from typing import Any

from pyspark.sql import functions as F

from jobs.images.rekeying import copy_rekeyed_vectors
from schemas.product import CatalogProduct, compute_content_hash
from schemas.tables import CONTENT_KEY

DATE, MODEL = "2026-03-20", "a" * 64
DIGEST, OTHER = ("sha256:" + character * 64 for character in "bc")


@dataclass(frozen=True)
class Case:
    """A product whose image had one version before and has another now."""

    title: str
    uri: str
    before: str | None
    now: str | None
    is_held: bool = False
    is_partial: bool = False
    expected: bool = False

    def make_row(self, version: str | None) -> dict[str, Any]:
        images = [{"uri": self.uri, "version": version}, {"uri": "https://h/1.jpg", "version": DIGEST}]
        return {"product_id": self.title, "title": self.title, "description": "", "category": [], "images": images}

    def hash_before(self) -> str:
        """The content hash of the release that identified the image by URI and version."""
        keys = [(self.uri, self.before), (DIGEST,)]
        row = {**self.make_row(self.before), "attributes": {}}
        return compute_content_hash(CatalogProduct.from_row(row), keys)


CASES = [
    Case("store turned on", "file:///a", "stat:1-2", DIGEST, expected=True),
    Case("store of objects", "s3://b/a", "etag:x", OTHER, expected=True),
    Case("sha256 in place", "file:///in place", DIGEST, DIGEST, expected=True),
    Case("without the store", "file:///b", "stat:3-4", "stat:3-4"),
    Case("replaced since", "file:///c", None, DIGEST),
    Case("partial", "file:///d", "stat:5-6", DIGEST, is_partial=True),
    Case("known already", "file:///e", "stat:7-8", DIGEST, is_held=True),
]


def test_a_vector_is_copied_where_only_the_key_changed(make_night, seed) -> None:
    night = make_night(DATE)
    lake, spark = night.lake, night.spark
    products, vectors, given, held = [], [], [], []
    for case in CASES:
        row = {**case.make_row(case.now), "attributes": []}
        content_hash = compute_content_hash(CatalogProduct.from_row(row))
        products.append({**row, "content_hash": content_hash})
        vectors.append({"product_id": case.title, "content_hash": case.hash_before()} | {"vector": [1.0, 0.0]})
        vectors[-1]["partial"] = case.is_partial
        given.append({"uri": case.uri, "given_version": case.before})
        held += [(case.title, content_hash)] if case.is_held else []
    seed(lake, "products", products, {"date": DATE})
    seed(lake, "image_versions", [row for row in given if row["uri"] != "file:///in place"], {"date": DATE})
    seed(lake, "vectors", vectors, {"model_version": MODEL, "date": "2026-03-19"})
    ledger = spark.createDataFrame(held, "product_id string, content_hash string")

    copied = copy_rekeyed_vectors(spark, lake, DATE, MODEL, ledger=ledger, attempt="rekey/1")
    made = lake.read(spark, "vectors", {"model_version": MODEL, "date": DATE})
    now = lake.read(spark, "products", {"date": DATE}).join(made, CONTENT_KEY).where(F.expr("vector[0] = 1.0"))
    assert {row.product_id for row in now.collect()} == {case.title for case in CASES if case.expected}
    assert copied == 3
    # The same again copies nothing: the vectors are there.
    assert copy_rekeyed_vectors(spark, lake, DATE, MODEL, ledger=ledger, attempt="rekey/2") == 0
