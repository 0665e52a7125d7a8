import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.errors import NightStoppedError
from jobs.lake.writing import FileSink
from jobs.stages.pull import pull
from jobs.stages.validate import validate
from schemas.product import ImageRef, canonicalise_product, compute_content_hash
from schemas.tables import SNAPSHOTS
from schemas.uri import folder_uri
from validation.reasons import Reason

ROOT = "file:///shop"


def row(number, **fields):
    image = {"uri": f"{ROOT}/{number}.jpg", "version": "1"}
    good = {"source_row": number, "product_id": f"p{number}", "title": f"Mug {number}", "images": [image]}
    return {**good, "category": ["Home"], **fields}


@pytest.fixture
def night_of(make_night):
    """Make a run whose snapshot has the given rows."""

    def context(rows, date="2026-01-02", **options):
        made = make_night(date, allowed_roots=(ROOT,), **options)
        sink = FileSink(made.lake.storage, "snapshots", made.partition)
        sink.write_rows([{**dict.fromkeys(SNAPSHOTS.columns.names), **one} for one in rows])
        version = made.lake.read_transaction_version("snapshots", f"scope:date={date}")
        attempt = f"test/{date}/{version}"
        made.lake.commit("snapshots", sink.close(), attempt=attempt, partition=made.partition, mode="overwrite")
        return made

    return context


def products(context) -> dict[str, dict]:
    found = context.lake.read_arrow("products", context.partition).to_pylist()
    return {one["product_id"]: one for one in found}


def refused(context) -> dict[int, dict]:
    found = context.lake.read_arrow("quarantine", {**context.partition, "stage": "validate"}).to_pylist()
    assert len({one["source_row"] for one in found}) == len(found)
    return {one["source_row"]: one for one in found}


def test_every_row_becomes_a_product_or_a_quarantine_row(night_of):
    outside = [{"uri": "file:///etc/passwd", "version": None}]
    context = night_of(
        [
            row(0, title="  Cafe\u0301 \n mug ", attributes=[("b ", " 2"), ("a", "1"), ("c", " ")]),
            row(1, title=" "),
            row(2, product_id="p0"),
            row(3, product_id=None, title=None),
            row(4, row_error="broken", product_id=None, title=None, images=[]),
            row(5, images=outside),
            row(6, product_id="p5"),
            row(7, product_id="p5"),
            row(8, product_id="p1"),
        ],
        breaker_floor=100,
    )
    assert validate(context).counts == {"delivered": 9, "valid": 3, "quarantined": 6, "merged": 0, "left_out": 0}
    good = products(context)
    # p5: the first row with that id was refused, so the next one is the first good one; p1 likewise.
    assert {name: one["source_row"] for name, one in good.items()} == {"p0": 0, "p5": 6, "p1": 8}
    assert good["p0"]["title"] == "Café mug"
    assert good["p0"]["attributes"] == [("a", "1"), ("b", "2")]
    expected = canonicalise_product(
        title="Café mug", description=None, category=["Home"], attributes={"b": "2", "a": "1"},
        images=[ImageRef(f"{ROOT}/0.jpg", "1")],
    )  # fmt: skip
    assert good["p0"]["content_hash"] == compute_content_hash(expected)
    bad = refused(context)
    assert {number: one["reason"] for number, one in bad.items()} == {
        1: Reason.EMPTY_TITLE,
        2: Reason.DUPLICATE_ID,
        3: Reason.MISSING_ID,
        4: Reason.MALFORMED_ROW,
        5: Reason.FORBIDDEN_URI,
        7: Reason.DUPLICATE_ID,
    }
    assert bad[2]["detail"] == "duplicate_id: row 0 has the same id"
    assert bad[3]["detail"] == "missing_id: the id is null; empty_title: the title is null"
    assert bad[4]["detail"] == "malformed_row: broken"
    assert all(one["image_index"] is None for one in bad.values())
    kept = json.loads(bad[5]["row"])
    assert kept["product_id"] == bad[5]["product_id"] == "p5"
    assert kept["images"] == [{"uri": "file:///etc/passwd"}]


@pytest.mark.long
def test_validating_again_writes_nothing_until_snapshot_or_limits_change(night_of):
    context = night_of([row(0), row(1, title="x" * 50), row(2)])
    first = validate(context)
    assert first.details["gate"] == "passed"

    def versions():
        return [context.lake.open(table).version() for table in ("products", "quarantine")]

    before = versions()
    again = validate(context)
    assert again.details == {"gate": "passed before"}
    assert again.counts == first.counts == {"delivered": 3, "valid": 3, "quarantined": 0, "merged": 0, "left_out": 0}
    assert versions() == before
    strict = replace(context, settings=context.settings.replace(max_title=20))
    assert validate(strict).counts["quarantined"] == 1
    # Back to the first limits: that state existed before, but it is not the current one.
    assert validate(context).counts["quarantined"] == 0
    assert validate(night_of([row(0)])).counts == {
        "delivered": 1,
        "valid": 1,
        "quarantined": 0,
        "merged": 0,
        "left_out": 0,
    }
    assert set(products(context)) == {"p0"}


