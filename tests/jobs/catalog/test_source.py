import bz2
import gzip
import io
import json
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.catalog import delivery
from jobs.catalog import formats as readers
from jobs.catalog.mapping import catalog_folder
from jobs.catalog.source import list_allowed_roots, load_mapping, open_source, resolve_catalog_path
from jobs.errors import NightStoppedError
from schemas.uri import folder_uri

MAPPING = 'id = "Id"\ntitle = "Name"\nimages = "Pictures"\n'


@pytest.fixture
def shop(tmp_path, make_night):
    """A function that writes files of a shop and returns a run context for them."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "mapping.toml").write_text(MAPPING)

    def context(catalog, files=(), **options):
        for name, data in dict(files).items():
            path = tmp_path / "shop" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return make_night(catalog=str(tmp_path / "shop" / catalog), **options)

    return context


def line(**fields):
    return json.dumps({"Id": 1, "Name": "a", "Pictures": [], **fields}) + "\n"


def test_the_date_stands_in_the_path_and_the_folder_is_where_files_lie(tmp_path, make_night):
    context = make_night("2026-03-04", catalog=str(tmp_path / "{date}" / "catalog.jsonl"))
    assert resolve_catalog_path(context) == str(tmp_path / "2026-03-04" / "catalog.jsonl")
    assert catalog_folder("/shop/catalog.csv") == "/shop"
    assert catalog_folder("/shop/part-*.csv") == "/shop"
    assert catalog_folder("/shop/*/part.csv") == "/shop"
    assert catalog_folder(str(tmp_path)) == str(tmp_path)
    assert catalog_folder("s3://bucket/shop/catalog.parquet") == "s3://bucket/shop"
    assert catalog_folder("s3://bucket/shop") == "s3://bucket/shop"
    assert resolve_catalog_path(make_night(catalog="file:///shop/a.csv")) == "/shop/a.csv"


def test_the_mapping_lies_beside_the_catalogue_or_one_folder_above(shop, tmp_path):
    context = shop("{date}/catalog.jsonl", {"2026-01-02/catalog.jsonl": line()})
    assert load_mapping(context).id == "Id"
    (tmp_path / "other.toml").write_text('id = "Other"\ntitle = "Name"\n')
    context = shop("{date}/catalog.jsonl", mapping=str(tmp_path / "other.toml"))
    assert load_mapping(context).id == "Other"


def test_images_may_come_from_the_catalogues_folder_unless_told_otherwise(shop, tmp_path):
    assert list_allowed_roots(shop("catalog.jsonl")) == (folder_uri(str(tmp_path / "shop")),)
    context = shop("catalog.jsonl", allowed_roots=(str(tmp_path / "a/../b"), "memory://bucket/x/"))
    assert list_allowed_roots(context) == (folder_uri(str(tmp_path / "b")), "memory://bucket/x")
    (tmp_path / "shop" / "mapping.toml").write_text(MAPPING.replace('"Pictures"', '{column="Pictures", base=".."}'))
    assert list_allowed_roots(shop("catalog.jsonl")) == (folder_uri(str(tmp_path)),)
    pictures = '{column="Pictures", roots=["https://cdn.shop.example/", "../photos"]}'
    (tmp_path / "shop" / "mapping.toml").write_text(MAPPING.replace('"Pictures"', pictures))
    besides = ("https://cdn.shop.example", folder_uri(str(tmp_path / "photos")))
    assert list_allowed_roots(shop("catalog.jsonl")) == (folder_uri(str(tmp_path / "shop")), *besides)
    assert list_allowed_roots(shop("catalog.jsonl", allowed_roots=("/data",))) == ("file:///data",)


def test_a_night_without_a_usable_source_stops_and_says_what_to_do(shop, tmp_path, make_night):
    def stopped(context, function):
        with pytest.raises(NightStoppedError) as caught:
            function(context)
        return str(caught.value)

    assert "--catalog" in stopped(make_night(), resolve_catalog_path)
    assert "--catalog" in stopped(make_night(), list_allowed_roots)
    assert "moon check-source" in stopped(make_night(catalog=str(tmp_path / "elsewhere" / "a.csv")), load_mapping)
    bad = shop("a.csv", mapping=str(tmp_path / "shop" / "bad.toml"), files={"bad.toml": 'id = "Id"\ntitel = "x"\n'})
    assert "did you mean title?" in stopped(bad, load_mapping)
    assert "cannot be reached" in stopped(shop("a.csv", allowed_roots=("s4://bucket",)), list_allowed_roots)


@pytest.mark.parametrize(
    ("catalog", "files", "words"),
    [
        ("none.jsonl", {}, "none.jsonl"),
        ("data", {"data/readme.md": "x"}, "readme.md has an unknown suffix"),
        ("data", {"data/mapping.toml": MAPPING}, "holds no file that ends in .parquet, "),
        ("data", {"data/a.jsonl": line(), "data/b.jsonl.gz": gzip.compress(b"")}, "b.jsonl.gz unpacks to nothing"),
        ("data", {"data/a.jsonl": line(), "data/b.jsonl.gz": b"no gzip at all" * 20}, "b.jsonl.gz.*Not a gzipped file"),
        ("a.csv.zip", {"a.csv.zip": b"no zip"}, "a.csv.zip cannot be unpacked"),
        ("data", {"data/a.jsonl": line(), "data/b.csv": "Id,Name,Pictures\n"}, "files of several formats"),
        ("a.csv", {"a.csv": "Id,Title,Pictures\n1,a,b\n"}, "'Name', but the catalogue"),
        ("a.csv", {"a.csv": "Id,Name,Id\n1,a,b\n"}, r"\['Id'\] occur more than once"),
        ("a.csv", {"a.csv": "Id,Name,Pictures\n"}, "has no records"),
        ("a.jsonl", {"a.jsonl": '{"id": 1, "Name": "a", "Pictures": []}\n'}, r"'Id' \(did you mean 'id'\?\)"),
        ("a.json", {"a.json": "[" + line() + line()}, "a.json .*line 2 column 1"),
        ("a.json", {"a.json": "[" + line(Name=None).replace("Name", "Nom") + "]"}, "'Name'"),
        ("a.parquet", {"a.parquet": "no parquet"}, "a.parquet"),
    ],
)
def test_a_catalogue_that_cannot_be_used_stops_the_night(shop, catalog, files, words):
    with pytest.raises(NightStoppedError, match=words):
        open_source(shop(catalog, files))


def test_a_parquet_catalogue_without_a_mapped_column_is_refused_and_others_are_not_read(shop, tmp_path):
    pq.write_table(pa.table({"Id": [1], "Name": ["a"], "extra": [b"x"]}), tmp_path / "shop" / "a.parquet")
    with pytest.raises(NightStoppedError, match="'Pictures'"):
        open_source(shop("a.parquet"))
    (tmp_path / "shop" / "mapping.toml").write_text('id = "Id"\ntitle = "Name"\n')
    assert open_source(shop("a.parquet")).rows.columns[2:] == ["c0", "c1"]


def test_an_array_too_large_for_one_task_names_the_remedy(shop, monkeypatch):
    monkeypatch.setattr(delivery, "MAX_ARRAY_BYTES", 10)
    with pytest.raises(NightStoppedError, match="JSON Lines"):
        open_source(shop("a.json", {"a.json": f"[{line()}]"}))


def test_records_are_numbered_by_file_name_and_place(shop):
    files = {
        "p/_SUCCESS": "",
        "p/b.jsonl": line() * 2,
        "p/a.jsonl.gz": gzip.compress((line() * 3).encode()),
        "p/mapping.toml": MAPPING,
    }
    source = open_source(shop("p", files))
    numbers = {block[0].rsplit("/", 1)[1]: number for block, number in source.offsets().items()}
    assert numbers == {"a.jsonl.gz": 0, "b.jsonl": 3}
    assert sum(source.counts.values()) == 5


def test_odd_paths_and_a_json_file_of_lines_are_read(shop):
    files = {"we[ird] {d}*ir ü/a b.json": line() + "\n" + line(), "we[ird] {d}*ir ü/mapping.toml": MAPPING}
    source = open_source(shop("we[ird] {d}*ir ü/a b.json", files))
    assert sum(source.counts.values()) == 2
    assert source.read is readers.read_json_lines


def test_a_column_that_only_later_records_might_have_is_a_warning(shop, tmp_path, caplog):
    (tmp_path / "shop" / "mapping.toml").write_text(MAPPING + 'description = "Words"\n')
    open_source(shop("a.jsonl", {"a.jsonl": line()}))
    assert "no record among the first 100" in caplog.text


def test_a_format_that_the_mapping_names_needs_no_suffix(shop, tmp_path):
    (tmp_path / "shop" / "mapping.toml").write_text('format = "csv"\nid = "Id"\ntitle = "Name"\n')
    source = open_source(shop("export.2026-01-02.txt", {"export.2026-01-02.txt": "Id;Name\n1;a\n"}))
    assert list(source.counts.values()) == [1]
    assert source.read.func is readers.read_csv


def test_packed_files_of_every_kind_and_folders_are_read(shop, tmp_path):
    packed = pa.compress(line(Id=3).encode(), codec="zstd", asbytes=True)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as members:
        members.writestr("../d.jsonl", line(Id=4) + "\n" + line(Id=5))
    files = {
        "p/a.jsonl": line(Id=1),
        "p/more/b.jsonl.bz2": bz2.compress(line(Id=2).encode()),
        "p/more/c.jsonl.zst": packed,
        "p/d.jsonl.zip": archive.getvalue(),
    }
    source = open_source(shop("p", files))
    assert (sum(source.counts.values()), source.delivery.has_subfolders) == (5, True)
    ids = {record.parsed.record["Id"] for record in source.read(source.rows.toArrow().to_batches())}
    assert ids == {1, 2, 3, 4, 5}


def test_a_file_that_is_not_utf_8_is_reported_once_and_read_when_the_mapping_says_so(shop, tmp_path, caplog):
    text = "Id,Name,Pictures\n1,Größe für Männer,\n2,Süße Äpfel,\n"
    open_source(shop("a.csv", {"a.csv": text.encode("cp1252")}))
    assert caplog.text.count("is not UTF-8: 2 lines cannot be read") == 1
    (tmp_path / "shop" / "mapping.toml").write_text('encoding = "cp1252"\n' + MAPPING)
    source = open_source(shop("a.csv"))
    names = [record.parsed.record["Name"] for record in source.read(source.rows.toArrow().to_batches())]
    assert names == ["Größe für Männer", "Süße Äpfel"]


def test_parquet_files_with_glob_characters_in_their_names(shop, tmp_path):
    (tmp_path / "shop" / "p{1}").mkdir()
    for number in (1, 2):
        table = pa.table({"Id": [number], "Name": ["a"], "Pictures": [["x"]]})
        pq.write_table(table, tmp_path / "shop" / "p{1}" / f"a [{number}]*.parquet")
    source = open_source(shop("p{1}"))
    ids = [record.parsed.record["Id"] for record in source.read(source.rows.toArrow().to_batches())]
    assert sorted(ids) == [1, 2]


FEED = (
    '<?xml version="1.0" encoding="{}"?>\n<rss xmlns:g="http://base.google.com/ns/1.0"><channel>\n'
    "<item><g:Id>1</g:Id><g:Name>Größe</g:Name><g:Pictures>a.jpg</g:Pictures><g:Pictures>b.jpg</g:Pictures></item>\n"
    "<item><g:Id>2</g:Id><g:Name>Mug</g:Name></item></channel></rss>"
)


def read_source(context):
    source = open_source(context)
    records = [record.parsed.record for record in source.read(source.rows.toArrow().to_batches())]
    return records, sum(source.counts.values())


def pack_zstd(data):
    target = pa.BufferOutputStream()
    with pa.CompressedOutputStream(target, "zstd") as stream:
        stream.write(data)
    return target.getvalue().to_pybytes()


@pytest.mark.parametrize(
    ("name", "pack", "encoding"),
    [
        ("feed.xml", bytes, "utf-8"), ("feed.rss", bytes, "utf-16"), ("feed.atom.gz", gzip.compress, "iso-8859-1"),
        ("feed.xml.zst", pack_zstd, "utf-8"),
    ],
)  # fmt: skip
def test_an_xml_feed_is_read_in_its_own_encoding(shop, name, pack, encoding):
    records, count = read_source(shop(name, {name: pack(FEED.format(encoding).encode(encoding))}))
    assert records == [
        {"Id": "1", "Name": "Größe", "Pictures": ["a.jpg", "b.jpg"]}, {"Id": "2", "Name": "Mug"},
    ]  # fmt: skip
    assert count == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (FEED.format("utf-8")[:-40], r"feed\.xml is broken XML in line 4"),
        ('<!DOCTYPE r [<!ENTITY a "b">]>' + FEED.format("utf-8").partition("\n")[2], "document type declaration"),
        ("<rss><channel><title>Shop</title></channel></rss>", "no element that is repeated"),
    ],
)
def test_an_xml_feed_that_is_damaged_or_declares_a_document_type_stops_the_run(shop, text, message):
    with pytest.raises(NightStoppedError, match=message):
        open_source(shop("feed.xml", {"feed.xml": text}))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.tsv", "Id\tName\tPictures\n1\ta, b\t\n"),
        ("a.txt", "Id|Name|Pictures\n1|a, b|\n"),
        ("a.txt", "Id\tName\tPictures\r\n1\ta, b\t\r\n"),
        ("a.csv", "sep=;\r\nId;Name;Pictures\r\n1;a, b;\r\n"),
        ("a.json", '{"products": [{"Id": "1", "Name": "a, b", "Pictures": ""}]}'),
        ("a.json", '{"count": 1, "ids": [1],\n "products": [\n{"Id": "1", "Name": "a, b", "Pictures": ""}\n]}'),
    ],
)
def test_tables_with_any_delimiter_and_wrapped_arrays_are_read(shop, name, text):
    assert read_source(shop(name, {name: text})) == ([{"Id": "1", "Name": "a, b", "Pictures": ""}], 1)


def test_images_may_come_from_the_roots_of_the_mapping(shop, tmp_path):
    mapping = MAPPING.replace(
        'images = "Pictures"', '[images]\ncolumn = "Pictures"\nroots = ["https://CDN.example/", ".."]'
    )
    context = shop("a.jsonl", {"a.jsonl": line(), "mapping.toml": mapping})
    assert list_allowed_roots(context) == (
        folder_uri(str(tmp_path / "shop")), "https://cdn.example", folder_uri(str(tmp_path)),
    )  # fmt: skip
    named = shop("a.jsonl", allowed_roots=("https://other.example",))
    assert list_allowed_roots(named) == ("https://other.example",)
