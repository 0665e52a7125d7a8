import hashlib
import os
import pickle

import fsspec
import pytest

from jobs.images.reading import read_image, read_image_version
from moon_model.images import BadImageError
from schemas.uri import folder_uri


@pytest.fixture
def shop(tmp_path):
    """A folder of images, its URI, and a secret beside it."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "a.jpg").write_bytes(b"pixels")
    (tmp_path / "secret").write_bytes(b"secret")
    return folder_uri(str(tmp_path / "shop"))


def refusal(uri, roots, **limits) -> str:
    with pytest.raises(BadImageError) as caught:
        read_image(uri, roots, **limits)
    assert pickle.loads(pickle.dumps(caught.value)).reason == caught.value.reason  # noqa: S301
    return str(caught.value.reason)


def test_an_image_under_a_root_is_read(shop):
    assert read_image(f"{shop}/a.jpg", ("s3://other", shop)) == b"pixels"


def test_outside_the_roots_nothing_is_read_whatever_the_spelling(shop):
    parent = shop.rsplit("/", 1)[0]
    for uri in (f"{parent}/secret", f"{shop}-other/a.jpg", shop, "s3://shop/a.jpg", "data:image/png;base64,AA"):
        assert refusal(uri, (shop,)) == "image_forbidden"
        assert read_image_version(uri, (shop,)) is None
    assert refusal(f"{shop}/a.jpg", ()) == "image_forbidden"


def test_a_link_that_leaves_the_root_is_forbidden_one_that_stays_is_not(shop, tmp_path):
    (tmp_path / "shop" / "out.jpg").symlink_to(tmp_path / "secret")
    (tmp_path / "shop" / "dir").symlink_to(tmp_path)
    (tmp_path / "shop" / "in.jpg").symlink_to("a.jpg")
    assert refusal(f"{shop}/out.jpg", (shop,)) == "image_forbidden"
    assert refusal(f"{shop}/dir/secret", (shop,)) == "image_forbidden"
    assert read_image_version(f"{shop}/out.jpg", (shop,)) is None
    assert read_image(f"{shop}/in.jpg", (shop,)) == b"pixels"


def test_a_root_may_itself_be_a_link(shop, tmp_path):
    (tmp_path / "alias").symlink_to(tmp_path / "shop")
    root = folder_uri(str(tmp_path / "alias"))
    assert read_image(f"{root}/a.jpg", (root,)) == b"pixels"


def test_what_cannot_be_read_says_why(shop, tmp_path):
    os.mkfifo(tmp_path / "shop" / "pipe.jpg")
    (tmp_path / "shop" / "loop").symlink_to("loop")
    assert refusal(f"{shop}/none.jpg", (shop,)) == "image_missing"
    assert refusal(f"{shop}/a.jpg/deeper", (shop,)) == "image_unreadable"
    assert refusal(f"{shop}/pipe.jpg", (shop,)) == "image_unreadable"
    assert refusal(f"{shop}/loop", (shop,)) == "image_unreadable"
    assert refusal(f"{shop}/{'x' * 300}", (shop,)) == "image_unreadable"
    assert refusal(f"{shop}/a.jpg", (shop,), max_bytes=5) == "image_too_large"
    for name in ("none.jpg", "pipe.jpg", "loop", "x" * 300):
        assert read_image_version(f"{shop}/{name}", (shop,)) is None


def test_the_version_changes_with_the_bytes_without_reading_them(shop, tmp_path):
    path = tmp_path / "shop" / "a.jpg"
    path.chmod(0)  # makes the file unreadable, except for root
    first = read_image_version(f"{shop}/a.jpg", (shop,))
    assert first == read_image_version(f"{shop}/a.jpg", (shop,))
    path.chmod(0o600)
    before = path.stat()
    path.write_bytes(b"PIXELS")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert read_image_version(f"{shop}/a.jpg", (shop,)) != first


def test_by_content_the_version_is_the_digest(shop, tmp_path):
    first = read_image_version(f"{shop}/a.jpg", (shop,), by_content=True)
    os.utime(tmp_path / "shop" / "a.jpg")
    assert first == f"sha256:{hashlib.sha256(b'pixels').hexdigest()}"
    assert read_image_version(f"{shop}/a.jpg", (shop,), by_content=True) == first
    assert read_image_version(f"{shop}/none.jpg", (shop,), by_content=True) is None


def test_an_object_stores_entity_tag_is_the_version_and_chains_are_not_followed(shop, monkeypatch):
    store = fsspec.filesystem("memory")
    store.pipe_file("/bucket/a.jpg", b"pixels")
    root = "memory://bucket"
    assert read_image(f"{root}/a.jpg", (root,)) == b"pixels"
    assert refusal(f"{root}/b.jpg", (root,)) == "image_missing"
    assert refusal(f"{root}/x::{shop}/a.jpg", (root,)) == "image_missing"
    # This store knows neither tag nor time: the bytes decide.
    assert read_image_version(f"{root}/a.jpg", (root,)) == f"sha256:{hashlib.sha256(b'pixels').hexdigest()}"
    monkeypatch.setattr(type(store), "info", lambda self, path: {"size": 6, "LastModified": "2026-01-02"})
    assert read_image_version(f"{root}/a.jpg", (root,)) == "stat:6-2026-01-02"
    monkeypatch.setattr(type(store), "info", lambda self, path: {"size": 6, "ETag": '"0af"'})
    assert read_image_version(f"{root}/a.jpg", (root,)) == "etag:0af"
