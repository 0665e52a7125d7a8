import json
from pathlib import Path

from jobs.operations.check_report import predict_night
from jobs.operations.check_source import check_source
from jobs.stages.pull import pull
from jobs.stages.validate import validate
from tests.jobs.checked_shop import Check, levels, write_csv


def test_a_sound_catalogue_gets_a_mapping_that_works(drawn_shop: Path, check_catalog: Check) -> None:
    check = check_catalog(drawn_shop / "products.csv", max_rows=2)
    assert check.is_usable
    assert levels(check)["warning"] == []
    sizes = [(image.width, image.height, image.format) for _, images in check.rows for image in images]
    assert sizes == [(80, 60, "JPEG"), (50, 90, "PNG")]
    assert check.mapping_text is not None
    (drawn_shop / "mapping.toml").write_text(check.mapping_text)
    again = check_catalog(drawn_shop / "products.csv")
    assert again.is_usable
    assert again.mapping_text is None
    assert again.mapping_file == str(drawn_shop / "mapping.toml")
    assert [row for row, _ in again.rows][:2] == [row for row, _ in check.rows]


def test_a_mapping_with_wrong_columns_is_corrected_in_words(drawn_shop: Path, check_catalog: Check) -> None:
    (drawn_shop / "m.toml").write_text('id = "SKU"\ntitle = "name"\nimages = "images"\n')
    check = check_catalog(drawn_shop / "products.csv", drawn_shop / "m.toml")
    assert not check.is_usable
    assert any("'SKU'" in text and "did you mean 'sku'?" in text for text in levels(check)["error"])
    assert any("'images'" in text and "did you mean 'image'?" in text for text in levels(check)["error"])
    assert check.rows == []


def test_rows_that_a_run_would_refuse_are_counted(drawn_shop: Path, check_catalog: Check) -> None:
    (drawn_shop / "products.csv").write_text(
        "sku,name,image,attributes\n1,Mug,img/1.jpg,a:b\n1,Cup,img/1.jpg,a:b\n,Jar,img/1.jpg,a:b\n4,,img/1.jpg,red\n"
        "5,Pot,,a:b\n6,Pan,img/none.jpg,a:b\n7,Bag,../secret.jpg,a:b\n8,short\n"
    )
    (drawn_shop / "m.toml").write_text(
        'id = "sku"\ntitle = "name"\nimages = "image"\nattributes = {column = "attributes"}\n'
    )
    check = check_catalog(drawn_shop / "products.csv", drawn_shop / "m.toml")
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


def test_every_refusal_of_a_run_is_found_with_the_same_code_and_words(drawn_shop: Path, make_night) -> None:
    (drawn_shop / "products.csv").write_text(EVIL.replace("{long}", "x" * 300), encoding="utf-8")
    (drawn_shop / "mapping.toml").write_text(
        'id = "sku"\ntitle = "name"\ndescription = "text"\ncategory = "type"\nattributes = {column = "attributes"}\n'
        'images = {column = "image", separator = "|"}\n'
    )
    context = make_night(
        catalog=str(drawn_shop / "products.csv"), max_title=20, max_description=250, max_images=3, breaker_floor=100
    )
    pull(context)
    validate(context)
    rows = context.lake.read_arrow("quarantine", {**context.partition, "stage": "validate"}).to_pylist()
    found = check_source(str(drawn_shop / "products.csv"), context.settings)
    expected = sorted((row["source_row"], row["reason"], row["detail"]) for row in rows)
    assert [(refusal.source_row, refusal.reason, refusal.detail) for refusal in found.refusals] == expected
    assert len({reason for _, reason, _ in expected}) == 10


def test_the_rows_of_each_date_are_checked_as_a_snapshot_of_their_own(drawn_shop: Path, check_catalog: Check) -> None:
    (drawn_shop / "m.toml").write_text('id = "sku"\ntitle = "name"\nimages = "image"\nsnapshot = "day"\n')
    days = ("2026-11-21", "20261122", "2026-11-22T03:00", "")
    write_csv(
        drawn_shop / "products.csv", [{"sku": "1", "name": "Mug", "image": "img/1.jpg", "day": day} for day in days]
    )
    check = check_catalog(drawn_shop / "products.csv", drawn_shop / "m.toml")
    assert [(refusal.source_row, refusal.reason, refusal.detail) for refusal in check.refusals] == [
        (2, "duplicate_id", "duplicate_id: row 1 has the same id"),
        (3, "malformed_row", "malformed_row: the snapshot column 'day' is empty"),
    ]


def test_a_share_of_refusals_that_would_stop_a_run_is_a_warning(drawn_shop: Path, check_catalog: Check) -> None:
    rows = [{"sku": str(i), "name": "" if i < 3 else "Mug", "image": "img/1.jpg"} for i in range(20)]
    write_csv(drawn_shop / "products.csv", rows)
    check = check_catalog(drawn_shop / "products.csv", breaker_floor=2)
    words = "3 of 20 products (15.0%) would be refused: the first run of a collection only warns of that, and a later"
    assert any(words in text for text in levels(check)["warning"])
    assert predict_night(check).endswith(
        "A second night with the same delivery would change nothing; in a collection whose last run refused less than "
        "10.0% it would stop."
    )
    assert not any("stops" in text for text in levels(check_catalog(drawn_shop / "products.csv"))["warning"])


