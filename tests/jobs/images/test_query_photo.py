"""Tests of a query's photo: a file or a web address under an allowed root, else one sentence."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jobs.errors import EXIT_TEMPORARY, EXIT_USAGE
from jobs.images.query_photo import QueryPhotoError, QueryPhotoUnreachableError, read_query_photo
from jobs.settings import Settings
from tests.image_host import Answer, ImageHost, draw_photo, open_image_host

Make = Callable[..., Settings]


@pytest.fixture
def host() -> Iterator[ImageHost]:
    with open_image_host() as running:
        yield running


def test_a_file(make_settings: Make, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(draw_photo(1))
    assert read_query_photo(tmp_path / "a.jpg", make_settings()) == draw_photo(1)
    for path, said in [(tmp_path / "none.jpg", "there is no image file"), (tmp_path, "cannot be read")]:
        with pytest.raises(QueryPhotoError, match=said):
            read_query_photo(path, make_settings())


def test_an_address_under_an_allowed_root(host: ImageHost, make_settings: Make) -> None:
    url = host.add_photo("/shop/a.jpg", 2)
    settings = make_settings(allowed_roots=(f"{host.url}/shop/",))
    assert read_query_photo(url, settings) == draw_photo(2)
    host.answers["/shop/page.jpg"] = Answer(body=b"<html>log in</html>")
    with pytest.raises(QueryPhotoError, match="page"):
        read_query_photo(f"{host.url}/shop/page.jpg", settings)


def test_an_address_that_is_not_fetched(host: ImageHost, make_settings: Make) -> None:
    url = host.add_photo("/other/a.jpg", 3) + "?token=s3cret"
    with pytest.raises(QueryPhotoError, match="MOON_ALLOWED_ROOTS") as unknown:
        read_query_photo(url, make_settings())
    with pytest.raises(QueryPhotoError, match=r"not under an allowed root.*MOON_ALLOWED_ROOTS") as forbidden:
        read_query_photo(url, make_settings(allowed_roots=(f"{host.url}/shop/",)))
    assert host.requests == []
    assert all("s3cret" not in str(error.value) for error in (unknown, forbidden))
    assert QueryPhotoError.exit_status == EXIT_USAGE


def test_a_host_that_does_not_answer(host: ImageHost, make_settings: Make) -> None:
    host.answers["/a.jpg"] = Answer(403)
    with pytest.raises(QueryPhotoUnreachableError, match=r"403.*try again") as failed:
        read_query_photo(f"{host.url}/a.jpg", make_settings(allowed_roots=(host.url,)))
    assert failed.value.exit_status == EXIT_TEMPORARY
