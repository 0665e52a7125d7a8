"""Tests of report: the numbers of the run, and a self-contained page."""

from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest

from jobs.errors import NightStoppedError
from tests.jobs.serving_shop import ServingShop, ShopItem, commit_rows, make_items
from tests.jobs.stage_calls import report, upsert

FIRST, SECOND = "2026-01-02", "2026-01-03"


class Page(HTMLParser):
    """Collects the text and the links of a page, and counts the elements that are not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text, self.links, self.open = "", [], 0
        self.feed(text)

    def handle_starttag(self, tag, attrs) -> None:
        self.open += tag not in ("meta", "br")
        self.links += [value for name, value in attrs if name in ("href", "src")]

    def handle_endtag(self, tag) -> None:
        self.open -= 1

    def handle_data(self, data) -> None:
        self.text += data


def test_the_record_and_the_page(lite_shop: ServingShop, tmp_path: Path) -> None:
    shop = lite_shop
    upsert(shop.prepare_run(FIRST, make_items(5)))
    context = shop.prepare_run(
        SECOND, [*make_items(4, first=1), ShopItem("<b>new</b>")], refused=["<script>alert(1)</script>"]
    )
    with pytest.raises(NightStoppedError, match="not served yet: run `moon serve"):
        report(context)
    upsert(context)
    plan = shop.plan(context)
    docs = str(tmp_path / "lake" / "_data_docs" / SECOND / "x.html")
    unread = [("unread_of", "1200"), ("unread_title", "0"), ("unread_description", "345"), ("unread_images", "7")]
    for number, (stage, run, outcome) in enumerate(
        (
            ("validate", plan.run_id, "success"),
            ("upsert", plan.run_id, "success"),
            ("encode", plan.run_id, "success"),
            ("encode", plan.run_id, "success"),  # found committed
            ("publish", "other", "success"),
            ("detect", plan.run_id, "failed"),
        )
    ):
        row = {"run_id": run, "stage": stage, "outcome": outcome, "seconds": 1.5, "counts": [("rows", 7)]}
        row["finished_at"] = datetime.now(UTC)
        details = [("data_docs", docs), *(unread if number == 2 else [])]
        commit_rows(context.lake, "runs", [{**row, "details": details}], context.partition, f"runs/{number}", "append")

    result = report(context)
    assert dict(result.counts) == {
        "delivered": 6, "unchanged": 4, "reused": 0, "payload": 0,
        "encoded": 1, "kept": 0, "quarantined": 1, "deleted": 1, "held": 0,
        "left_out": 0, "merged": 0, "stale": 0, "partial": 0,
    }  # fmt: skip
    assert result.details["run_id"] == plan.run_id
    assert result.details["model"] == shop.model.model_version
    assert result.details["collection"] == shop.model.collection
    path = tmp_path / "lake" / "_reports" / SECOND / f"{plan.run_id}.html"
    assert result.details["page"] == str(path)
    page = Page(path.read_text())
    assert page.open == 0
    assert "row 5 <script>alert(1)</script>: no title" in page.text, "shown as text, not as markup"
    assert "empty_title" in page.text
    stages = page.text.split("Stages")[1].split("Versions")[0]
    assert "validate" in stages and "upsert" in stages and "4.5" in stages
    unread_text = " ".join(page.text.split("Not read by the model")[1].split("Stages")[0].split())
    assert "Of the 1,200 products encoded in this run" in unread_text
    assert "description345max_description_tokens images7max_images" in unread_text and "title" not in unread_text
    assert "publish" not in stages and "detect" not in stages, "another run's stage, and a failed one"
    assert all((path.parent / link).resolve() == Path(docs) for link in page.links) and page.links


def test_a_night_run_again_after_encode_refused_a_product(lite_shop: ServingShop) -> None:
    shop, rows = lite_shop, make_items(5)
    upsert(shop.prepare_run(FIRST, rows, unreadable=["p004"]))
    again = shop.prepare_run(FIRST, rows, unreadable=["p004"])
    assert shop.plan(again).counts.new == 1, "planned again, for there is no vector yet"
    assert upsert(again).details["note"] == "nothing to change"
    counts = report(again).counts
    assert (counts["unchanged"], counts["quarantined"]) == (4, 1)


@pytest.mark.long
def test_an_older_date_says_that_nothing_was_served(lite_shop: ServingShop) -> None:
    shop = lite_shop
    upsert(shop.prepare_run(SECOND, make_items(3)))
    late = shop.prepare_run(FIRST, make_items(5))
    assert "nothing served" in upsert(late).details["note"]
    result = report(late)
    assert (result.counts["encoded"], result.counts["unchanged"], result.counts["deleted"]) == (2, 3, 0)
    assert "it replaced and deleted nothing" in Path(result.details["page"]).read_text()
