import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.uri import canonicalise_uri, folder_uri, is_under, local_path

BASE = "file:///shop/catalog"

EXAMPLES = {
    "a.jpg": "file:///shop/catalog/a.jpg",
    " Pics/../b c#1.jpg ": "file:///shop/catalog/b c#1.jpg",
    "./x//y.jpg": "file:///shop/catalog/x/y.jpg",
    "../../../etc/passwd": "file:///etc/passwd",
    "/etc/hostname": "file:///etc/hostname",
    "file:///data/a%20b.jpg": "file:///data/a b.jpg",
    "file:/data/../a.jpg": "file:///a.jpg",
    "FILE://localhost/a.jpg": "file:///a.jpg",
    "file:///shop/catalog/%2e%2e/secret.jpg": "file:///shop/secret.jpg",
    "HTTPS://CDN.Shop.Example/A/../B.jpg?v=2#x": "https://cdn.shop.example/B.jpg?v=2#x",
    "https://h/a/%2E%2e/%2e%2E/b.jpg": "https://h/b.jpg",
    "//cdn.example/a.jpg": "https://cdn.example/a.jpg",
    "s3://Bucket/key/../../x.jpg": "s3://Bucket/x.jpg",
    "data:image/png;base64,AAAA": "data:image/png;base64,AAAA",
    "a\x00b\n.jpg": "file:///shop/catalog/a%00b%0A.jpg",
    "mug-🍵.jpg": "file:///shop/catalog/mug-🍵.jpg",
    "http://[broken": "http://[broken",
}


@pytest.mark.parametrize("text", EXAMPLES)
def test_examples(text: str) -> None:
    assert canonicalise_uri(text, BASE) == EXAMPLES[text]


def test_relative_paths_against_an_object_store() -> None:
    assert canonicalise_uri("a/../b.jpg", "s3://bucket/shop") == "s3://bucket/shop/b.jpg"
    assert canonicalise_uri("/top.jpg", "s3://bucket/shop/") == "s3://bucket/top.jpg"
    assert canonicalise_uri("../../../x.jpg", "s3://bucket/shop") == "s3://bucket/x.jpg"


@given(st.text(max_size=40))
def test_any_text_becomes_one_clean_line_that_stays_as_it_is(text: str) -> None:
    uri = canonicalise_uri(text, BASE)
    assert not any(ord(c) < 32 or ord(c) == 127 for c in uri)
    path = local_path(uri)
    if path is not None:
        assert path == posixpath.normpath(path)
        assert path.startswith("/")
        if "%" not in path and path == path.strip():
            assert canonicalise_uri(uri, "file:///elsewhere") == uri


@given(st.lists(st.sampled_from(["..", ".", "a", "%2e%2e", "%2E.", "", "b c"]), max_size=8), st.booleans())
def test_nothing_climbs_out_of_a_root_and_still_counts_as_inside(parts: list[str], remote: bool) -> None:
    base = "https://host/shop" if remote else BASE
    uri = canonicalise_uri("/".join(parts) or "x", base)
    decoded = uri.lower().replace("%2e", ".") if remote else uri
    path = decoded.split("://")[1].partition("/")[2]
    assert ".." not in path.split("/")
    if is_under(uri, (base,)):
        assert posixpath.normpath(decoded.split("://")[1]).startswith(base.split("://")[1])


def test_roots_are_whole_folders() -> None:
    assert is_under("file:///shop/a.jpg", ("file:///shop",))
    assert is_under("file:///shop/a.jpg", ("file:///shop/",))
    assert not is_under("file:///shop2/a.jpg", ("file:///shop",))
    assert not is_under("file:///shop", ("file:///shop",))
    assert not is_under("file:///shop/a.jpg", ())


def test_folders(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    assert folder_uri("shop/../shop") == f"file://{tmp_path}/shop"
    assert folder_uri("/a/b/") == "file:///a/b"
    assert folder_uri("s3://bucket/photos/") == "s3://bucket/photos"
    assert folder_uri("file:///a/b/") == "file:///a/b"
    assert local_path("s3://bucket/x") is None
