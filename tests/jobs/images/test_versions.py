"""Tests of the photos that a run requests, and of the versions that it uses."""

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

from jobs.images.versions import apply_versions, select_all, select_due, settle_versions
from schemas.tables import IMAGE_VERSIONS, IMAGES, PRODUCTS, STORED_IMAGES, Table

DATE = "2026-03-20"


def make_frame(spark: SparkSession, table: Table, rows: list[dict[str, Any]]) -> DataFrame:
    """Return rows of a table; what a row does not name is null."""
    return spark.createDataFrame(pa.Table.from_pylist(rows, schema=table.schema))


def make_answer(uri: str, date: str, **values: Any) -> dict[str, Any]:
    at = datetime.fromisoformat(f"{date}T02:00:00").replace(tzinfo=UTC)
    ok = {"outcome": "fetched", "image_sha256": f"sha-{uri}", "etag": "e", "failed_nights": 0, "missing_nights": 0}
    return {"uri": uri, "date": date, "asked_at": at, **ok, **values}


def make_wanted(spark: SparkSession, *uris: str, version: str | None = None) -> DataFrame:
    return spark.createDataFrame([(uri, version) for uri in uris], "uri string, given_version string")


def list_due(spark: SparkSession, wanted: DataFrame, answers: list[dict[str, Any]], **options: Any) -> set[str]:
    held = [{"image_sha256": answer["image_sha256"], "pack": "p"} for answer in answers if answer["image_sha256"]]
    stored = make_frame(spark, STORED_IMAGES, options.pop("stored", held))
    due = select_due(wanted, make_frame(spark, IMAGES, answers), stored, DATE, options.pop("recheck_nights", 1000))
    return {row.uri for row in due.collect()}


def test_without_answers_all_photos_are_due(spark: SparkSession) -> None:
    wanted = make_wanted(spark, "https://h/1", "https://H/2", version="v")
    none = make_frame(spark, IMAGES, []), make_frame(spark, STORED_IMAGES, [])
    due = select_due(wanted, *none, DATE, 1000)
    assert select_all(wanted).dtypes == due.dtypes
    assert sorted(select_all(wanted).collect()) == sorted(due.collect())


def test_a_share_of_the_known_photos_is_asked_for_those_first_that_waited_longest(spark: SparkSession) -> None:
    uris = [f"https://h/{n}" for n in range(14)]
    answers = [make_answer(uri, f"2026-03-{10 + n % 5}") for n, uri in enumerate(uris)]
    due = list_due(spark, make_wanted(spark, *uris), answers, recheck_nights=7)
    assert due <= {answer["uri"] for answer in answers if answer["date"] == "2026-03-10"} and len(due) == 2


def test_photos_of_this_date_are_not_asked_for_again_unless_they_failed(spark: SparkSession) -> None:
    failed = {"outcome": "failed", "reason": "image_unreachable", "image_sha256": None}
    answers = [make_answer("a", DATE), make_answer("b", DATE, **failed)]
    assert list_due(spark, make_wanted(spark, "a", "b"), answers, recheck_nights=1) == {"b"}


def test_a_failed_address_rests_longer_each_time(spark: SparkSession) -> None:
    failed = {"outcome": "failed", "reason": "image_unreachable"}
    # Failed nights and the day of the last question; today is the 20th.
    due = [(0, 19), (1, 19), (2, 18), (3, 16), (4, 13), (9, 13)]
    rests = [(2, 19), (3, 17), (4, 14), (9, 14)]
    answers = [
        make_answer(f"{nights}/{day}", f"2026-03-{day}", **failed, failed_nights=nights) for nights, day in due + rests
    ]
    wanted = make_wanted(spark, *(answer["uri"] for answer in answers))
    assert list_due(spark, wanted, answers) == {f"{nights}/{day}" for nights, day in due}


