import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from jobs.operations.check_photos import ImageHeader, read_image_header
from jobs.operations.check_source import CheckResult, check_source
from jobs.stages.pull import pull
from jobs.stages.validate import validate
from tests.image_host import open_image_host

Check = Callable[..., CheckResult]


@pytest.fixture
def check_catalog(make_settings) -> Check:
    """Check a catalogue with a mapping file and other settings."""

    def check(catalog: str | Path, mapping: str | Path | None = None, max_rows: int = 5, **options) -> CheckResult:
        settings = make_settings(mapping=None if mapping is None else str(mapping), **options)
        return check_source(str(catalog), settings, max_rows=max_rows)

    return check


def levels(check: CheckResult) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {"error": [], "warning": [], "note": []}
    for finding in check.findings:
        found[finding.level].append(finding.text)
    return found


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "img").mkdir()
    Image.new("RGB", (80, 60), "red").save(tmp_path / "img" / "1.jpg")
    Image.new("RGBA", (50, 90), "blue").save(tmp_path / "img" / "2.png")
    rows = [
        {"sku": str(i), "name": f"Mug {i}", "type": "Cups", "image": f"img/{1 + i % 2}.{'png' if i % 2 else 'jpg'}"}
        for i in range(6)
    ]
    write_csv(tmp_path / "products.csv", rows)
    return tmp_path


