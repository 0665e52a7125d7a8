import json

import pytest

from jobs.errors import NightStoppedError
from jobs.stages.detect import select_images_to_encode
from tests.jobs.stage_calls import detect


def regions(context, plan):
    rows = context.lake.read(context.spark, "regions", {"detector_version": plan.detector_version}).collect()
    return {row.uri.rsplit("/", 1)[1]: row for row in rows}


def refusals(context):
    rows = context.lake.read(context.spark, "quarantine", {"date": context.date, "stage": "detect"}).collect()
    return {(row.product_id, row.image_index): row for row in rows}


def test_every_readable_image_gets_its_region_and_a_bad_one_spoils_only_itself(planned_night, photo, tmp_path):
    folder = tmp_path / "images"
    context, plan = planned_night(
        {
            "a": ["a.jpg", "broken.jpg", "third.jpg"],  # the model looks at two images
            "b": ["shared.png"],
            "c": ["shared.png", "missing.jpg"],
            "d": ["broken.jpg"],
            "e": ["text.jpg"],
        }
    )
    (folder / "a.jpg").write_bytes(photo(1))
    (folder / "third.jpg").write_bytes(photo(2))
    (folder / "shared.png").write_bytes(photo(3, kind="PNG"))
    (folder / "broken.jpg").write_bytes(photo(4)[:200])
    (folder / "text.jpg").write_text("<html>no picture</html>")
    result = detect(context)
    found = regions(context, plan)
    assert found.keys() == {"a.jpg", "shared.png"}
    for row in found.values():
        x0, y0, x1, y1 = row.box
        assert 0 <= x0 < x1 <= 1
        assert 0 <= y0 < y1 <= 1
        assert len(row.image_sha256) == 64
        assert row.source in ("detected", "whole_image")
        assert 0 <= row.score <= 1
    refused = refusals(context)
    assert {key: row.reason for key, row in refused.items()} == {
        ("a", 1): "image_unreadable",
        ("c", 1): "image_missing",
        ("d", 0): "image_unreadable",
        ("e", 0): "image_format",
    }
    assert json.loads(refused["c", 1].row)["uri"].endswith("/images/missing.jpg")
    assert refused["c", 1].source_row == 2
    assert result.counts == {"images": 2, "refused": 4}


def test_known_regions_are_not_looked_for_again(planned_night, photo, tmp_path):
    image = tmp_path / "images" / "a.jpg"
    context, plan = planned_night({"a": ["a.jpg"]})
    image.write_bytes(photo(1))
    detect(context)
    first = regions(context, plan)
    image.unlink()  # whoever opened it now would fail
    assert detect(context).details["note"] == "found committed"
    context, plan = planned_night({"a": ["a.jpg"], "b": ["a.jpg"]}, run_id="r2")
    assert detect(context).counts == {"images": 0, "refused": 0}
    assert regions(context, plan) == first


def test_an_unchanged_night_opens_no_image(planned_night):
    context, _ = planned_night({"a": ["missing.jpg"]}, unchanged=["a"])
    assert detect(context).counts == {"images": 0, "refused": 0}
    assert refusals(context) == {}


def test_a_night_killed_between_its_commits_ends_the_same(planned_night, photo, tmp_path, monkeypatch):
    context, plan = planned_night({"a": ["a.jpg", "missing.jpg"]})
    (tmp_path / "images" / "a.jpg").write_bytes(photo(1))
    commit = type(context.lake).commit

    def killed(lake, table, *args, **options):
        if table == "regions":
            raise KeyboardInterrupt
        return commit(lake, table, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(type(context.lake), "commit", killed)
        with pytest.raises(KeyboardInterrupt):
            detect(context)
    assert regions(context, plan) == {}
    detect(context)
    assert regions(context, plan).keys() == {"a.jpg"}
    assert refusals(context).keys() == {("a", 1)}
    assert context.lake.read(context.spark, "regions").count() == 1
    assert context.lake.read(context.spark, "quarantine").count() == 1


def test_a_date_run_again_keeps_the_reasons_of_products_that_are_done(planned_night, photo, tmp_path):
    (tmp_path / "images" / "a.jpg").write_bytes(photo(1))
    context, _ = planned_night({"a": ["a.jpg", "missing.jpg"], "b": ["no.jpg"], "gone": ["not.jpg"]})
    detect(context)
    assert refusals(context).keys() == {("a", 1), ("b", 0), ("gone", 0)}
    again, _ = planned_night({"b": ["no.jpg"], "a": ["a.jpg", "missing.jpg"]}, unchanged=["a"], run_id="r2")
    assert detect(again).counts == {"images": 0, "refused": 1}
    found = refusals(again)
    assert {key: row.source_row for key, row in found.items()} == {("a", 1): 1, ("b", 0): 0}
    assert found["a", 1].reason == "image_missing"


def test_images_to_encode_lists_places(planned_night):
    context, plan = planned_night({"a": ["1.jpg", "2.jpg", "3.jpg"], "b": ["1.jpg"], "c": ["9.jpg"]}, unchanged=["c"])
    rows = select_images_to_encode(context, plan, 2).collect()
    found = {(row.product_id, row.image_index, row.uri[-5:]) for row in rows}
    assert found == {("a", 0, "1.jpg"), ("a", 1, "2.jpg"), ("b", 0, "1.jpg")}


def test_without_a_plan(make_night):
    with pytest.raises(NightStoppedError, match="moon prepare"):
        detect(make_night())
