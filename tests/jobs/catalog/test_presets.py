# ruff: noqa: E501  (the headings of exports are long)
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jobs.catalog.head import read_head
from jobs.catalog.mapping import map_parsed_record
from jobs.catalog.records import CsvRecords, guess_catalog_format
from jobs.catalog.suggest_mapping import suggest_mapping
from jobs.operations.check_source import check_source
from jobs.stages.pull import pull
from jobs.stages.validate import validate
from schemas.merging import build_merge_rules, merge_snapshot
from schemas.source import MappedRow, SourceMapping
from schemas.uri import is_under, local_path

SHOPIFY = """Handle,Title,Body (HTML),Vendor,Product Category,Type,Tags,Published,Option1 Name,Option1 Value,Image Src,Status
boot,Boot,<p>Warm</p>,Daybird,Apparel > Shoes,Boots,new,true,Size,S,1.webp,active
tent,Tent,<p>Dry</p>,Karo,Outdoor > Tents,Tents,,true,Title,Default Title,t.webp,active
boot,,,,,,,,,M,2.webp,
draft,Draft,,Karo,Outdoor,Tents,,false,,,d.webp,draft
"""
MERCHANT = """id\ttitle\tdescription\tlink\timage link\tadditional image link\tprice\tbrand\tgoogle_product_category\tproduct_type\tcolor
01\tShirt\tSoft\thttps://s/1\ta.jpg\tb.jpg, c.jpg\t9.00 EUR\tAski\t1604\tClothing > Shirts\tblack
02\tHat\tWarm\thttps://s/2\td.jpg\t\t8.00 EUR\tKaro\t1604\tClothing > Hats\twhite
"""
WOOCOMMERCE = """ID,Type,SKU,Name,Published,Short description,Description,Categories,Images,Parent,Attribute 1 name,Attribute 1 value(s),Attribute 2 name,Attribute 2 value(s)
10,variable,tea,Tea,1,,<p>Green</p>,"Offers, Food > Drinks > Tea","a.jpg, b.jpg",,Origin,"China, Japan",,
11,variation,tea-1,Tea - 100 g,1,,,,,tea,Size,100 g,,
20,variable,,Oil,1,,Olive,"Food \\, Drinks > Oil",o.jpg,,Origin,Spain,Taste,mild
21,variation,,Oil - 1 l,1,,,,,id:20,Size,1 l,,
30,simple,x,Hidden,0,,Text,Food,h.jpg,,,,,
"""
MAGENTO = """sku,store_view_code,attribute_set_code,product_type,categories,name,description,product_online,base_image,additional_images,additional_attributes
TOP-1,,Top,simple,"Default Category,Default Category/Men/Tops",Top,Light,1,a.jpg,"a.jpg,b.jpg","color=Red,size=M|L"
TOP-1,de,,,,Oberteil,,,,,
BAG-1,,Bag,simple,Default Category/Bags,Bag,Big,2,c.jpg,,color=Blue
"""
SPREE = """slug,sku,name,status,description,product_type,category1,option1_name,option1_value,image1_src,image2_src,custom_field.custom.watt
mug,MUG,Mug,active,Red mug,Cups,Kitchen -> Mugs,,,a.webp,b.webp,10 W
mug,MUG-S,,,,,,Color,Red,c.webp,,
old,OLD,Old,archived,Gone,Cups,Kitchen -> Mugs,,,d.webp,,
"""


def read_export(text: str) -> tuple[list[str], list[Any]]:
    records = CsvRecords(text.encode().splitlines())
    return records.columns, list(records)


def serve(columns: list[str], records: list[Any], folder: Path) -> tuple[SourceMapping, dict[str, MappedRow]]:
    """Return the suggested mapping and the products by id, as check-source makes them of the records."""
    samples = [parsed.record for parsed in records[:100]]
    mapping = SourceMapping.parse(suggest_mapping(columns, samples, folder))
    assert not mapping.find_missing_columns(columns)
    rows = [map_parsed_record(parsed, mapping, mapping.resolve_image_base(str(folder))) for parsed in records]
    rules = build_merge_rules(mapping)
    numbered = [(number, row) for number, row in enumerate(rows) if row is not None]
    merged = merge_snapshot(numbered, rules) if rules else []
    kept = [one.row for one in merged if not one.is_left_out] if rules else [row for _, row in numbered]
    products = {row.product_id or "": row for row in kept}
    assert len(products) == len(kept)
    return mapping, products


def serve_text(text: str) -> tuple[SourceMapping, dict[str, MappedRow]]:
    return serve(*read_export(text), Path("/shop"))


def list_photos(row: MappedRow) -> list[str]:
    return [image.uri.rpartition("/")[2] for image in row.images]


