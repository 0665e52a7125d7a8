"""A shop whose photos are on the web: what is fetched, what is requested again, and the effect of a bad host."""

import json
import shutil
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import pytest

from jobs.errors import PhotosUnreachableError
from jobs.lake.store import open_lake
from jobs.milvus.client import connect, read_alias_target
from jobs.settings import Settings
from tests.image_host import Answer, ImageHost, draw_photo, open_image_host
from tests.scenarios.nights import run_night, served_rows

COUNT = 24
PHOTOS = [Answer(body=draw_photo(number)) for number in range(COUNT)]


@pytest.fixture(scope="module")
def running_host() -> Iterator[ImageHost]:
    with open_image_host() as running:
        yield running


@pytest.fixture
def host(running_host: ImageHost) -> ImageHost:
    """The host with nothing but the photos of the first night, and nothing asked."""
    running_host.answers = {f"/{n}.jpg": deepcopy(answer) for n, answer in enumerate(PHOTOS)}
    running_host.forget_requests()
    return running_host


class WebShop:
    """A catalogue of products with a photo by URL each, a lake and a collection in one folder."""

    def __init__(self, folder: Path, host: ImageHost) -> None:
        folder.mkdir(exist_ok=True)
        self.host, self.path = host, folder / "products.jsonl"
        (folder / "mapping.toml").write_text('id = "id"\ntitle = "title"\nimages = "photos"\n')
        self.products = {f"p{n}": {"title": f"Mug number {n}", "photos": [f"{host.url}/{n}.jpg"]} for n in range(COUNT)}
        self.settings = Settings(
            _env_file=None,
            lake=str(folder / "lake"),
            milvus=str(folder / "milvus.db"),
            catalog=str(self.path),
            allowed_roots=[host.url],
            read_seconds=1.0,
            breaker_floor=3,
        )

    def run(self, spark, date: str, **options):
        """Deliver the products and run the date; return the counts of the report and of fetch."""
        lines = [json.dumps({"id": name, **product}) for name, product in self.products.items()]
        self.path.write_text("\n".join(lines))
        outcome = run_night(spark, self.settings, date, **options)
        return outcome.results["report"].counts, outcome.results["fetch"].counts

    def served(self):
        with connect(self.settings) as client:
            collection = read_alias_target(client, self.settings.alias)
        return served_rows(self.settings, collection)


@pytest.fixture
def shop(tmp_path: Path, host: ImageHost) -> WebShop:
    return WebShop(tmp_path / "shop", host)


