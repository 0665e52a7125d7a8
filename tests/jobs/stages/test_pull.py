import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.catalog import source as sources
from jobs.errors import NightStoppedError
from jobs.stages.pull import compute_rows_digest, pull
from schemas.uri import folder_uri

MAPPING = """
id = "Id"
title = "Name"
description = "Text"
category = { column = "Type", separator = "/" }
attributes = { column = "More" }
images = { column = "Pictures", version_column = "Versions" }
"""
PRODUCTS = [
    {"Id": 1, "Name": "Mug", "Text": None, "Type": "Home/Mugs", "More": {"colour": "red"}, "Pictures": ["a.jpg"]},
    {"Id": "é🧵", "Name": "Rug", "Text": "x\ny", "Type": "Home", "More": {}, "Pictures": ["a.jpg", "none.jpg"]},
    {"Id": 3, "Name": "Hat", "Text": "", "Type": None, "More": None, "Pictures": []},
]


@pytest.fixture
def shop(tmp_path):
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "mapping.toml").write_text(MAPPING)
    (folder / "a.jpg").write_bytes(b"pixels")
    return folder


def rows(context) -> list[dict]:
    table = context.lake.read_arrow("snapshots", context.partition)
    return sorted(table.to_pylist(), key=lambda row: row["source_row"])


def lines(*products) -> str:
    return "".join(json.dumps({"Versions": None, **product}) + "\n" for product in products)


def test_every_format_gives_the_same_rows(shop, make_night):
    (shop / "a.jsonl").write_text(lines(*PRODUCTS))
    (shop / "a.json").write_text(json.dumps([{"Versions": None, **product} for product in PRODUCTS]))
    typed = [
        {**product, "Id": str(product["Id"]), "More": list((product["More"] or {}).items()), "Versions": None}
        for product in PRODUCTS
    ]
    schema = pa.schema(
        [(name, pa.string()) for name in ("Id", "Name", "Text", "Type")]
        + [("More", pa.map_(pa.string(), pa.string())), ("Pictures", pa.list_(pa.string()))]
        + [("Versions", pa.list_(pa.string()))]
    )
    pq.write_table(pa.Table.from_pylist(typed, schema=schema), shop / "a.parquet")
    seen = {}
    for name in ("a.jsonl", "a.json", "a.parquet"):
        context = make_night(catalog=str(shop / name), lake=str(shop / f"lake-{name}"))
        assert pull(context).counts == {"delivered": 3}
        seen[name] = rows(context)
    assert seen["a.jsonl"] == seen["a.json"] == seen["a.parquet"]
    first, second, third = seen["a.jsonl"]
    assert first["product_id"] == "1"
    assert first["category"] == ["Home", "Mugs"]
    assert first["attributes"] == [("colour", "red")]
    status = (shop / "a.jpg").stat()
    base = folder_uri(str(shop))
    version = f"stat:{status.st_size}-{status.st_mtime_ns}"
    assert second["images"] == [
        {"uri": f"{base}/a.jpg", "version": version},
        {"uri": f"{base}/none.jpg", "version": None},
    ]
    assert (second["product_id"], second["description"], third["images"]) == ("é🧵", "x\ny", [])
    assert [row["source_row"] for row in seen["a.json"]] == [0, 1, 2]


def test_pulling_again_changes_nothing_and_a_changed_image_is_a_change(shop, make_night):
    (shop / "a.jsonl").write_text(lines(*PRODUCTS))
    context = make_night(catalog=str(shop / "a.jsonl"))
    assert pull(context).details == {"snapshot": "new"}
    version, files = context.lake.open("snapshots").version(), context.lake.files("snapshots")
    (shop / "a.jpg").chmod(0)
    assert pull(context).details == {"snapshot": "unchanged"}
    assert context.lake.open("snapshots").version() == version
    written = [str(path) for path in Path(context.settings.lake, "snapshots").rglob("*.parquet")]
    assert sorted(written) == sorted(files)  # the second pull's own files are gone
    os.utime(shop / "a.jpg", ns=(1, 1))
    assert pull(context).details == {"snapshot": "changed"}
    assert rows(context)[0]["images"][0]["version"] == "stat:6-1"
    assert len(rows(context)) == 3


def test_no_record_is_lost_however_broken(shop, make_night):
    (shop / "a.jsonl").write_bytes(
        b"\xef\xbb\xbf"
        + lines(PRODUCTS[0]).encode()
        + b'\n   \n{"Id": 2, "Name": \n[1]\n{"Id": "\xff"}\n'
        + lines({**PRODUCTS[0], "Id": "\ud800x", "Name": ["wrong", 1], "Type": 7, "Pictures": {"a": 1}}).encode()
        + lines({**PRODUCTS[0], "Id": True, "More": "no map", "Pictures": "a.jpg", "Text": 1.5}).encode()
    )
    context = make_night(catalog=str(shop / "a.jsonl"))
    assert pull(context).counts == {"delivered": 6}
    good, cut, array, latin, odd, wrong = rows(context)
    assert good["row_error"] is None
    assert "not a JSON object" in cut["row_error"]
    assert "an array" in array["row_error"]
    assert "not UTF-8" in latin["row_error"]
    assert (odd["product_id"], odd["title"], odd["category"]) == ("\ufffdx", '["wrong", 1]', ["7"])
    assert (wrong["product_id"], wrong["description"], wrong["attributes"]) == ("true", "1.5", None)
    assert wrong["attributes_error"]
    assert wrong["images"][0]["version"].startswith("stat:6-")


