"""Tests of the sections with pictures, on a real lake, image files and Milvus Lite."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.pages import neighbours, product_cards
from jobs.pages.run_pictures import RunPictures, draw_run_pictures, draw_run_refusals
from jobs.stages.upsert import upsert
from jobs.state.run_context import RunContext
from tests.jobs.pages.page_parts import EVIL, FragmentReader
from tests.jobs.pages.test_thumbnails import make_bomb
from tests.jobs.serving_shop import ServingShop, ShopItem, commit_rows, make_items

FIRST, SECOND = "2026-01-02", "2026-01-03"


@pytest.fixture
def folder(tmp_path: Path, photo) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(40):
        (folder / f"p{number:03}.jpg").write_bytes(photo(number))
    (folder / "bomb.png").write_bytes(make_bomb())
    return folder


class PictureShop:
    """A served shop whose products have photos, regions and refusals."""

    def __init__(self, shop: ServingShop, folder: Path) -> None:
        self.shop, self.folder = shop, folder

    def make_items(self, count: int, **fields: str) -> list[ShopItem]:
        return [self.give_photo(item) for item in make_items(count, **fields)]

    def give_photo(self, item: ShopItem, name: str = "") -> ShopItem:
        return replace(item, images=((f"file://{self.folder}/{name or f'{item.id}.jpg'}", f"v {item.id}"),))

    def serve(self, date: str, items: list[ShopItem], **options) -> RunContext:
        context = self.shop.prepare_run(date, items, **options)
        regions = [
            {"uri": uri, "version": version, "box": [0.1, 0.2, 0.6, 0.7], "score": 0.4, "source": "detected"}
            for row, item in enumerate(items) for uri, version in item.images
        ]  # fmt: skip
        plan = self.shop.plan(context)
        commit_rows(context.lake, "regions", regions, {"detector_version": plan.detector_version}, f"detect {date}")
        upsert(context, plan)
        return context

    def draw(self, context: RunContext) -> RunPictures:
        return draw_run_pictures(context, self.shop.plan(context))


@pytest.fixture
def pictures(make_night, monkeypatch, folder) -> Iterator[PictureShop]:
    monkeypatch.setattr(neighbours, "SAMPLE", 25)
    monkeypatch.setattr(neighbours, "RECORDED", 20)
    monkeypatch.setattr(neighbours, "FETCHED_AT_ONCE", 7)  # several calls
    monkeypatch.setattr(neighbours, "SEARCHED_AT_ONCE", 7)
    yield PictureShop(ServingShop(make_night, monkeypatch, allowed_roots=(str(folder),), max_deletes=1.0), folder)


def test_two_runs_with_pictures_and_neighbours(pictures: PictureShop, monkeypatch: pytest.MonkeyPatch) -> None:
    items = pictures.make_items(30)
    first = pictures.serve(FIRST, items)
    drawn = pictures.draw(first)
    page = FragmentReader(drawn.products)
    assert drawn.neighbours_stayed is None
    assert page.texts.count("new") == product_cards.SHOWN_OF_OP and "Canary queries" not in page.texts
    assert page.count("img") == product_cards.SHOWN_OF_OP * (2 + 5) + product_cards.UNCERTAIN
    assert not {"entered", "left"} & set(page.texts)
    gone = pictures.give_photo(ShopItem("p040", title=EVIL), "absent.jpg")
    bomb = pictures.give_photo(ShopItem("p041", title="Bomb"), "bomb.png")
    changed = [replace(item, title=f"Cup {item.id}") for item in items[:10]]
    second = pictures.serve(SECOND, [*changed, *items[10:28], gone, bomb], refused=["bad"])
    drawn = pictures.draw(second)
    page = FragmentReader(drawn.products)
    assert drawn.neighbours_stayed is not None and 0 < drawn.neighbours_stayed < 1
    assert {"new", "changed", "entered", "left", "Canary queries"} <= set(page.texts)
    assert EVIL in page.texts and page.count("script") == 0
    assert page.list_values("aria-label").count(f"Photo of {EVIL}: not shown") == 1
    assert "Photo of Bomb: not shown" in page.list_values("aria-label")
    assert all(uri.startswith("data:image/webp;base64,") for uri in page.list_values("src"))
    assert not page.list_values("href")
    assert "Kitchen" in FragmentReader(drawn.drift).texts
    assert FragmentReader(drawn.embedding_map).count("use") == 25
    assert len("".join((drawn.products, drawn.refused, drawn.drift, drawn.embedding_map))) < 1_000_000
    assert pictures.draw(second) == drawn, "a page that is made again is compared with the same run"
    check_without_milvus(pictures, second)
    check_failed_sections(pictures, second, monkeypatch)


def check_without_milvus(pictures: PictureShop, context: RunContext) -> None:
    away = replace(context, settings=context.settings.replace(milvus=context.settings.milvus + "-away.db"))
    drawn = pictures.draw(away)
    assert FragmentReader(drawn.products).count("img") > product_cards.UNCERTAIN
    assert "there is no Milvus Lite database" in drawn.products and "there is no Milvus" in drawn.drift
    assert drawn.neighbours_stayed is None
    assert not Path(away.settings.milvus).exists(), "a page makes no database"


def check_failed_sections(pictures: PictureShop, context: RunContext, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError(EVIL)

    for name in ("read_uncertain", "find_axes", "count_changes", "draw_refused"):
        monkeypatch.setattr(f"jobs.pages.run_pictures.{name}", fail)
    drawn = pictures.draw(context)
    for section in (drawn.products, drawn.embedding_map, drawn.drift, drawn.refused):
        assert any(EVIL in text for text in FragmentReader(section).texts)


def test_refusals_of_a_stopped_run_are_shown_with_their_photos(pictures: PictureShop) -> None:
    context = pictures.shop.context(FIRST)
    uri = f"file://{pictures.folder}"
    rows = [
        {"source_row": 1, "product_id": "a", "reason": "empty_title", "detail": "empty_title: no title",
         "row": f'{{"product_id": "a", "title": " ", "images": [{{"uri": "{uri}/p001.jpg", "version": "1"}}]}}'},
        {"source_row": 2, "product_id": "b", "reason": "malformed_row", "detail": EVIL, "row": '{"product_id": "b", '},
        {"source_row": 3, "product_id": None, "reason": "no_image", "detail": "none", "row": '{"images": 5}'},
        *({"source_row": row, "product_id": f"d{row}", "reason": "duplicate_id", "row": "[]"} for row in range(4, 30)),
    ]  # fmt: skip
    commit_rows(context.lake, "quarantine", rows, context.quarantine_partition("validate"), "validate")
    photos = [
        {"source_row": 4, "product_id": "c", "image_index": 1, "reason": "image_missing", "detail": "there is none",
         "row": f'{{"uri": "{uri}/absent.jpg?token=secret", "version": null}}'},
        {"source_row": 5, "product_id": "e", "image_index": 0, "reason": "image_format", "row": "{}"},
        {"source_row": 5, "product_id": "e", "image_index": None, "reason": "no_readable_image", "row": "{}"},
    ]  # fmt: skip
    commit_rows(context.lake, "quarantine", photos, context.quarantine_partition("detect"), "detect")
    product = {"product_id": "c", "title": EVIL, "images": [{"uri": f"{uri}/p002.jpg", "version": "1"}]}
    commit_rows(context.lake, "products", [product], context.partition, "validate")
    drawn = draw_run_refusals(context)
    page = FragmentReader(drawn)
    assert page.count("img") == 2 and page.count("script") == 0
    assert page.texts.count(EVIL) == 2, "the title of the partial product, and the detail of the malformed row"
    assert page.texts.count("duplicate_id") == 4
    assert "no title" in page.texts and "secret" not in drawn
    assert "image_format" not in page.texts, "its product is refused, so no photo of it is merely left out"
    assert "photo 2: absent.jpg · c" in page.texts