def test_shopify() -> None:
    _, products = serve_text(SHOPIFY)
    assert list(products) == ["boot", "tent"]
    boot = products["boot"]
    assert (boot.title, boot.description, boot.category) == ("Boot", "<p>Warm</p>", ["Apparel", "Shoes"])
    assert boot.attributes == {"brand": "Daybird", "type": "Boots", "Size": "S, M"}
    assert list_photos(boot) == ["1.webp", "2.webp"]
    assert products["tent"].attributes == {"brand": "Karo", "type": "Tents"}, "Default Title says nothing"


def test_shopify_without_a_category_takes_the_type_and_the_spelling_of_a_spreadsheet() -> None:
    mapping, products = serve_text(SHOPIFY.replace(",Product Category,", ",Kind,").replace(",true,", ",TRUE,"))
    assert products["boot"].category == ["Boots"]
    assert mapping.where == "Published == 'TRUE' and Status == 'active'"
    mapping, products = serve_text(SHOPIFY.replace(",true,T", ",TRUE,T").replace(",Status", ",State"))
    assert mapping.where == "Published in ['TRUE', 'true']"
    assert list(products) == ["boot", "tent"]


def test_google_merchant() -> None:
    mapping, products = serve_text(MERCHANT)
    assert list(products) == ["01", "02"]
    assert products["01"].category == ["Clothing", "Shirts"]
    assert products["01"].attributes == {"brand": "Aski", "color": "black"}
    assert list_photos(products["01"]) == ["a.jpg", "b.jpg", "c.jpg"]
    assert mapping.where is None
    _, products = serve_text(MERCHANT.replace("\tproduct_type\t", "\tcustom_label_0\t"))
    assert products["01"].category == ["1604"]


def test_an_address_with_a_comma_is_not_cut() -> None:
    _, products = serve_text(MERCHANT.replace("\ta.jpg", "\thttps://cdn/w_200,h_200/a.jpg"))
    assert [image.uri for image in products["01"].images] == ["https://cdn/w_200,h_200/a.jpg"]


def test_google_merchant_as_xml_has_lists() -> None:
    columns, records = read_export(MERCHANT)
    for parsed in records:
        for name in ("additional image link", "product_type"):
            parsed.record[name] = [parsed.record[name], *(["A > B > C, D"] if name == "product_type" else ["e.jpg"])]
    _, products = serve(columns, records, Path("/shop"))
    assert products["01"].category == ["A", "B", "C, D"]
    assert list_photos(products["02"]) == ["d.jpg", "e.jpg"]


def test_woocommerce() -> None:
    _, products = serve_text(WOOCOMMERCE)
    assert list(products) == ["10", "11", "20", "21"]
    small = products["11"]
    assert (small.title, small.description, small.category) == (
        "Tea - 100 g",
        "<p>Green</p>",
        ["Food", "Drinks", "Tea"],
    )
    assert small.attributes == {"Size": "100 g", "Origin": "China, Japan"}
    assert list_photos(small) == ["a.jpg", "b.jpg"]
    assert products["21"].category == ["Food , Drinks", "Oil"]
    assert products["21"].attributes == {"Size": "1 l", "Origin": "Spain", "Taste": "mild"}


def test_magento() -> None:
    _, products = serve_text(MAGENTO)
    assert list(products) == ["TOP-1"]
    top = products["TOP-1"]
    assert (top.title, top.category) == ("Top", ["Default Category", "Men", "Tops"])
    assert top.attributes == {"color": "Red", "size": "M, L"}
    assert dict.fromkeys(list_photos(top)) == {"a.jpg": None, "b.jpg": None}


def test_magento_with_commas_in_attributes_leaves_them_out() -> None:
    mapping, products = serve_text(MAGENTO.replace("size=M|L", "material=wool, silk"))
    assert mapping.attributes is None
    assert products["TOP-1"].row_error is None


def test_magento_with_photos_of_the_media_folder(tmp_path: Path) -> None:
    text = MAGENTO.replace(",a.jpg,", ",/m/a.jpg,")
    mapping, products = serve(*read_export(text), tmp_path)
    assert mapping.images is not None
    assert mapping.images.base is None
    (tmp_path / "pub/media/catalog/product/m").mkdir(parents=True)
    (tmp_path / "pub/media/catalog/product/m/a.jpg").touch()
    mapping, products = serve(*read_export(text), tmp_path)
    assert [image.uri for image in products["TOP-1"].images] == [f"file://{tmp_path}/pub/media/catalog/product/m/a.jpg"]


def test_spree() -> None:
    _, products = serve_text(SPREE)
    assert list(products) == ["mug"]
    assert products["mug"].category == ["Kitchen", "Mugs"]
    assert products["mug"].attributes == {"product_type": "Cups", "watt": "10 W", "Color": "Red"}
    assert list_photos(products["mug"]) == ["a.webp", "b.webp", "c.webp"]