@pytest.fixture(scope="module")
def first_night(spark, running_host: ImageHost, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder after a clean first night; copied, never changed."""
    folder = tmp_path_factory.mktemp("first")
    running_host.answers = {f"/{n}.jpg": answer for n, answer in enumerate(PHOTOS)}
    running_host.forget_requests()
    rows, photos = WebShop(folder, running_host).run(spark, "2026-03-01")
    assert rows["encoded"] == COUNT and photos["fetched"] == photos["wanted"] == COUNT
    assert len(running_host.requests) == COUNT  # nothing travels twice for detection and encoding
    return folder


@pytest.fixture
def served_shop(first_night: Path, tmp_path: Path, host: ImageHost) -> WebShop:
    """A shop after its first night."""
    shutil.copytree(first_night, tmp_path / "shop")
    return WebShop(tmp_path / "shop", host)


@pytest.mark.long
def test_an_unchanged_night_reads_no_body_and_asks_for_a_seventh(spark, served_shop: WebShop, host: ImageHost) -> None:
    shop = served_shop
    rows, photos = shop.run(spark, "2026-03-02")
    assert rows["unchanged"] == COUNT and not rows["encoded"]
    assert not host.list_bodies() and len(host.requests) == COUNT // 7
    assert photos["not_modified"] == COUNT // 7 and photos["stored"] == COUNT - COUNT // 7
    # The date is run again: nothing is asked.
    host.forget_requests()
    shop.run(spark, "2026-03-02")
    assert not host.requests


@pytest.mark.long
def test_a_changed_photo_a_moved_photo_and_a_new_product(spark, served_shop: WebShop, host: ImageHost) -> None:
    shop = served_shop
    shop.settings = shop.settings.replace(recheck_nights=1)
    host.answers["/0.jpg"] = Answer(body=draw_photo(900))
    shop.products["p1"]["photos"] = [host.add_photo("/moved/1.jpg?sig=a%2Bb", 1)]
    shop.products["new"] = {"title": "A new mug", "photos": [host.url + "/2.jpg"]}
    rows, photos = shop.run(spark, "2026-03-02")
    assert rows["encoded"] == 2 and rows["unchanged"] == COUNT - 1  # the same photo under another address is the same
    assert photos["fetched"] == 2 and photos["not_modified"] == COUNT - 2
    regions = open_lake(shop.settings).read_arrow("regions")
    assert regions.num_rows == COUNT + 1  # equal photos are looked at once


@pytest.mark.long
def test_a_host_that_fails_takes_nothing_away(spark, served_shop: WebShop, host: ImageHost) -> None:
    shop = served_shop
    shop.settings = shop.settings.replace(recheck_nights=1)
    before = shop.served()
    for number, answer in enumerate([Answer(503), Answer(403), Answer(429), Answer(404), Answer(seconds=3)]):
        host.answers[f"/{number}.jpg"] = answer
    host.answers["/5.jpg"].cut = 20
    host.answers["/5.jpg"].sends_etag = False
    shop.products["p0"]["title"] = "Another title"
    rows, photos = shop.run(spark, "2026-03-02")
    assert photos["unreachable"] == 5 and photos["refused"] == 1 and photos["not_modified"] == COUNT - 6
    assert rows["encoded"] == 1 and rows["unchanged"] == COUNT - 1 and not rows["quarantined"]
    after = shop.served()
    assert after.keys() == before.keys() and after["p1"] == before["p1"] and after["p0"] != before["p0"]


@pytest.mark.long
def test_a_photo_is_gone_when_its_host_says_so_on_three_nights(spark, shop: WebShop, host: ImageHost) -> None:
    shop.settings = shop.settings.replace(recheck_nights=1)
    shop.products["p0"]["photos"].append(host.add_photo("/second.jpg", 77))
    shop.run(spark, "2026-03-01")
    host.answers["/second.jpg"] = Answer(410)
    for day, encoded in ((2, 0), (3, 0), (4, 0), (5, 1), (6, 0)):  # asked on the nights 2, 3 and 5
        rows, _ = shop.run(spark, f"2026-03-0{day}")
        assert (day, rows["encoded"], rows["partial"]) == (day, encoded, 0)


@pytest.mark.long
def test_too_many_unreachable_photos_stop_the_first_night_until_they_are_back(
    spark, shop: WebShop, host: ImageHost
) -> None:
    for number in range(8):
        host.answers[f"/{number}.jpg"] = Answer(503)
    with pytest.raises(PhotosUnreachableError, match="8 of 24 photos"):
        shop.run(spark, "2026-03-01")
    for number in range(8):
        host.add_photo(f"/{number}.jpg", number)
    host.forget_requests()
    rows, _ = shop.run(spark, "2026-03-01")
    assert rows["encoded"] == COUNT
    assert len(host.requests) == 8  # what was fetched before the stop is not fetched again


@pytest.mark.long
def test_a_failed_photo_is_fetched_when_it_is_back_or_at_once_by_refetch(spark, shop: WebShop, host: ImageHost) -> None:
    host.answers["/0.jpg"] = Answer(503)
    host.answers["/1.jpg"] = Answer(body=b"<html>Please log in</html>")
    rows, photos = shop.run(spark, "2026-03-01")
    assert rows["encoded"] == COUNT - 2 and photos["unreachable"] == 1 and photos["refused"] == 1
    host.add_photo("/0.jpg", 0)
    rows, photos = shop.run(spark, "2026-03-01", refetch=True)
    assert rows["encoded"] == 1 and photos["fetched"] == COUNT - 1
    host.add_photo("/1.jpg", 1)
    rows, _ = shop.run(spark, "2026-03-02")
    assert rows["encoded"] == 1 and shop.served().keys() == shop.products.keys()
