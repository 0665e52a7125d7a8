"""Tests of explain: history, place and damage of single products, read without writing anything."""

import pytest

from jobs.errors import NightStoppedError
from jobs.pages.products.explanation_text import describe_place
from jobs.serving.explain import Explanation, explain_product, find_like_ids
from jobs.serving.row_faults import DIFFERENT, DOUBLED, MISSING, STALE, WRONG_NORM
from jobs.stages.runner import run_stages
from tests.jobs.damaged_collection import (
    DAMAGED,
    FIRST,
    OTHER_COLLECTION,
    SECOND,
    damage_rows,
    double_row,
    move_alias_away,
    serve_two_dates,
)
from tests.jobs.serving.test_audit import list_files
from tests.jobs.serving_shop import ServingShop, make_items, make_vector


def test_the_place_of_each_product_before_and_after_damage(lite_shop: ServingShop) -> None:
    context, put_back = serve_two_dates(lite_shop)
    settings, name = context.settings, lite_shop.model.collection
    files = list_files(settings.lake)

    def explain(product_id: str) -> Explanation:
        return explain_product(settings, product_id)

    changed = explain("p006")
    assert [(one.date, one.fate, one.outcome) for one in changed.history.dates] == [
        (FIRST, "new", "served"),
        (SECOND, "changed", "served"),
    ]
    assert [(one.part, one.before, one.after) for one in changed.history.dates[1].changes] == [
        ("title", "Mug 6", "Blue mug")
    ]
    assert changed.is_sound and changed.held is not None
    assert changed.held.norm == pytest.approx(1) and len(changed.held.neighbours) == 5
    assert changed.held.vector.tolist() == make_vector(changed.history.dates[1].content_hash).tolist()
    assert [row["epoch"] for row in changed.history.ledger] == [1, 2] and len(changed.history.vectors) == 2
    assert changed.as_dict()["milvus"]["content_hash"] == changed.history.dates[1].content_hash
    sentences = {
        "p006": f"'p006': served since {SECOND}",
        "p000": f"'p000': served since {FIRST}; delivered unchanged on {SECOND}",
        "p005": f"'p005': refused on {SECOND}: empty_title: no title; its vector of {FIRST} is served",
        "p009": f"'p009': not served: deleted on {SECOND}, because the delivery lacks it",
        "P06": f"'P06': never delivered, as far as the lake goes back (latest date {SECOND}); ids like it: 'p006'",
    }
    for product_id, sentence in sentences.items():
        assert describe_place(explain(product_id)).startswith(sentence)

    damage_rows(settings, name)
    for product_id, fault in DAMAGED.items():
        assert explain(product_id).faults == ([WRONG_NORM, DIFFERENT] if product_id == "p004" else [fault])
    assert "is missing" in describe_place(explain("p001")) and "moon repair" in describe_place(explain("p001"))
    assert "epoch 0, by the ledger 1" in describe_place(explain("p003"))
    assert "(2.0000)" in describe_place(explain("p004")) and "is orphaned" in describe_place(explain("zz"))
    assert explain("p006").faults == []

    put_back()
    for product_id, fault in {"p006": STALE, "p008": MISSING}.items():
        behind = explain(product_id)
        assert behind.faults == [fault] and f"ledger is ahead of {name}" in behind.problems[0]
    assert f"deleted on {SECOND}" in describe_place(explain("p009"))
    move_alias_away(settings)
    moved = explain("p000")
    assert f"left it at {name}" in moved.problems[0]
    assert describe_place(moved) == f"'p000': not served by {OTHER_COLLECTION}: the ledger has it in {name}"
    assert list_files(settings.lake) == files, "explain writes nothing"


@pytest.mark.long
@pytest.mark.milvus_server
def test_a_doubled_product_is_named_on_a_server(shop: ServingShop) -> None:
    context, name = shop.prepare_run(FIRST, make_items(3)), shop.model.collection
    run_stages(context, ["upsert", "publish"])
    has_both = double_row(context.settings, name, "p001")
    found = explain_product(context.settings, "p001")
    assert found.faults == ([DOUBLED] if has_both else []) and explain_product(context.settings, "p002").is_sound


def test_without_milvus_the_history_is_told(make_settings, seed) -> None:
    from jobs.lake.store import open_lake

    settings = make_settings()
    with pytest.raises(NightStoppedError, match=r"nothing was delivered to the lake .* yet: run `moon nightly`"):
        explain_product(settings, "p1")
    assert list_files(settings.lake) == {}, "nothing is created"
    lake = open_lake(settings)
    names = [{"product_id": name, "source_row": row} for row, name in enumerate(["SKU-100", "SKU-1000", "x' or 1=1"])]
    seed(lake, "snapshots", names, {"date": FIRST})
    seed(lake, "snapshots", names[:2], {"date": SECOND})
    seed(lake, "products", [{**row, "title": "t", "content_hash": "h"} for row in names], {"date": FIRST})
    stopped = explain_product(settings, "SKU-100")
    assert [(one.fate, one.source_rows) for one in stopped.history.dates] == [
        ("not planned", [0]),
        ("not planned", [0]),
    ]
    assert "no Milvus Lite database" in stopped.problems[0] and not stopped.is_sound
    assert describe_place(stopped) == (
        f"'SKU-100': delivered on {SECOND} (that run: not served); what is served is not known"
    )
    assert explain_product(settings, "x' or 1=1").history.dates[0].source_rows == [2]
    assert find_like_ids(lake, FIRST, "sku-10") == ["SKU-100", "SKU-1000"]
