from pathlib import Path

import pytest

from schemas.source_mapping import MappingError, SourceMapping

REPOSITORY = Path(__file__).resolve().parents[2]

FULL = """
format = "csv"
id = "Artikel-Nr. (SKU)"
title = 'Name "DE"'
description = "Text"
category = { column = "Waren;gruppe", separator = "/" }
attributes = { columns = { colour = "Farbe, Ton" } }
snapshot = "Tag"

[images]
columns = ["Bild 1", "Bild 2"]
version_column = "Stand"
"""


def test_a_whole_mapping() -> None:
    mapping = SourceMapping.parse(FULL)
    assert mapping.format == "csv"
    assert mapping.category is not None
    assert mapping.category.separator == "/"
    assert mapping.attributes is not None
    assert mapping.attributes.named_columns == {"colour": "Farbe, Ton"}
    assert mapping.list_columns() == [
        "Artikel-Nr. (SKU)", 'Name "DE"', "Text", "Tag", "Waren;gruppe", "Farbe, Ton", "Bild 1", "Bild 2", "Stand",
    ]  # fmt: skip


def test_short_forms() -> None:
    mapping = SourceMapping.parse(
        'id = "i"\ntitle = "t"\ncategory = ["a", "b"]\nattributes = ["c"]\nimages = "photo"\n'
    )
    assert mapping.category is not None
    assert mapping.category.columns == ["a", "b"]
    assert mapping.attributes is not None
    assert mapping.attributes.named_columns == {"c": "c"}
    assert mapping.images is not None
    assert mapping.images.column == "photo"
    assert mapping.format == "auto"


SHOPIFY = """
title = "Title"
attributes = { columns = ["Vendor"], pairs = [["Option1 Name", "Option1 Value"], ["Option2 Name", "Option2 Value"]] }
images = { columns = ["Image Src", "Variant Image"], separator = "," }
product = { key = "Handle" }
where = "Published == 'true' and `Variant Price` > 0"
"""

WOOCOMMERCE = """
id = "ID"
title = "Name"
attributes = { pairs = [["Attribute 1 name", "Attribute 1 value(s)"]] }
parent = { column = "Parent", key = "SKU", id = "ID" }
where = "Published == 1"
"""


def test_rows_that_are_one_product() -> None:
    mapping = SourceMapping.parse(SHOPIFY)
    assert mapping.product is not None
    assert (mapping.id, mapping.product.key) == ("Handle", "Handle")
    assert mapping.list_columns() == [
        "Handle", "Title", "Vendor", "Option1 Name", "Option1 Value", "Option2 Name", "Option2 Value", "Image Src",
        "Variant Image", "Published", "Variant Price",
    ]  # fmt: skip
    assert SourceMapping.parse('title = "t"\nproduct = "Handle"').id == "Handle"
    assert SourceMapping.parse('id = "Handle"\ntitle = "t"\nproduct = "Handle"').id == "Handle"


def test_rows_with_a_parent() -> None:
    mapping = SourceMapping.parse(WOOCOMMERCE)
    assert mapping.list_columns() == [
        "ID", "Name", "Attribute 1 name", "Attribute 1 value(s)", "Parent", "SKU", "Published",
    ]  # fmt: skip
    assert mapping.find_missing_columns(
        ["ID", "Name", "Attribute 1 name", "Attribute 1 value(s)", "parent", "SKU"]
    ) == {
        "Parent": "parent",
        "Published": None,
    }


MISTAKES = {
    'title = "t"\nproduct = {keys = "h"}': ("product.keys", "did you mean key?"),
    'title = "t"\nproduct = {}': ("product.key", "is required"),
    'id = "i"\ntitle = "t"\nproduct = "h"': ("leave out id = 'i'",),
    'id = "i"\ntitle = "t"\nparent = {column = "p"}': ("parent.key", "is required"),
    'id = "i"\ntitle = "t"\nparent = {column = "p", key = "k", ids = "x"}': ("parent.ids", "did you mean id?"),
    'id = "i"\ntitle = "t"\nwhere = "a = 1"': ("where", "compare with ==", "Write, for example"),
    'id = "i"\ntitle = "t"\nwhere = ""': ("where", "cannot be read"),
    'id = "i"\ntitle = "t"\nwhere = "a b == 1"': ("where", "backticks"),
    'id = "i"\ntitle = "t"\nattributes = {pairs = [["a"]]}': ("attributes.pairs", "column of the value"),
    'id = "i"\ntitle = "t"\nattributes = {pairs = [["a", "b", "c"]]}': ("attributes.pairs", "column of the value"),
    'id = "i"\ntitle = "t"\nattributes = {pairs = [["a", "b"]], column = "c"}': ("attributes", "beside columns"),
    'id = "i"\ntitle = "t"\nattributes = {column = "a", ignore = ["b"]}': ("attributes", "ignore belongs to columns"),
    'id = "i"\ntitle = "t"\nattributes = {pair = [["a", "b"]]}': ("attributes.pair", "did you mean pairs?"),
    'id = "i"\ntitle = "t"\nwere = "a == 1"': ("were", "did you mean where?"),
    'title = "t"': ("id", 'write id = "name of the column"'),
    'id = "i"\ntitle = "t"\n[images]\ncolumn = "x"\nroots = ["https://"]': ("images.roots", "names no host"),
    'id = "i"\ntitle = "t"\n[images]\ncolumn = "x"\nroots = [""]': ("images.roots", "at least 1"),
    'id = "i"\ntitle = "t"\nimage = "x"': ("image", "did you mean images?"),
    'id = "i"\ntitle = "t"\n[images]\ntemplates = "x"': ("images.templates", "did you mean template?"),
    'id = "i"\ntitle = "t"\n[images]\ncolumn = "x"\ntemplate = "{y}"': ("images", "exactly one of"),
    'id = "i"\ntitle = "t"\n[images]\nbase = "x"': ("images", "give exactly one of column or columns or template"),
    'id = "i"\ntitle = "t"\n[images]\ntemplate = "a.jpg"': ("images", "names no column"),
    'id = "i"\ntitle = "t"\ncategory = {columns = ["a"], separator = "/"}': ("category", "separator belongs to column"),
    'id = "i"\ntitle = "t"\ncategory = {columns = ["a"], paths = ","}': ("category", "paths belongs to column"),
    'id = 7\ntitle = "t"': ("id", "string"),
    'id = ""\ntitle = "t"': ("id", "at least 1 character"),
    'id = "i"\ntitle = "t"\nformat = "xls"': ("format", "'parquet'"),
    'id = "i\ntitle = "t"': ("the mapping", "no valid TOML"),
}


