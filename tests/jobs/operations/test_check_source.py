import csv
import json
from pathlib import Path

import pytest
from PIL import Image

from jobs.operations.check_source import CheckResult, check_source, read_image_header


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


def test_a_sound_catalogue_gets_a_mapping_that_works(shop: Path) -> None:
    check = check_source(str(shop / "products.csv"), max_rows=2)
    assert check.is_usable
    assert levels(check)["warning"] == []
    sizes = [(image.width, image.height, image.format) for _, images in check.rows for image in images]
    assert sizes == [(80, 60, "JPEG"), (50, 90, "PNG")]
    assert check.mapping_text is not None
    (shop / "mapping.toml").write_text(check.mapping_text)
    again = check_source(str(shop / "products.csv"))
    assert again.is_usable
    assert again.mapping_text is None
    assert again.mapping_file == str(shop / "mapping.toml")
    assert [row for row, _ in again.rows][:2] == [row for row, _ in check.rows]


def test_a_mapping_with_wrong_columns_is_corrected_in_words(shop: Path) -> None:
    (shop / "m.toml").write_text('id = "SKU"\ntitle = "name"\nimages = "images"\n')
    check = check_source(str(shop / "products.csv"), str(shop / "m.toml"))
    assert not check.is_usable
    assert any("'SKU'" in text and "did you mean 'sku'?" in text for text in levels(check)["error"])
    assert any("'images'" in text and "did you mean 'image'?" in text for text in levels(check)["error"])
    assert check.rows == []


def test_rows_that_a_night_would_refuse_are_counted(shop: Path) -> None:
    (shop / "products.csv").write_text(
        "sku,name,image,attributes\n1,Mug,img/1.jpg,a:b\n1,Cup,img/1.jpg,a:b\n,Jar,img/1.jpg,a:b\n4,,img/1.jpg,red\n"
        "5,Pot,,a:b\n6,Pan,img/none.jpg,a:b\n7,Bag,../secret.jpg,a:b\n8,short\n"
    )
    (shop / "m.toml").write_text('id = "sku"\ntitle = "name"\nimages = "image"\nattributes = {column = "attributes"}\n')
    check = check_source(str(shop / "products.csv"), str(shop / "m.toml"))
    assert check.is_usable
    warnings = "\n".join(levels(check)["warning"])
    for words in (
        "1 of 8 records cannot be read", "1 of 7 records have no product id", "1 of 7 records have no title",
        "1 of 7 records have attributes that are no map", "1 of 7 records name no image", "'1'; the later rows",
        "1 of 6 images lie outside", "1 of 6 images are not there",
    ):  # fmt: skip
        assert words in warnings


def test_what_spoils_every_row_is_an_error(shop: Path) -> None:
    (shop / "m.toml").write_text('id = "sku"\ntitle = "name"\n[images]\ntemplate = "{sku}.gif"\n')
    check = check_source(str(shop / "products.csv"), str(shop / "m.toml"))
    assert any("6 of 6 images are not there" in text for text in levels(check)["error"])
    (shop / "m.toml").write_text('id = "sku"\ntitle = "name"\n[images]\ntemplate = "/x/{sku}.gif"\n')
    check = check_source(str(shop / "products.csv"), str(shop / "m.toml"))
    assert any("set images.base" in text for text in levels(check)["error"])
    allowed = check_source(str(shop / "products.csv"), str(shop / "m.toml"), allowed_roots=("/x",))
    assert any("are not there" in text for text in levels(allowed)["error"])
    (shop / "m.toml").write_text('id = "sku"\ntitle = "name"\n')
    assert any(
        "says nothing of images" in text
        for text in levels(check_source(str(shop / "products.csv"), str(shop / "m.toml")))["error"]
    )


def test_snapshot_dates_are_shown_and_empty_ones_counted(shop: Path) -> None:
    (shop / "m.toml").write_text('id = "sku"\ntitle = "name"\nimages = "image"\nsnapshot = "day"\n')
    rows = [
        {"sku": str(i), "name": "Mug", "image": "img/1.jpg", "day": day} for i, day in enumerate(("2026-11-22", ""))
    ]
    write_csv(shop / "products.csv", rows)
    found = levels(check_source(str(shop / "products.csv"), str(shop / "m.toml")))
    assert any("holds 2026-11-22;" in text for text in found["note"])
    assert any("empty in 1 of 2" in text for text in found["warning"])
    write_csv(shop / "products.csv", [{**row, "day": ""} for row in rows])
    assert any(
        "empty in 2 of 2" in t for t in levels(check_source(str(shop / "products.csv"), str(shop / "m.toml")))["error"]
    )


def test_files_that_cannot_be_used_are_errors_and_not_exceptions(shop: Path) -> None:
    for catalog, mapping, hint in (
        (shop / "none.csv", None, "no such file"),
        (shop / "products.csv", shop / "none.toml", "cannot read the mapping"),
        (shop / "img", None, "no file in it"),
    ):
        check = check_source(str(catalog), str(mapping) if mapping else None)
        assert not check.is_usable
        assert hint in check.findings[0].text
    (shop / "empty.csv").write_text("sku,name,image\n")
    assert not check_source(str(shop / "empty.csv")).is_usable
    (shop / "broken.toml").write_text("id = \n")
    assert "TOML" in check_source(str(shop / "products.csv"), str(shop / "broken.toml")).findings[0].text


def test_several_formats_in_one_folder_are_refused(shop: Path) -> None:
    (shop / "more.jsonl").write_text(json.dumps({"sku": "9", "name": "x", "image": "img/1.jpg"}))
    check = check_source(str(shop))
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


def test_eshop(shared_data: Path) -> None:
    check = check_source(str(shared_data / "eshop" / "catalog.json"), max_rows=3)
    assert check.is_usable
    assert levels(check)["warning"] == []
    assert {(image.width, image.height) for _, images in check.rows for image in images} == {(600, 600)}