def test_twins_commit_once_and_rows_that_retention_removed_come_back(night_of):
    context = night_of([row(0), row(1, title=None)])
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(validate, [context, context]))
    assert [result.counts for result in results] == [
        {"delivered": 2, "valid": 1, "quarantined": 1, "merged": 0, "left_out": 0}
    ] * 2
    assert context.lake.read_transaction_version("products", f"scope:date={context.date}") == 1
    assert context.lake.read_partition_version("quarantine", context.quarantine_partition("validate")) == 1
    context.lake.commit("products", [], attempt="retention", partition=context.partition, mode="overwrite")
    assert products(context) == {}
    assert validate(context).counts["valid"] == len(products(context)) == 1


def test_a_night_killed_between_its_two_commits_ends_like_a_clean_one(night_of, monkeypatch):
    context = night_of([row(0), row(1, title=None)])
    commit = type(context.lake).commit

    def killed(lake, name, *args, **kwargs):
        if name == "products":
            raise KeyboardInterrupt
        return commit(lake, name, *args, **kwargs)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(type(context.lake), "commit", killed)
        validate(context)
    assert list(refused(context)) == [1]
    assert products(context) == {}
    version = context.lake.open("quarantine").version()
    assert validate(context).counts == {"delivered": 2, "valid": 1, "quarantined": 1, "merged": 0, "left_out": 0}
    assert context.lake.open("quarantine").version() == version


def test_a_shut_gate_stops_the_night_keeps_the_page_and_what_was_served(night_of):
    validate(night_of([row(number) for number in range(40)], "2026-01-01"))
    context = night_of([row(number, title=None if number % 2 else "Mug") for number in range(18)])
    with pytest.raises(NightStoppedError) as stopped:
        validate(context)
    message = str(stopped.value)
    ratio = "rows of the snapshot as a share of the rows of the latest earlier date: 0.45"
    assert f"{ratio} (18 against 40 of 2026-01-01)" in message
    pages = list(Path(context.settings.lake, "_data_docs", context.date).glob("*.html"))
    assert len(pages) == 1
    assert str(pages[0]) in message
    assert products(context) == {}
    assert not context.lake.count("quarantine", {"date": context.date, "stage": "validate"})
    # The day after is compared with the last date that passed, not with the one that failed.
    with pytest.raises(NightStoppedError, match="of 2026-01-01"):
        validate(night_of([row(number) for number in range(19)], "2026-01-03"))


def test_without_a_snapshot_there_is_nothing_to_validate(make_night):
    with pytest.raises(NightStoppedError, match="moon pull --date 2026-01-02"):
        validate(make_night(allowed_roots=(ROOT,)))


def test_a_catalogue_of_every_evil_is_pulled_and_judged_row_by_row(tmp_path, make_night):
    shop = tmp_path / "shop"
    shop.mkdir()
    (shop / "good.jpg").write_bytes(b"x")
    (tmp_path / "secret.jpg").write_bytes(b"x")
    (shop / "mapping.toml").write_text(
        'id = "Tuote, nro"\ntitle = "\\"Nimi\\""\nattributes = { column = "lisä\\ntiedot" }\n'
        'images = { columns = ["kuva 1", "kuva 2"] }\n'
    )
    (shop / "a.csv").write_text(
        '"Tuote, nro","""Nimi""","lisä\ntiedot","kuva 1","kuva 2"\n'
        '🧵-1,"Say ""hi""\n twice","{""väri"": ""red""}",good.jpg,\n'
        "2,No map,[1],good.jpg,\n"
        "3,,,good.jpg,\n"
        "4,Missing file,,good.jpg,none.jpg\n"
        "5,Forbidden,,good.jpg,../secret.jpg\n"
        "6,Elsewhere,,https://example.com/a.jpg,\n"
        "7,No image,,,\n"
        "🧵-1,Twice,,good.jpg,\n"
        '8,Bell\x07,,good.jpg,\n9,"stray,,good.jpg,\n,No id,,good.jpg,\n',
        encoding="utf-8-sig",
    )
    context = make_night(catalog=str(shop / "a.csv"))
    pull(context)
    assert validate(context).counts == {"delivered": 11, "valid": 2, "quarantined": 9, "merged": 0, "left_out": 0}
    good = products(context)
    assert good["🧵-1"]["title"] == 'Say "hi" twice'
    assert good["🧵-1"]["attributes"] == [("väri", "red")]
    base = folder_uri(str(shop))
    assert [image["version"] is None for image in good["4"]["images"]] == [False, True]
    assert good["4"]["images"][1]["uri"] == f"{base}/none.jpg"
    assert {number: one["reason"] for number, one in refused(context).items()} == {
        1: "malformed_attributes",
        2: "empty_title",
        4: "forbidden_uri",
        5: "forbidden_uri",
        6: "no_image",
        7: "duplicate_id",
        8: "invalid_characters",
        9: "malformed_row",
        10: "missing_id",
    }
