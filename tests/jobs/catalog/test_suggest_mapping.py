import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.catalog.head import read_head
from jobs.catalog.suggest_mapping import NoMappingError, normalise_column_name, quote_toml, suggest_mapping
from schemas.source import SourceMapping


def suggested(records: list[dict[str, object]], folder: Path | None = None) -> SourceMapping:
    columns = list(dict.fromkeys(name for record in records for name in record))
    return SourceMapping.parse(suggest_mapping(columns, records, folder))


def test_a_warehouse_export() -> None:
    mapping = suggested([
        {"snapshot_date": "2026-11-22", "sku": f"A-{i}", "product_name": "Mug", "long_description": "A mug for tea",
         "category_path": "Home > Kitchen", "properties": [("colour", "red")], "image_urls": ["s3://b/1.jpg"],
         "price": 9.5, "brand": "Kobo", "updated_at": "2026-11-01"}
        for i in range(12)
    ])  # fmt: skip
    assert (mapping.id, mapping.title, mapping.description) == ("sku", "product_name", "long_description")
    assert mapping.snapshot == "snapshot_date"
    assert mapping.category is not None
    assert (mapping.category.column, mapping.category.separator) == ("category_path", " > ")
    assert mapping.attributes is not None
    assert mapping.attributes.column == "properties"
    assert mapping.images is not None
    assert (mapping.images.column, mapping.images.separator) == ("image_urls", None)


def test_a_german_spreadsheet() -> None:
    mapping = suggested([
        {"Artikel-Nr.": str(i), "Bezeichnung": "Becher", "Beschreibung": "Ein schöner Becher",
         "Warengruppe": "Haus/Küche", "Farbe": "rot" if i % 2 else "blau",
         "Preis (price)": "9,50", "Bild": "img/a.jpg|img/b.jpg"}
        for i in range(12)
    ])  # fmt: skip
    assert (mapping.id, mapping.title, mapping.description) == ("Artikel-Nr.", "Bezeichnung", "Beschreibung")
    assert mapping.category is not None
    assert (mapping.category.column, mapping.category.separator) == ("Warengruppe", "/")
    assert mapping.attributes is not None
    assert mapping.attributes.columns == ["Farbe"]
    assert mapping.images is not None
    assert (mapping.images.column, mapping.images.separator) == ("Bild", "|")


def test_the_papers_benchmark() -> None:
    mapping = suggested([
        {"id": i, "doc_title": "Throw Pillow", "doc_image": f"https://h/{i}.jpg", "doc_industry_name": "Home",
         "doc_cate1_name": "Textile", "doc_cate2_name": "Pillow", "doc_attributes": "Color:Red,,Material:Wool!!!Cotton"}
        for i in range(10)
    ])  # fmt: skip
    assert (mapping.id, mapping.title) == ("id", "doc_title")
    assert mapping.category is not None
    assert mapping.category.columns == ["doc_cate1_name", "doc_cate2_name"]
    assert mapping.attributes is not None
    assert mapping.attributes.column == "doc_attributes"
    assert mapping.images is not None
    assert mapping.images.column == "doc_image"


def test_numbered_image_columns_go_together() -> None:
    mapping = suggested([{"id": i, "name": "Mug", "image_1": "a.jpg", "image_2": ""} for i in range(4)])
    assert mapping.images is not None
    assert mapping.images.columns == ["image_1", "image_2"]


def test_files_named_after_a_column_give_a_template(tmp_path: Path) -> None:
    (tmp_path / "Pics").mkdir()
    for i in range(6):
        (tmp_path / "Pics" / f"{i}.webp").touch()
    mapping = suggested([{"Id": i, "Name": f"Thing {i}"} for i in range(6)], tmp_path)
    assert mapping.images is not None
    assert mapping.images.template == "Pics/{Id}.webp"


def test_paths_are_tried_on_the_disk(tmp_path: Path) -> None:
    day = tmp_path / "2026-11-22"
    day.mkdir()
    (tmp_path / "a.jpg").touch()
    (day / "b.jpg").touch()
    records = [{"id": i, "name": "Mug", "image": "a.jpg"} for i in range(3)]
    assert suggested(records, day).images.base == str(tmp_path)
    assert suggested([{**r, "image": "b.jpg"} for r in records], day).images.base is None
    assert suggested([{**r, "image": "/b.jpg"} for r in records], day).images.template == ".{image}"


def test_an_id_must_tell_products_apart() -> None:
    records = [{"code": "same", "item_id": i, "name": "Mug"} for i in range(9)]
    assert suggested(records).id == "item_id"


def test_no_id_or_title_is_said_with_the_columns() -> None:
    with pytest.raises(NoMappingError, match=r"product id \(columns: a, name\)"):
        suggest_mapping(["a", "name"], [{"a": 1, "name": "x"}], None)
    with pytest.raises(NoMappingError, match="title"):
        suggest_mapping(["id"], [{"id": 1}], None)


@given(st.text(min_size=1, max_size=12))
def test_any_column_name_can_be_written_as_toml(name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError:
        return
    mapping = SourceMapping.parse(f"id = {quote_toml(name)}\ntitle = {quote_toml(name)}\n")
    assert mapping.id == name


def test_plain_names() -> None:
    assert normalise_column_name("Class Name (str)") == "classname"
    assert normalise_column_name("PRODUCT_ID") == "productid"


def test_real_catalogues(shared_data: Path) -> None:
    eshop, grocery = shared_data / "eshop", shared_data / "grocery"
    for path, folder, image in (
        (eshop / "catalog.json", eshop, "Pics/{Id}.webp"),
        (grocery / "classes.csv", grocery, ".{Iconic Image Path (str)}"),
    ):
        head = read_head(str(path))
        text = suggest_mapping(head.columns, [p.record for p in head.records if p.record], folder)
        assert f"template = {json.dumps(image)}" in text