def test_the_catalogues_own_version_decides_alone(spark: SparkSession) -> None:
    answers = [make_answer("a", "2026-01-01", given_version="1")]
    assert list_due(spark, make_wanted(spark, "a", version="1"), answers, recheck_nights=1) == set()
    assert list_due(spark, make_wanted(spark, "a", version="2"), answers) == {"a"}


def test_a_photo_that_the_store_has_lost_is_fetched_without_validators(spark: SparkSession) -> None:
    answers = [make_answer("a", "2026-03-19")]
    wanted, images = make_wanted(spark, "a"), make_frame(spark, IMAGES, answers)
    [row] = select_due(wanted, images, make_frame(spark, STORED_IMAGES, []), DATE, 1000).collect()
    assert (row.uri, row.etag, row.image_sha256) == ("a", None, "sha-a")


def test_a_backfill_asks_only_for_what_no_date_knows(spark: SparkSession) -> None:
    failed = {"outcome": "failed", "reason": "image_unreachable", "failed_nights": 1}
    later = [
        make_answer("known", "2026-03-25"),
        make_answer("failed since", "2026-03-25", **failed),
        make_answer("never seen", "2026-03-25", **failed, image_sha256=None),
    ]
    wanted = make_wanted(spark, "known", "failed since", "never seen", "new")
    assert list_due(spark, wanted, later, recheck_nights=1) == {"never seen", "new"}


def test_every_wanted_photo_has_one_outcome(spark: SparkSession) -> None:
    failed = {"outcome": "failed", "failed_nights": 1, "missing_nights": 0}
    answers = [
        make_answer("fetched", DATE),
        make_answer("not modified", DATE, outcome="not_modified"),
        make_answer("stored", "2026-03-19"),
        make_answer("down", DATE, **failed, reason="image_unreachable", cause="503"),
        make_answer("down", "2026-03-19", image_sha256="old"),
        make_answer("gone", DATE, **failed, reason="image_gone", cause="404", image_sha256=None),
        make_answer("page", DATE, **failed, reason="image_format", cause="not an image", image_sha256=None),
    ]
    wanted = make_wanted(spark, "fetched", "not modified", "stored", "down", "gone", "page", "never asked")
    settled = settle_versions(wanted, make_frame(spark, IMAGES, answers), DATE).collect()
    assert {row.uri: (row.outcome, row.image_sha256) for row in settled} == {
        "fetched": ("fetched", "sha-fetched"),
        "not modified": ("not_modified", "sha-not modified"),
        "stored": ("stored", "sha-stored"),
        "down": ("unreachable", "sha-down"),
        "gone": ("refused", None),
        "page": ("refused", None),
        "never asked": ("unreachable", None),
    }


def test_products_get_the_versions_in_the_order_of_their_images(spark: SparkSession) -> None:
    web = [f"https://h/{n}.jpg" for n in range(12)]
    local = {"uri": "file:///a.jpg", "version": "stat:1"}
    rows = [
        {"product_id": "p", "images": [*({"uri": uri, "version": "given"} for uri in web), local]},
        {"product_id": "gone", "images": [{"uri": "https://h/gone.jpg", "version": None}]},
        {"product_id": "local", "images": [local]},
    ]
    versions = [{"uri": uri, "image_sha256": f"{n}" if n else None} for n, uri in enumerate(web)]
    versions.append({"uri": "https://h/gone.jpg", "image_sha256": None, "reason": "image_gone"})
    products = make_frame(spark, PRODUCTS, rows)
    found = {
        row.product_id: [(image.uri, image.version) for image in row.images]
        for row in apply_versions(products, make_frame(spark, IMAGE_VERSIONS, versions)).collect()
    }
    expected = [(uri, f"sha256:{n}" if n else None) for n, uri in enumerate(web)]
    assert found == {"p": [*expected, ("file:///a.jpg", "stat:1")], "gone": [], "local": [("file:///a.jpg", "stat:1")]}
