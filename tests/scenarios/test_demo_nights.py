"""Two dates of the demo shop with deliberately broken rows: all rows are accounted for, all good rows are served."""

import json
from collections import Counter
from datetime import date
from pathlib import Path

from jobs.datasets.demo_broken import DEMO_REASONS
from jobs.datasets.demo_catalog import write_demo_catalog
from jobs.lake.storage import Storage
from jobs.lake.store import Lake
from tests.scenarios.nights import run_night, served_rows, state_of

DAYS = ("2026-11-20", "2026-11-21")


def test_two_demo_nights(spark, make_settings, milvus: str, tmp_path: Path) -> None:
    shop = tmp_path / "shop"
    write_demo_catalog(shop, products=60, days=2, seed=5, start=date(2026, 11, 20))
    settings = make_settings(
        catalog=str(shop / "{date}" / "catalog.jsonl"), mapping=str(shop / "mapping.toml"), max_refusals=0.9,
        milvus=milvus,
    )  # fmt: skip
    expected = [json.loads(line) for line in (shop / "expected.jsonl").read_text().splitlines()]
    outcomes = {day: run_night(spark, settings, day) for day in DAYS}
    lake = Lake(Storage(settings.lake))

    seen: Counter[str] = Counter()
    for day, outcome in outcomes.items():
        rows = outcome.results["report"].counts
        assert rows["delivered"] == sum(
            rows[name] for name in ("unchanged", "reused", "encoded", "kept", "quarantined")
        )
        refused = [
            row for row in lake.read_arrow("quarantine", {"date": day}).to_pylist() if row["image_index"] is None
        ]
        found = {(row["source_row"], row["reason"]) for row in refused}
        seen.update(row["reason"] for row in lake.read_arrow("quarantine", {"date": day}).to_pylist())
        broken = {
            (row["source_row"], row["reason"])
            for row in expected
            if row["date"] == day and not row.get("served", False)
        }
        assert found == broken
    assert set(seen) == {reason.value for reason in DEMO_REASONS}

    last = outcomes[DAYS[-1]].results["report"]
    good = {row["product_id"] for row in lake.read_arrow("products", {"date": DAYS[-1]}).to_pylist()} - _unreadable(
        lake
    )
    stale = set(served_rows(settings, last.details["collection"])) - good
    assert good <= set(served_rows(settings, last.details["collection"]))
    assert len(stale) == last.counts["stale"]
    state = state_of(spark, settings, last.details["model"])
    assert len(state.vectors) == state.vector_rows


def _unreadable(lake: Lake) -> set[str]:
    rows = lake.read_arrow("quarantine", {"date": DAYS[-1], "stage": "encode"}).to_pylist()
    return {row["product_id"] for row in rows if row["image_index"] is None}