@pytest.mark.parametrize("text", MISTAKES)
def test_mistakes_are_explained(text: str) -> None:
    with pytest.raises(MappingError) as caught:
        SourceMapping.parse(text)
    for words in MISTAKES[text]:
        assert words in str(caught.value)


def test_all_mistakes_are_named_at_once() -> None:
    with pytest.raises(MappingError) as caught:
        SourceMapping.parse('desciption = "d"')
    assert [line.strip().split(":")[0] for line in str(caught.value).splitlines()[1:]] == ["id", "title", "desciption"]
    assert "did you mean description?" in str(caught.value)


def test_a_relative_base_starts_at_the_mapping_file(tmp_path: Path) -> None:
    path = tmp_path / "maps" / "m.toml"
    path.parent.mkdir()
    path.write_text('id = "i"\ntitle = "t"\n[images]\ncolumn = "c"\nbase = "../photos"\n')
    assert SourceMapping.load(path).resolve_image_base("/elsewhere") == f"file://{tmp_path}/photos"
    path.write_text('id = "i"\ntitle = "t"\n[images]\ncolumn = "c"\nbase = "s3://bucket/photos/"\n')
    assert SourceMapping.load(path).resolve_image_base("/elsewhere") == "s3://bucket/photos"
    path.write_text('id = "i"\ntitle = "t"\nimages = "c"\n')
    assert SourceMapping.load(path).resolve_image_base("/elsewhere") == "file:///elsewhere"


def test_a_missing_or_binary_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(MappingError, match="check-source"):
        SourceMapping.load(tmp_path / "none.toml")
    (tmp_path / "b.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(MappingError, match="not UTF-8"):
        SourceMapping.load(tmp_path / "b.toml")


def test_missing_columns_come_with_the_likeliest_name() -> None:
    mapping = SourceMapping.parse('id = "Id"\ntitle = "Titel"\n[images]\ntemplate = "{Bild}/{Id}.jpg"\n')
    assert mapping.find_missing_columns(["id ", "Title", "x"]) == {"Id": "id ", "Titel": "Title", "Bild": None}
    assert mapping.find_missing_columns(["Id", "Titel", "Bild"]) == {}


@pytest.mark.parametrize("name", ["eshop", "parquet_example", "mbe"])
def test_shipped_mappings_load(name: str) -> None:
    mapping = SourceMapping.load(REPOSITORY / "mappings" / f"{name}.toml")
    assert mapping.images is not None


def test_the_documentation_shows_only_mappings_that_load() -> None:
    text = (REPOSITORY / "docs" / "mapping.md").read_text(encoding="utf-8")
    examples = [block.split("```")[0] for block in text.split("```toml\n")[1:]]
    assert len(examples) >= 2
    for example in examples:
        SourceMapping.parse(example if "\ntitle" in f"\n{example}" else f'id = "i"\ntitle = "t"\n{example}')


def test_roots_are_places_besides_the_base(tmp_path: Path) -> None:
    file = tmp_path / "mapping.toml"
    start = 'id = "i"\ntitle = "t"\n[images]\ncolumn = "x"\n'
    file.write_text(start + 'roots = ["https://CDN.shop.example/", "../photos", "/data/", "s3://bucket/a"]\n')
    roots = ("https://cdn.shop.example", f"file://{tmp_path.parent}/photos", "file:///data", "s3://bucket/a")
    assert SourceMapping.load(file).resolve_image_roots("/shop") == ("file:///shop", *roots)
    file.write_text(start + 'base = "pics"\nroots = []\n')
    assert SourceMapping.load(file).resolve_image_roots("/shop") == (f"file://{tmp_path}/pics",)
    assert SourceMapping.parse('id = "i"\ntitle = "t"').resolve_image_roots("/shop") == ("file:///shop",)