def write_csv(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_a_sound_catalogue_gets_a_mapping_that_works(shop: Path, check_catalog: Check) -> None:
    check = check_catalog(shop / "products.csv", max_rows=2)
    assert check.is_usable
    assert levels(check)["warning"] == []
    sizes = [(image.width, image.height, image.format) for _, images in check.rows for image in images]
    assert sizes == [(80, 60, "JPEG"), (50, 90, "PNG")]
    assert check.mapping_text is not None
    (shop / "mapping.toml").write_text(check.mapping_text)
    again = check_catalog(shop / "products.csv")
    assert again.is_usable
    assert again.mapping_text is None
    assert again.mapping_file == str(shop / "mapping.toml")
    assert [row for row, _ in again.rows][:2] == [row for row, _ in check.rows]


def test_a_mapping_with_wrong_columns_is_corrected_in_words(shop: Path, check_catalog: Check) -> None:
    (shop / "m.toml").write_text('id = "SKU"\ntitle = "name"\nimages = "images"\n')
    check = check_catalog(shop / "products.csv", shop / "m.toml")
    assert not check.is_usable
    assert any("'SKU'" in text and "did you mean 'sku'?" in text for text in levels(check)["error"])
    assert any("'images'" in text and "did you mean 'image'?" in text for text in levels(check)["error"])
    assert check.rows == []


def test_rows_that_a_run_would_refuse_are_counted(shop: Path, check_catalog: Check) -> None:
    (shop / "products.csv").write_text(
        "sku,name,image,attributes\n1,Mug,img/1.jpg,a:b\n1,Cup,img/1.jpg,a:b\n,Jar,img/1.jpg,a:b\n4,,img/1.jpg,red\n"
        "5,Pot,,a:b\n6,Pan,img/none.jpg,a:b\n7,Bag,../secret.jpg,a:b\n8,short\n"
    )
    (shop / "m.toml").write_text('id = "sku"\ntitle = "name"\nimages = "image"\nattributes = {column = "attributes"}\n')
    check = check_catalog(shop / "products.csv", shop / "m.toml")
    assert check.is_usable
    warnings = "\n".join(levels(check)["warning"])
    start = "1 of 8 rows would be refused, such as row"
    for words in (
        f"{start} 7 (counted from 0): malformed_row: has 2 fields where the heading has 4",
        f"{start} 2 (counted from 0): missing_id: the id is ''",
        f"{start} 3 (counted from 0): empty_title: the title is ''; malformed_attributes: expected name:value, found",
        f"{start} 4 (counted from 0): no_image: the row names no image",
        f"{start} 1 (counted from 0): duplicate_id: row 0 has the same id",
        f"{start} 6 (counted from 0): forbidden_uri: file://",
        "set images.base or images.roots in the mapping, or MOON_ALLOWED_ROOTS",
        f"{start} 5 (counted from 0): no_readable_image: none of 1 images can be used",
        "1 of 6 images would be refused, such as image_missing: there is no file://",
    ):  # fmt: skip
        assert words in warnings
    assert [refusal.source_row for refusal in check.refusals] == [1, 2, 3, 4, 6, 7, 5]


EVIL = """sku,name,text,type,image,attributes
1,Mug,,,img/1.jpg,a:b
1,Cup,,,img/1.jpg,a:b
\u200b,Jar,,,img/1.jpg,a:b
4, ,,,img/1.jpg,red
5,Pot,,,,a:b
6,Pan\x07,,,img/1.jpg,a:b
7,Bag,,,../secret.jpg,a:b
8,short
9,A title of more than twenty characters,,,img/1.jpg,a:b
10,Rug,,,img/1.jpg|img/1.jpg|img/1.jpg|img/1.jpg,a:b
11,Hat,,,img/1.jpg,no map
12,Hat,destroyed \ufffd,,https://example.com/1.jpg,
13,Hat,\"stray,,img/1.jpg,
{long},Hat,,,img/1.jpg,
14,Fan,,,img/1.jpg,{long}:x
4,The first good one,,,img/1.jpg,
4,The second one,,,img/1.jpg,
"""


def test_every_refusal_of_a_run_is_found_with_the_same_code_and_words(shop: Path, make_night) -> None:
    (shop / "products.csv").write_text(EVIL.replace("{long}", "x" * 300), encoding="utf-8")
    (shop / "mapping.toml").write_text(
        'id = "sku"\ntitle = "name"\ndescription = "text"\ncategory = "type"\nattributes = {column = "attributes"}\n'
        'images = {column = "image", separator = "|"}\n'
    )
    context = make_night(
        catalog=str(shop / "products.csv"), max_title=20, max_description=250, max_images=3, breaker_floor=100
    )
    pull(context)
    validate(context)
    rows = context.lake.read_arrow("quarantine", {**context.partition, "stage": "validate"}).to_pylist()
    found = check_source(str(shop / "products.csv"), context.settings)
    expected = sorted((row["source_row"], row["reason"], row["detail"]) for row in rows)
    assert [(refusal.source_row, refusal.reason, refusal.detail) for refusal in found.refusals] == expected
    assert len({reason for _, reason, _ in expected}) == 10


def test_the_rows_of_each_date_are_checked_as_a_snapshot_of_their_own(shop: Path, check_catalog: Check) -> None:
    (shop / "m.toml").write_text('id = "sku"\ntitle = "name"\nimages = "image"\nsnapshot = "day"\n')
    days = ("2026-11-21", "20261122", "2026-11-22T03:00", "")
    write_csv(shop / "products.csv", [{"sku": "1", "name": "Mug", "image": "img/1.jpg", "day": day} for day in days])
    check = check_catalog(shop / "products.csv", shop / "m.toml")
    assert [(refusal.source_row, refusal.reason, refusal.detail) for refusal in check.refusals] == [
        (2, "duplicate_id", "duplicate_id: row 1 has the same id"),
        (3, "malformed_row", "malformed_row: the snapshot column 'day' is empty"),
    ]


def test_a_share_of_refusals_that_would_stop_a_run_is_a_warning(shop: Path, check_catalog: Check) -> None:
    rows = [{"sku": str(i), "name": "" if i < 3 else "Mug", "image": "img/1.jpg"} for i in range(20)]
    write_csv(shop / "products.csv", rows)
    check = check_catalog(shop / "products.csv", breaker_floor=2)
    words = "3 of 20 rows that were read (15.0%) would be refused: with more than 10.0% of the catalogue and 2 rows"
    assert any(words in text for text in levels(check)["warning"])
    assert not any("stops" in text for text in levels(check_catalog(shop / "products.csv"))["warning"])


def test_an_image_is_told_from_its_header_and_a_row_without_another_is_refused(
    shop: Path, check_catalog: Check
) -> None:
    (shop / "img" / "3.jpg").write_text("<svg/>")
    names = ("img/3.jpg", "img/1.jpg|img/3.jpg", "img/none.jpg|img/3.jpg", "img/1.jpg")
    write_csv(shop / "products.csv", [{"sku": str(i), "name": "Mug", "image": name} for i, name in enumerate(names)])
    (shop / "m.toml").write_text('id = "sku"\ntitle = "name"\nimages = {column = "image", separator = "|"}\n')
    check = check_catalog(shop / "products.csv", shop / "m.toml")
    assert [(refusal.source_row, refusal.reason) for refusal in check.refusals] == [
        (0, "no_readable_image"), (2, "no_readable_image"),
    ]  # fmt: skip
    assert any("3 of 6 images would be refused, such as image_unreadable: " in t for t in levels(check)["warning"])


def test_photos_by_url_are_asked_for_where_the_mapping_is_a_persons(shop: Path, check_catalog: Check) -> None:
    names = ("https://127.0.0.1:9/1.jpg|img/1.jpg", "https://127.0.0.1:9/1.jpg", "https://elsewhere.example/1.jpg")
    write_csv(shop / "products.csv", [{"sku": str(i), "name": "Mug", "image": name} for i, name in enumerate(names)])
    start = 'id = "sku"\ntitle = "name"\n[images]\ncolumn = "image"\nseparator = "|"\n'
    (shop / "mapping.toml").write_text(start + 'roots = ["https://127.0.0.1:9/"]\n')
    check = check_catalog(shop / "products.csv")
    assert [(refusal.source_row, refusal.reason) for refusal in check.refusals] == [(2, "forbidden_uri")]
    assert any("1 of 1 photos by URL failed, such as image_unreachable" in text for text in levels(check)["warning"])
    assert check.rows[0][1][1].width == 80
    assert check_catalog(shop / "products.csv", allowed_roots=(str(shop),)).refusals[0].source_row == 0
    (shop / "mapping.toml").unlink()
    check = check_catalog(shop / "products.csv")
    assert not check.refusals, "the suggestion allows the hosts that the records name"
    assert "# a private address" in (check.mapping_text or "")
    assert check.rows[0][1][0] == ImageHeader("https://127.0.0.1:9/1.jpg"), "a suggested private address is not asked"
    assert any("1 of 1 photos by URL failed" in text and "elsewhere" in text for text in levels(check)["warning"])


def test_photos_of_a_host_have_a_size_and_what_all_will_need(shop: Path, check_catalog: Check) -> None:
    with open_image_host() as host:
        names = (host.add_photo("/1.jpg", 1), host.url + "/none.jpg")
        write_csv(
            shop / "products.csv", [{"sku": str(i), "name": "Mug", "image": name} for i, name in enumerate(names)]
        )
        start = 'id = "sku"\ntitle = "name"\n[images]\ncolumn = "image"\n'
        (shop / "mapping.toml").write_text(start + f'roots = ["{host.url}"]\n')
        check = check_catalog(shop / "products.csv")
    assert check.rows[0][1][0].width == 48
    assert any("1 of 2 photos by URL failed, such as image_missing" in text for text in levels(check)["warning"])
    assert any("1 of 2 photos by URL were asked for: they have 1 KiB each" in text for text in levels(check)["note"])
    expected = "the delivery: 2 photos by URL to ask for, about 0.0 MiB (1 KiB each, measured), about 0 s (50 a second"
    assert any(expected in text for text in levels(check)["note"])


def test_what_spoils_every_row_is_an_error(shop: Path, check_catalog: Check) -> None:
    (shop / "m.toml").write_text('id = "sku"\ntitle = "name"\n[images]\ntemplate = "{sku}.gif"\n')
    check = check_catalog(shop / "products.csv", shop / "m.toml")
    assert any("6 of 6 images would be refused, such as image_missing" in text for text in levels(check)["error"])
    (shop / "m.toml").write_text('id = "sku"\ntitle = "name"\n[images]\ntemplate = "/x/{sku}.gif"\n')
    check = check_catalog(shop / "products.csv", shop / "m.toml")
    assert any("set images.base" in text for text in levels(check)["error"])
    allowed = check_catalog(shop / "products.csv", shop / "m.toml", allowed_roots=("/x",))
    assert any("images would be refused, such as image_missing" in text for text in levels(allowed)["error"])
    (shop / "m.toml").write_text('id = "sku"\ntitle = "name"\n')
    assert any(
        "says nothing of images" in text
        for text in levels(check_catalog(shop / "products.csv", shop / "m.toml"))["error"]
    )


def test_snapshot_dates_are_shown_and_empty_ones_counted(shop: Path, check_catalog: Check) -> None:
    (shop / "m.toml").write_text('id = "sku"\ntitle = "name"\nimages = "image"\nsnapshot = "day"\n')
    rows = [
        {"sku": str(i), "name": "Mug", "image": "img/1.jpg", "day": day} for i, day in enumerate(("2026-11-22", ""))
    ]
    write_csv(shop / "products.csv", rows)
    found = levels(check_catalog(shop / "products.csv", shop / "m.toml"))
    assert any("holds 2026-11-22;" in text for text in found["note"])
    assert any("empty in 1 of 2" in text for text in found["warning"])
    write_csv(shop / "products.csv", [{**row, "day": ""} for row in rows])
    assert any("empty in 2 of 2" in t for t in levels(check_catalog(shop / "products.csv", shop / "m.toml"))["error"])


def test_files_that_cannot_be_used_are_errors_and_not_exceptions(shop: Path, check_catalog: Check) -> None:
    for catalog, mapping, hint in (
        (shop / "none.csv", None, "no such file"),
        (shop / "products.csv", shop / "none.toml", "cannot read the mapping"),
        (shop / "img", None, "holds no file that ends in"),
    ):
        check = check_catalog(catalog, mapping)
        assert not check.is_usable
        assert hint in check.findings[0].text
    (shop / "empty.csv").write_text("sku,name,image\n")
    assert not check_catalog(shop / "empty.csv").is_usable
    (shop / "broken.toml").write_text("id = \n")
    assert "TOML" in check_catalog(shop / "products.csv", shop / "broken.toml").findings[0].text


def test_several_formats_in_one_folder_are_refused(shop: Path, check_catalog: Check) -> None:
    (shop / "more.jsonl").write_text(json.dumps({"sku": "9", "name": "x", "image": "img/1.jpg"}))
    check = check_catalog(shop)
    assert any("several formats (csv, jsonl)" in text for text in levels(check)["error"])


def test_thumbnails_of_bad_files_say_why(tmp_path: Path) -> None:
    roots = (f"file://{tmp_path}",)
    (tmp_path / "a.jpg").write_text("<svg/>")
    assert "image_missing" in (read_image_header(f"file://{tmp_path}/none.jpg", roots).problem or "")
    assert "image_forbidden" in (read_image_header("file:///etc/hostname", roots).problem or "")
    assert "image_unreadable" in (read_image_header(f"file://{tmp_path}/a.jpg", roots).problem or "")
    (tmp_path / "bomb.png").write_bytes(bomb())
    found = read_image_header(f"file://{tmp_path}/bomb.png", roots)
    assert found.problem or (found.width, found.height) == (60_000, 60_000)


def bomb() -> bytes:
    from jobs.datasets.demo_broken import _make_huge_png

    return _make_huge_png()


def test_eshop(shared_data: Path, check_catalog: Check) -> None:
    check = check_catalog(shared_data / "eshop" / "catalog.json", max_rows=3)
    assert check.is_usable
    assert levels(check)["warning"] == []
    assert {(image.width, image.height) for _, images in check.rows for image in images} == {(600, 600)}


MERGING = """
title = "name"
attributes = { columns = ["type"], pairs = [["option", "value"]] }
images = { columns = ["image"], separator = "," }
product = { key = "handle" }
where = "published == 'true'"
"""
BLANK = dict.fromkeys(("handle", "name", "type", "option", "value", "image", "published"), "")


def write_shopify(shop: Path, *rows: dict[str, str], mapping: str = MERGING) -> Path:
    write_csv(shop / "products.csv", [{**BLANK, **row} for row in rows])
    (shop / "mapping.toml").write_text(mapping)
    return shop / "products.csv"


def test_rows_of_one_key_are_shown_as_the_product_that_a_run_makes(
    shop: Path, check_catalog: Check, make_night
) -> None:
    catalog = write_shopify(
        shop,
        {"handle": "cup", "name": "Cup", "type": "Home", "option": "Size", "value": "S", "image": "img/1.jpg",
         "published": "true"},
        {"handle": "draft", "name": "Draft", "image": "img/1.jpg", "published": "false"},
        {"handle": "cup", "value": "M", "image": "img/2.png, img/1.jpg"},
        {"handle": "bare", "image": "img/1.jpg", "published": "true"},
        {"handle": "draft", "image": "img/2.png"},
    )  # fmt: skip
    check = check_catalog(catalog)
    assert [(row.product_id, row.title) for row, _ in check.rows] == [("cup", "Cup"), ("bare", "")]
    cup, images = check.rows[0]
    assert cup.attributes == {"type": "Home", "Size": "S, M"}
    assert [(image.width, image.problem) for image in images] == [(80, None), (50, None)]
    assert [(one.source_row, one.reason) for one in check.refusals] == [(3, "empty_title")]
    assert "5 rows are 2 products; 2 rows are left out" in levels(check)["note"]
    assert any("1 of 2 rows would be refused" in text for text in levels(check)["warning"])
    context = make_night(catalog=str(catalog))
    pull(context)
    assert validate(context).counts == {"delivered": 5, "valid": 1, "quarantined": 1, "merged": 1, "left_out": 2}


def test_a_variant_is_shown_with_what_its_parent_gives(shop: Path, check_catalog: Check) -> None:
    mapping = (
        'id = "id"\ntitle = "name"\ndescription = "text"\nimages = "image"\nparent = {column = "parent", key = "sku"}'
    )
    columns = dict.fromkeys(("id", "sku", "parent", "name", "text", "image"), "")
    rows = [
        {**columns, "id": "1", "name": "Cup red", "parent": "cup"},
        {**columns, "id": "2", "name": "Cup blue", "parent": "id:3", "image": "img/2.png"},
        {**columns, "id": "3", "sku": "cup", "name": "Cup", "text": "Holds tea", "image": "img/1.jpg"},
    ]
    write_csv(shop / "products.csv", rows)
    (shop / "mapping.toml").write_text(mapping)
    check = check_catalog(shop / "products.csv")
    assert check.refusals == []
    assert [(row.title, row.description, images[0].width) for row, images in check.rows] == [
        ("Cup red", "Holds tea", 80), ("Cup blue", "Holds tea", 50), ("Cup", "Holds tea", 80),
    ]  # fmt: skip


def test_a_condition_that_takes_nothing_is_an_error(shop: Path, check_catalog: Check) -> None:
    row = {"handle": "cup", "name": "Cup", "image": "img/1.jpg", "published": "TRUE"}
    check = check_catalog(write_shopify(shop, row))
    assert not check.is_usable
    assert any("published == 'true'" in text and "every row" in text for text in levels(check)["error"])
    misspelt = MERGING.replace("published ==", "publish ==")
    errors = levels(check_catalog(write_shopify(shop, row, mapping=misspelt)))["error"]
    assert any("'publish'" in text and "did you mean 'published'" in text for text in errors)
