import json
from pathlib import Path

import pytest

from demo_shop import DemoWorld
from jobs.catalog.records import parse_json_line
from jobs.datasets.demo_broken import (
    DEMO_REASONS,
    SMALL_SHOP_PRODUCTS,
    SMALL_SHOP_REASONS,
    SPOILING_REASONS,
    choose_reasons,
    choose_spoiled_rows,
    list_sound_photos,
    make_broken_line,
    write_broken_images,
)
from jobs.images.reading import read_image
from moon_model.images import BadImageError, decode_image
from schemas.source import SourceMapping, map_record
from validation.reasons import Reason

WORLD = DemoWorld(5)
MAPPING = SourceMapping.parse(
    'id = "id"\ntitle = "title"\nattributes = {column = "attributes"}\n[images]\ncolumn = "images"\n'
)


def line(reason: Reason) -> str:
    return make_broken_line(reason, WORLD, "demo-5-000001").line


@pytest.mark.parametrize("reason", [r for r in DEMO_REASONS if r is not Reason.MALFORMED_ROW])
def test_all_but_one_are_records_with_their_own_fault(reason: Reason) -> None:
    parsed = parse_json_line(line(reason).encode())
    assert parsed.record is not None
    row = map_record(parsed.record, MAPPING, "file:///shop")
    assert (row.product_id is None) == (reason is Reason.MISSING_ID)
    assert (not (row.title or "").strip()) == (reason is Reason.EMPTY_TITLE)
    assert (row.attributes is None) == (reason is Reason.MALFORMED_ATTRIBUTES)
    assert (not row.images) == (reason is Reason.NO_IMAGE)
    assert (len(row.images) > 30) == (reason is Reason.TOO_MANY_IMAGES)
    assert any("hostname" in image.uri for image in row.images) == (reason is Reason.FORBIDDEN_URI)
    assert ("\x07" in (row.title or "")) == (reason is Reason.INVALID_CHARACTERS)
    assert (len(parsed.record["description"]) > 20_000) == (reason is Reason.TEXT_TOO_LONG)
    assert (row.product_id == "demo-5-000001") == (reason is Reason.DUPLICATE_ID)


def test_the_malformed_line_is_no_record() -> None:
    assert parse_json_line(line(Reason.MALFORMED_ROW).encode()).record is None


def test_image_reasons_spoil_one_image_of_three(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    write_broken_images(tmp_path, WORLD)
    for reason in DEMO_REASONS:
        broken = make_broken_line(reason, WORLD, "x")
        if not reason.value.startswith("image_"):
            assert broken.image_index is None
            continue
        images = json.loads(broken.line)["images"]
        assert len(images) == 3
        assert broken.to_expected(7)["served"] is True
        uri = f"file://{tmp_path}/{images[broken.image_index or 0]}"
        with pytest.raises(BadImageError) as caught:
            decode_image(read_image(uri, (f"file://{tmp_path}",)))
        assert caught.value.reason == reason.value


def test_broken_images_are_left_alone_when_they_are_there(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    write_broken_images(tmp_path, WORLD)
    times = {p: p.lstat().st_mtime_ns for p in (tmp_path / "images").iterdir()}
    write_broken_images(tmp_path, WORLD)
    assert times == {p: p.lstat().st_mtime_ns for p in (tmp_path / "images").iterdir()}


def test_good_photos_are_those_that_the_line_names() -> None:
    for reason in DEMO_REASONS:
        named = [path for path in paths(reason) if "broken" not in path]
        offered = [f"images/{WORLD.product_id(i)}-{n}-r0.jpg" for i, n in list_sound_photos(reason)]
        assert set(named) <= set(offered)


def paths(reason: Reason) -> list[str]:
    try:
        return [str(path) for path in json.loads(line(reason))["images"] if str(path).startswith("images/")]
    except ValueError:
        return []


def test_large_shops_have_every_reason_every_day_small_ones_take_turns() -> None:
    assert set(choose_reasons(SMALL_SHOP_PRODUCTS, 0)) == set(DEMO_REASONS)
    small = [choose_reasons(SMALL_SHOP_PRODUCTS - 1, day) for day in range(3)]
    assert all(len(set(reasons)) == SMALL_SHOP_REASONS for reasons in small)
    assert set().union(*small) == set(DEMO_REASONS)


def test_spoiling_starts_on_the_second_day_and_spares_the_first_row() -> None:
    rows = [{"id": str(i)} for i in range(9)]
    assert choose_spoiled_rows(rows, list(DEMO_REASONS), 0) == {}
    for day in range(1, 20):
        spoiled = choose_spoiled_rows(rows, list(DEMO_REASONS), day)
        assert set(spoiled) == set(SPOILING_REASONS)
        assert len(set(spoiled.values())) == len(SPOILING_REASONS)
        assert 0 not in spoiled.values()
    assert choose_spoiled_rows(rows[:2], list(DEMO_REASONS), 1) == {}
