"""Tests of which products are kept, on seeded tables; tests/scenarios/test_bad_deliveries.py has whole runs."""

import pytest

from jobs.stages.kept_products import keep_products
from jobs.state.model_registry import ModelChoice
from jobs.state.plan_record import commit_plan_header, make_plan

MODEL = ModelChoice("/checkpoint", "a" * 64, "d" * 16, dimension=4, max_images=2, collection="moon_a")
SERVED, DATES = "2026-01-01", ("2026-01-02", "2026-01-03", "2026-01-04", "2026-01-05")


class Shop:
    """One product that was served whole, and dates on which a photo of it cannot be read."""

    def __init__(self, make_night, seed):
        self.make_night, self.seed = make_night, seed
        self.lake = make_night(SERVED).lake
        self.add_product(SERVED, "boots", "old")
        row = {"product_id": "p", "op": "upsert", "content_hash": "old", "snapshot_date": SERVED, "epoch": 1}
        seed(self.lake, "served", [row | {"partial": False}], {"collection": MODEL.collection})

    def add_product(self, date, title, content_hash):
        row = {"product_id": "p", "source_row": 0, "title": title, "content_hash": content_hash, "attributes": []}
        self.seed(self.lake, "products", [row], {"date": date})

    def run(self, date, reason, title="boots", serve=True, **options):
        """Encode a date on which the photo fails for a reason; return whether the product was kept."""
        context = self.make_night(date, **options)
        draft = make_plan(date, MODEL, date, ledger_version=1, serve=serve)
        self.add_product(date, title, f"hash of {date}")
        change = {"product_id": "p", "op": "changed", "content_hash": f"hash of {date}", "source_row": 0}
        self.seed(self.lake, "changes", [change], draft.partition)
        failure = {"source_row": 0, "product_id": "p", "image_index": 1, "reason": reason, "detail": "no photo"}
        self.seed(self.lake, "quarantine", [failure], context.quarantine_partition("detect"))
        commit_plan_header(self.lake, draft, f"plan/{date}")
        files = keep_products(context, draft, {})
        rows = self.lake.read_written(context.spark, "quarantine", files.get("quarantine", [])).collect()
        kept = [row.asDict() for row in rows if row.reason == "product_kept"]
        self.seed(self.lake, "quarantine", kept, context.quarantine_partition("encode"))
        return bool(kept)


@pytest.fixture
def shop(make_night, seed):
    return Shop(make_night, seed)


def test_a_photo_that_is_not_found_three_times_is_gone(shop):
    assert [shop.run(date, "image_missing") for date in DATES[:3]] == [True, True, False]


def test_a_host_that_fails_never_costs_a_photo(shop):
    assert [shop.run(date, "image_unreachable") for date in DATES] == [True] * 4


def test_a_new_text_waits_some_nights(shop):
    found = [shop.run(date, "image_unreachable", title="slippers") for date in DATES]
    assert found == [True, True, True, False]


def test_the_setting_for_a_new_text(shop):
    assert not shop.run(DATES[0], "image_missing", title="slippers", kept_nights=0)


@pytest.mark.parametrize("reason", ["image_unreadable", "image_format", "image_too_large"])
def test_a_photo_with_bad_content_is_no_unreachable_one(shop, reason):
    assert not shop.run(DATES[0], reason)


def test_an_older_date_keeps_nothing_because_it_serves_nothing(shop):
    assert not shop.run(DATES[0], "image_missing", serve=False)


def test_a_partial_vector_is_not_kept(shop):
    row = {"product_id": "p", "op": "upsert", "content_hash": "old", "snapshot_date": SERVED, "epoch": 2}
    shop.seed(shop.lake, "served", [row | {"partial": True}], {"collection": MODEL.collection})
    assert not shop.run(DATES[0], "image_missing")