def test_what_spoils_every_row_is_an_error(drawn_shop: Path, check_catalog: Check) -> None:
    (drawn_shop / "m.toml").write_text('id = "sku"\ntitle = "name"\n[images]\ntemplate = "{sku}.gif"\n')
    check = check_catalog(drawn_shop / "products.csv", drawn_shop / "m.toml")
    assert any("6 of 6 images would be refused, such as image_missing" in text for text in levels(check)["error"])
    (drawn_shop / "m.toml").write_text('id = "sku"\ntitle = "name"\n[images]\ntemplate = "/x/{sku}.gif"\n')
    check = check_catalog(drawn_shop / "products.csv", drawn_shop / "m.toml")
    assert any("set images.base" in text for text in levels(check)["error"])
    allowed = check_catalog(drawn_shop / "products.csv", drawn_shop / "m.toml", allowed_roots=("/x",))
    assert any("images would be refused, such as image_missing" in text for text in levels(allowed)["error"])
    (drawn_shop / "m.toml").write_text('id = "sku"\ntitle = "name"\n')
    assert any(
        "says nothing of images" in text
        for text in levels(check_catalog(drawn_shop / "products.csv", drawn_shop / "m.toml"))["error"]
    )


def test_snapshot_dates_are_shown_and_empty_ones_counted(drawn_shop: Path, check_catalog: Check) -> None:
    (drawn_shop / "m.toml").write_text('id = "sku"\ntitle = "name"\nimages = "image"\nsnapshot = "day"\n')
    rows = [
        {"sku": str(i), "name": "Mug", "image": "img/1.jpg", "day": day} for i, day in enumerate(("2026-11-22", ""))
    ]
    write_csv(drawn_shop / "products.csv", rows)
    found = levels(check_catalog(drawn_shop / "products.csv", drawn_shop / "m.toml"))
    assert any("holds 2026-11-22;" in text for text in found["note"])
    assert any("empty in 1 of 2" in text for text in found["warning"])
    write_csv(drawn_shop / "products.csv", [{**row, "day": ""} for row in rows])
    assert any(
        "empty in 2 of 2" in t
        for t in levels(check_catalog(drawn_shop / "products.csv", drawn_shop / "m.toml"))["error"]
    )


def test_files_that_cannot_be_used_are_errors_and_not_exceptions(drawn_shop: Path, check_catalog: Check) -> None:
    for catalog, mapping, hint in (
        (drawn_shop / "none.csv", None, "no such file"),
        (drawn_shop / "products.csv", drawn_shop / "none.toml", "cannot read the mapping"),
        (drawn_shop / "img", None, "holds no file that ends in"),
    ):
        check = check_catalog(catalog, mapping)
        assert not check.is_usable
        assert hint in check.findings[0].text
    (drawn_shop / "empty.csv").write_text("sku,name,image\n")
    assert not check_catalog(drawn_shop / "empty.csv").is_usable
    (drawn_shop / "broken.toml").write_text("id = \n")
    assert "TOML" in check_catalog(drawn_shop / "products.csv", drawn_shop / "broken.toml").findings[0].text


def test_several_formats_in_one_folder_are_refused(drawn_shop: Path, check_catalog: Check) -> None:
    (drawn_shop / "more.jsonl").write_text(json.dumps({"sku": "9", "name": "x", "image": "img/1.jpg"}))
    check = check_catalog(drawn_shop)
    assert any("several formats (csv, jsonl)" in text for text in levels(check)["error"])


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


def write_shopify(drawn_shop: Path, *rows: dict[str, str], mapping: str = MERGING) -> Path:
    write_csv(drawn_shop / "products.csv", [{**BLANK, **row} for row in rows])
    (drawn_shop / "mapping.toml").write_text(mapping)
    return drawn_shop / "products.csv"


def test_rows_of_one_key_are_shown_as_the_product_that_a_run_makes(
    drawn_shop: Path, check_catalog: Check, make_night
) -> None:
    catalog = write_shopify(
        drawn_shop,
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


def test_a_variant_is_shown_with_what_its_parent_gives(drawn_shop: Path, check_catalog: Check) -> None:
    mapping = (
        'id = "id"\ntitle = "name"\ndescription = "text"\nimages = "image"\nparent = {column = "parent", key = "sku"}'
    )
    columns = dict.fromkeys(("id", "sku", "parent", "name", "text", "image"), "")
    rows = [
        {**columns, "id": "1", "name": "Cup red", "parent": "cup"},
        {**columns, "id": "2", "name": "Cup blue", "parent": "id:3", "image": "img/2.png"},
        {**columns, "id": "3", "sku": "cup", "name": "Cup", "text": "Holds tea", "image": "img/1.jpg"},
    ]
    write_csv(drawn_shop / "products.csv", rows)
    (drawn_shop / "mapping.toml").write_text(mapping)
    check = check_catalog(drawn_shop / "products.csv")
    assert check.refusals == []
    assert [(row.title, row.description, images[0].width) for row, images in check.rows] == [
        ("Cup red", "Holds tea", 80), ("Cup blue", "Holds tea", 50), ("Cup", "Holds tea", 80),
    ]  # fmt: skip


def test_a_condition_that_takes_nothing_is_an_error(drawn_shop: Path, check_catalog: Check) -> None:
    row = {"handle": "cup", "name": "Cup", "image": "img/1.jpg", "published": "TRUE"}
    check = check_catalog(write_shopify(drawn_shop, row))
    assert not check.is_usable
    assert any("published == 'true'" in text and "every row" in text for text in levels(check)["error"])
    misspelt = MERGING.replace("published ==", "publish ==")
    errors = levels(check_catalog(write_shopify(drawn_shop, row, mapping=misspelt)))["error"]
    assert any("'publish'" in text and "did you mean 'published'" in text for text in errors)