@pytest.mark.parametrize("text", [SHOPIFY, MERCHANT, WOOCOMMERCE, MAGENTO, SPREE])
def test_a_preset_names_only_columns_that_there_are(text: str) -> None:
    columns, records = read_export(text)
    for left_out in columns:
        samples = [{name: v for name, v in parsed.record.items() if name != left_out} for parsed in records]
        names = [name for name in columns if name != left_out]
        try:
            mapping = SourceMapping.parse(suggest_mapping(names, samples, None))
        except ValueError as error:
            assert "no column looks like" in str(error)
        else:
            assert not mapping.find_missing_columns(names)


def test_another_layout_is_guessed() -> None:
    text = suggest_mapping(
        ["id", "title", "image"], [{"id": i, "title": "Mug", "image": "a.jpg"} for i in range(9)], None
    )
    assert "Recognised" not in text


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("products_export.csv", SHOPIFY, {"boot": "Shoes", "tent": "Tents"}),
        ("feed.tsv", MERCHANT, {"01": "Shirts", "02": "Hats"}),
        ("wc-product-export.csv", "\ufeff" + WOOCOMMERCE, {"10": "Tea", "11": "Tea", "20": "Oil", "21": "Oil"}),
        ("catalog_product.csv", MAGENTO, {"TOP-1": "Tops"}),
        ("spree.csv", SPREE, {"mug": "Mugs"}),
    ],
)
def test_a_night_takes_the_suggestion_as_it_is(name: str, text: str, expected, tmp_path: Path, make_night) -> None:
    (tmp_path / name).write_text(text)
    context = make_night(catalog=str(tmp_path / name), breaker_floor=100)
    found = check_source(str(tmp_path / name), context.settings)
    (tmp_path / "mapping.toml").write_text(found.mapping_text or "")
    pull(context)
    validate(context)
    products = context.lake.read_arrow("products", context.partition).to_pylist()
    assert {row["product_id"]: row["category"][-1] for row in products} == expected
    assert all(row["images"] for row in products)


@pytest.fixture(scope="module")
def exports(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Exports of 101 Shopify, 150 Merchant and 97 WooCommerce products, with photos."""
    tool = shared_data.parent / "tools/platform-exports"
    if not tool.is_file():
        pytest.skip(f"the tool that writes exports is not here ({tool})")
    folder = tmp_path_factory.mktemp("exports")
    subprocess.run([sys.executable, tool, folder], check=True, capture_output=True)
    return folder


def serve_file(path: Path) -> dict[str, MappedRow]:
    """Return the products of a whole file; their photos are all there and may be read."""
    head = read_head(str(path), 1000)
    assert head.whole
    mapping, products = serve(head.columns, head.records, path.parent)
    roots = mapping.resolve_image_roots(str(path.parent))
    for row in products.values():
        assert row.title
        assert row.category
        assert row.images
        assert all(is_under(image.uri, roots) for image in row.images)
        paths = [path for image in row.images if (path := local_path(image.uri)) is not None]
        assert all(Path(path).is_file() for path in paths)
    return products


def test_a_whole_shopify_export(exports: Path) -> None:
    products = serve_file(exports / "shopify/products_export.csv")
    assert len(products) == 101
    assert all((row.attributes or {})["brand"] for row in products.values())
    firsts = {key.rpartition("-")[2]: list_photos(row)[0] for key, row in products.items()}
    assert all(photo == f"{number}.webp" for number, photo in firsts.items()), "the main photo is the first"


@pytest.mark.parametrize("name", ["merchant-tsv/feed.tsv", "merchant-xml/feed.xml"])
def test_a_whole_merchant_feed(exports: Path, name: str) -> None:
    if guess_catalog_format(name) is None:
        pytest.skip(f"catalogues such as {name} are not read yet")
    products = serve_file(exports / name)
    assert len(products) == 150
    assert [len(row.images) for row in products.values()] == [1 if i % 3 else 3 for i in range(150)]
    assert {row.category[0] for row in products.values()} == {"Clothing"}
    assert set(products["000000"].attributes or {}) == {"brand", "color", "size", "condition"}


def test_a_whole_woocommerce_export(exports: Path) -> None:
    products = serve_file(exports / "woocommerce/wc-product-export.csv")
    assert len(products) == 97
    assert {len(row.category) for row in products.values()} == {3}
    assert all(row.description and (row.attributes or {}).get("Origin") for row in products.values())


def test_a_whole_spree_export(shared_data: Path) -> None:
    products = serve_file(shared_data / "spree/products.csv")
    assert len(products) == 37
    assert sum(len(row.images) for row in products.values()) == 124
    assert {len(row.category) for row in products.values()} == {2}