def test_a_csv_of_odd_headings_quotes_and_line_breaks_survives(shop, make_night):
    (shop / "mapping.toml").write_text(
        'id = "the ""id"" #"\ntitle = "multi\\nline"\nimages = { column = "Kuvat, ä", separator = "|" }\n'.replace(
            '""id""', '\\"id\\"'
        )
    )
    (shop / "a.csv").write_bytes(
        '\ufeff"the ""id"" #","multi\nline","Kuvat, ä"\r\n'
        '🧵 1,"a ""quoted"" title\r\nin two lines",a.jpg|b.jpg\r\n'
        "2,short\r\n"
        "\r\n"
        '3,"stray,a.jpg\r\n'
        "4,good,a.jpg\r\n".encode()
    )
    context = make_night(catalog=str(shop / "a.csv"))
    pull(context)
    first, short, stray, good = rows(context)
    assert first["product_id"] == "🧵 1"
    assert first["title"] == 'a "quoted" title\nin two lines'
    assert [image["uri"].rsplit("/", 1)[1] for image in first["images"]] == ["a.jpg", "b.jpg"]
    assert short["row_error"] == "has 2 fields where the heading has 3"
    assert "not a CSV record" in stray["row_error"]
    assert (good["product_id"], good["source_row"]) == ("4", 3)


def test_the_snapshot_column_picks_the_dates_rows_and_keeps_their_numbers(shop, make_night):
    (shop / "mapping.toml").write_text(MAPPING + 'snapshot = "Day"\n')
    days = ("2026-01-01", "2026-01-02", "", "2026-01-02T03:00:00Z")
    (shop / "a.jsonl").write_text(lines(*({**PRODUCTS[0], "Id": day, "Day": day} for day in days)) + "broken\n")
    context = make_night("2026-01-02", catalog=str(shop / "a.jsonl"))
    pull(context)
    found = [(row["source_row"], row["product_id"], row["row_error"] is None) for row in rows(context)]
    assert found == [(1, days[1], True), (2, None, False), (3, days[3], True), (4, None, False)]
    (shop / "a.jsonl").write_text(lines({**PRODUCTS[0], "Day": "2026-01-01"}))
    with pytest.raises(NightStoppedError, match="no rows of 2026-01-02 in its snapshot column 'Day'"):
        pull(context)
    assert len(rows(context)) == 4  # what was committed stands


def test_image_versions_come_from_the_catalogue_first_and_from_the_bytes_on_demand(shop, make_night, tmp_path):
    (tmp_path / "secret.jpg").write_bytes(b"pixels")
    product = {**PRODUCTS[0], "Pictures": ["a.jpg", "a.jpg", "../secret.jpg"], "Versions": ["v7"]}
    (shop / "a.jsonl").write_text(lines(product))
    pull(context := make_night(catalog=str(shop / "a.jsonl")))
    first, second, forbidden = (image["version"] for image in rows(context)[0]["images"])
    assert (first, second[:5], forbidden) == ("v7", "stat:", None)
    pull(context := make_night("2026-01-03", catalog=str(shop / "a.jsonl"), image_version="sha256"))
    first, second, forbidden = (image["version"] for image in rows(context)[0]["images"])
    assert first == second
    assert first.startswith("sha256:") and forbidden is None


def test_twins_commit_one_snapshot(shop, make_night):
    (shop / "a.jsonl").write_text(lines(*PRODUCTS))
    context = make_night(catalog=str(shop / "a.jsonl"))
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(pull, [context, context]))
    assert {result.counts["delivered"] for result in results} == {3}
    assert sorted(result.details["snapshot"] for result in results) == ["new", "unchanged"]
    assert context.lake.read_transaction_version("snapshots", f"scope:date={context.date}") == 1
    assert len(rows(context)) == 3


def test_a_catalogue_that_changes_while_it_is_read_stops_the_night(shop, make_night, monkeypatch):
    (shop / "a.jsonl").write_text(lines(*PRODUCTS))
    context = make_night(catalog=str(shop / "a.jsonl"))

    def open_and_rewrite(context):
        source = sources.open_source(context)
        (shop / "a.jsonl").write_text(lines(PRODUCTS[0]))
        return source

    monkeypatch.setattr("jobs.stages.pull.open_source", open_and_rewrite)
    with pytest.raises(NightStoppedError, match="changed while it was read"):
        pull(context)
    assert not context.lake.count("snapshots", context.partition)


def test_the_digest_tells_where_a_value_stands(spark, make_night):
    context = make_night()
    empty = context.lake.read(spark, "snapshots")
    base = dict.fromkeys(empty.columns)
    frames = [
        spark.createDataFrame([{**base, "source_row": 0, **row}], empty.schema)
        for row in ({"title": "a"}, {"description": "a"}, {"title": "a", "attributes": {"x": "y"}})
    ]
    assert len({compute_rows_digest(frame) for frame in frames}) == 3
    both = frames[0].union(frames[1])
    assert (
        compute_rows_digest(both)
        == compute_rows_digest(frames[1].union(frames[0]))
        != compute_rows_digest(frames[0].union(frames[0]))
    )
