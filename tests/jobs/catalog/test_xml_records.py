import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.catalog.xml_records import XML_SAMPLE_BYTES, XmlError, parse_xml

RSS = """<?xml version="1.0" encoding="UTF-8"?>
<rss xmlns:g="http://base.google.com/ns/1.0" version="2.0"><channel><title>Shop</title><link>https://s</link>
<item><title>plain</title><g:id>1</g:id><g:title>Red &amp; blue</g:title><g:image_link>a.jpg</g:image_link>
<g:additional_image_link>b.jpg</g:additional_image_link><g:additional_image_link>c.jpg</g:additional_image_link>
<g:shipping><g:country>DE</g:country><g:price>4 EUR</g:price></g:shipping>
<description><![CDATA[<p>Tea</p>]]></description>
</item>
<item><g:id>2</g:id></item></channel></rss>
"""


def read(text: str | bytes, size: int = 7) -> list[dict]:
    data = text.encode() if isinstance(text, str) else text
    return [record.record for record in parse_xml(data[i : i + size] for i in range(0, len(data), size))]


def test_googles_rss_is_read_by_local_names() -> None:
    first, second = read(RSS)
    assert first == {
        "{}title": "plain", "id": "1", "title": "Red & blue", "image_link": "a.jpg",
        "additional_image_link": ["b.jpg", "c.jpg"], "shipping": {"country": "DE", "price": "4 EUR"},
        "description": "<p>Tea</p>",
    }  # fmt: skip
    assert second == {"id": "2"}


def test_atom_entries_and_their_attributes() -> None:
    atom = (
        '<feed xmlns="http://www.w3.org/2005/Atom" xmlns:g="http://base.google.com/ns/1.0"><title>Shop</title>'
        '<entry><g:id>1</g:id><title>Mug</title><link rel="alternate" href="https://s/1"/>'
        '<content type="xhtml"><div xmlns="http://www.w3.org/1999/xhtml"><p>Holds</p><p>tea</p></div></content></entry>'
        "</feed>"
    )
    assert read(atom) == [
        {"id": "1", "title": "Mug", "link": {"rel": "alternate", "href": "https://s/1"}, "content": "Holds tea"}
    ]


def test_a_plain_feed_and_one_of_other_names() -> None:
    assert read("<products><product sku='9'><id>1</id><name>Mug</name></product></products>") == [
        {"id": "1", "name": "Mug", "sku": "9"}
    ]
    offers = "".join(f"<offer id='{i}'><name>Mug</name><param name='Colour'>red</param></offer>" for i in range(3))
    categories = "".join(f"<category id='{i}' parent='0'>x</category>" for i in range(2))
    yml = f"<shop><categories>{categories}</categories><offers>{offers}</offers></shop>"
    assert read(yml)[0] == {"name": "Mug", "param": {"name": "Colour", "value": "red"}, "id": "0"}
    assert len(read(yml)) == 3


def test_a_record_inside_a_record_is_a_field() -> None:
    text = "<items><item><id>1</id><parts><item><id>a</id></item><item><id>b</id></item></parts></item></items>"
    assert read(text) == [{"id": "1", "parts": {"item": [{"id": "a"}, {"id": "b"}]}}]


@pytest.mark.parametrize(
    "text",
    [
        '<!DOCTYPE r [<!ENTITY a "b">]><r><item><id>&a;</id></item></r>',
        '<!DOCTYPE r SYSTEM "http://x/y.dtd"><r><item><id>1</id></item></r>',
        '<?xml version="1.0"?><!DOCTYPE r><r><item><id>1</id></item></r>',
    ],
)
def test_a_document_type_is_refused(text: str) -> None:
    with pytest.raises(XmlError, match="document type declaration"):
        read(text)


@pytest.mark.parametrize("text", ["", "<r><item><id>1", RSS[:300], RSS[:-20], "id,name\n1,Mug\n", "<r><item><id>&x;"])
def test_a_damaged_file_is_refused_with_its_place(text: str) -> None:
    with pytest.raises(XmlError, match=r"broken XML in line \d+, column \d+"):
        read(text)


def test_a_feed_without_products_says_so() -> None:
    with pytest.raises(XmlError, match="no element that is repeated"):
        read("<rss><channel><title>Shop</title></channel></rss>")


def test_depth_is_bounded() -> None:
    with pytest.raises(XmlError, match="100 deep"):
        read("<a>" * 200 + "</a>" * 200)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "iso-8859-1", "cp1252"])
def test_the_declaration_says_the_encoding(encoding: str) -> None:
    name = {"cp1252": "windows-1252", "utf-8-sig": "utf-8"}.get(encoding, encoding)
    text = f'<?xml version="1.0" encoding="{name}"?>\n<r><item><id>Größe</id></item>\n<item><id>ü</id></item></r>\n'
    data = text.encode(encoding)
    assert [record["id"] for record in read(data)] == ["Größe", "ü"]
    # As Spark's tasks give it: lines without their line feeds.
    from jobs.catalog.formats import join_lines

    lines = data.removesuffix(b"\n").split(b"\n")
    assert [parsed.record["id"] for parsed in parse_xml(join_lines(lines))] == ["Größe", "ü"]


def test_an_unknown_encoding_is_an_error() -> None:
    with pytest.raises(XmlError):
        read('<?xml version="1.0" encoding="no-such"?><r><item><id>1</id></item></r>')


def test_a_file_longer_than_the_sample_keeps_the_memory_of_a_record() -> None:
    import tracemalloc

    item = b"<item><id>1</id><text>" + b"x" * 1000 + b"</text></item>"

    def chunks():
        yield b"<r><junk><a>1</a></junk>"
        for _ in range(12 * XML_SAMPLE_BYTES // len(item)):
            yield item
        yield b"</r>"

    tracemalloc.start()
    count = sum(1 for _ in parse_xml(chunks()))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 12 * XML_SAMPLE_BYTES // len(item)
    assert peak < 8 * XML_SAMPLE_BYTES


@given(st.binary(max_size=60) | st.text(alphabet="<>/ab&;!?-[]\"' \n", max_size=60).map(str.encode))
def test_any_bytes_give_records_or_an_xml_error(data: bytes) -> None:
    with contextlib.suppress(XmlError):
        list(parse_xml([data]))
