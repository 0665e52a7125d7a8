"""Tests of the stage fetch against hosts that behave like real ones."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pyspark.sql import functions as F

from jobs.errors import NightStoppedError, PhotosUnreachableError
from jobs.stages import fetch as stage
from jobs.stages.fetch import fetch
from jobs.stages.plan import plan
from jobs.stages.pull import pull
from jobs.stages.validate import validate
from jobs.state.model_registry import ModelChoice
from jobs.state.plan_record import commit_plan_header, make_plan
from jobs.state.run_context import RunContext
from tests.image_host import Answer, ImageHost, draw_photo, open_image_host

FIRST, SECOND = "2026-03-01", "2026-03-02"
PHOTO = draw_photo(7)


@pytest.fixture
def host() -> Iterator[ImageHost]:
    with open_image_host() as running:
        yield running


def write_shop(folder: Path, host: ImageHost, photos: int) -> dict[str, object]:
    """Write a catalogue of products with a photo each; return the settings of its runs."""
    rows = [json.dumps({"id": str(n), "title": f"Mug {n}", "photo": f"{host.url}/{n}.jpg"}) for n in range(photos)]
    (folder / "products.jsonl").write_text("\n".join(rows))
    (folder / "mapping.toml").write_text('id = "id"\ntitle = "title"\nimages = "photo"\n')
    for number in range(photos):
        host.answers[f"/{number}.jpg"] = Answer(body=PHOTO + str(number).encode())
    return {"catalog": str(folder / "products.jsonl"), "allowed_roots": (host.url,), "read_seconds": 1.0}


def prepare(night: RunContext) -> RunContext:
    pull(night)
    validate(night)
    return night


def add_faults(host: ImageHost, photos: int, share: int) -> int:
    """Make one in a hundred photos, times the share, fail in each of seven ways; return how many stay unavailable."""
    out = {"Location": "http://127.0.0.1:1/a.jpg"}
    faults = [
        lambda body: Answer(404),
        lambda body: Answer(403),
        lambda body: Answer(429, body, {"Retry-After": "1"}),
        lambda body: Answer(503, body, times=2),
        lambda body: Answer(body=body, seconds=2.5),
        lambda body: Answer(body=body, cut=20),
        lambda body: Answer(302, headers=out),
    ]
    for number in range(photos):
        if (kind := number % 100 // share) < len(faults):
            path = f"/{number}.jpg"
            host.answers[path] = faults[kind](host.answers[path].body)
    return (len(faults) - 1) * share * photos // 100


def test_a_killed_fetch_continues_where_it_was(make_night, tmp_path: Path, host: ImageHost, monkeypatch) -> None:
    night = prepare(make_night(FIRST, **write_shop(tmp_path, host, 30)))

    def stop(*_args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(stage, "_freeze_versions", stop)
    with pytest.raises(KeyboardInterrupt):
        fetch(night)
    monkeypatch.undo()
    with pytest.raises(NightStoppedError, match=f"moon fetch --date {FIRST}"):
        plan(night)
    host.forget_requests()
    counts = fetch(night).counts
    assert counts["fetched"] == counts["wanted"] == 30 and counts["answered"] == 0 and not host.requests


@pytest.mark.long
def test_a_fetch_in_waves_commits_as_it_goes(make_night, tmp_path: Path, host: ImageHost, monkeypatch) -> None:
    night = prepare(make_night(FIRST, **write_shop(tmp_path, host, 300), host_connections=4))
    for answer in host.answers.values():
        answer.seconds = 0.04
    monkeypatch.setattr(stage, "WAVE_SECONDS", 0.2)  # a task has taken 256 addresses by then
    assert fetch(night).counts["fetched"] == 300
    assert len(night.lake.files("images")) > 1


@pytest.mark.long
def test_photos_without_a_validator_are_read_again_and_equal_bytes_change_nothing(
    make_night, tmp_path: Path, host: ImageHost
) -> None:
    options = {**write_shop(tmp_path, host, 6), "recheck_nights": 1}
    for answer in host.answers.values():
        answer.sends_etag = False
    first = prepare(make_night(FIRST, **options))
    fetch(first)
    second = prepare(make_night(SECOND, **options))
    assert fetch(second).counts["fetched"] == 6
    products = second.lake.read(second.spark, "products").select("date", "content_hash").collect()
    hashes = [{row.content_hash for row in products if row.date == date} for date in (FIRST, SECOND)]
    assert hashes[0] == hashes[1] and len(hashes[0]) == 6


@pytest.mark.long
def test_photos_by_url_beside_local_ones(make_night, tmp_path: Path, host: ImageHost) -> None:
    options = write_shop(tmp_path, host, 2)
    (tmp_path / "local.jpg").write_bytes(PHOTO)
    row = {"id": "both", "title": "Mug", "photo": ["local.jpg", f"{host.url}/0.jpg", "local.jpg"]}
    (tmp_path / "products.jsonl").write_text(json.dumps(row))
    options["allowed_roots"] = (host.url, str(tmp_path))
    night = prepare(make_night(FIRST, **options))
    result = fetch(night)
    assert result.counts["wanted"] == result.counts["fetched"] == result.counts["answered"] == 1
    assert result.details["estimate"].startswith("1 photos by URL to ask for, about 0.2 MiB (200 KiB each, assumed)")
    [product] = night.lake.read(night.spark, "products", night.partition).collect()
    assert [image.version.partition(":")[0] for image in product.images] == ["stat", "sha256", "stat"]


def test_a_shop_without_photos_by_url_has_nothing_to_fetch(make_night, tmp_path: Path, host: ImageHost) -> None:
    options = {**write_shop(tmp_path, host, 1), "allowed_roots": (str(tmp_path),)}
    assert fetch(make_night(FIRST, **options)).details == {"note": "no photos by URL"}


@pytest.mark.faults
def test_three_thousand_photos_of_hosts_that_fail_in_every_way(make_night, tmp_path: Path, host: ImageHost) -> None:
    options = write_shop(tmp_path, host, 3000)
    away = add_faults(host, 3000, share=1)
    first = prepare(make_night(FIRST, **options))
    counts = fetch(first).counts
    assert counts["fetched"] == 3000 - away
    assert counts["fetched"] + counts["refused"] + counts["unreachable"] == counts["wanted"] == 3000
    failed = first.lake.read(first.spark, "image_versions").where(F.col("cause").isNotNull())
    assert {row.cause for row in failed.collect()} == {"404", "403", "429", "timeout", "cut", "forbidden"}
    for number in range(3000):
        host.answers[f"/{number}.jpg"] = Answer(body=PHOTO + str(number).encode())
    host.forget_requests()
    counts = fetch(prepare(make_night(SECOND, **options))).counts
    assert counts["fetched"] == away and counts["not_modified"] == 3000 // 7
    assert len(host.list_bodies()) == away


@pytest.mark.faults
def test_a_tenth_of_each_fault_stops_the_run(make_night, tmp_path: Path, host: ImageHost) -> None:
    options = write_shop(tmp_path, host, 500)
    add_faults(host, 500, share=10)
    night = prepare(make_night(FIRST, **options))
    with pytest.raises(PhotosUnreachableError, match="of 500 photos are missing or cannot be reached") as caught:
        fetch(night)
    assert caught.value.exit_status == 75
    assert not night.lake.count("image_versions", night.partition)


@pytest.mark.long
def test_photos_that_are_refused_stop_a_run_but_the_first(
    make_night, seed, tmp_path: Path, host: ImageHost, caplog: pytest.LogCaptureFixture
) -> None:
    page = Answer(body=b"<html>log in</html>")
    options = write_shop(tmp_path, host, 30)
    host.answers |= {f"/{number}.jpg": page for number in range(15)}
    first = prepare(make_night(FIRST, **options))
    counts = fetch(first).counts
    assert (counts["refused"], counts["answered"]) == (15, 15)
    assert "refused 15 of 30 photos by URL (50.0%); a later one would stop" in caplog.text
    model = ModelChoice("m", "", "", 1, 1, "d", "c")
    plan = make_plan(FIRST, model, "", ledger_version=0, serve=True)
    commit_plan_header(first.lake, plan, "plan")
    seed(first.lake, "served", [{"product_id": "1", "op": "upsert"}], {"collection": "c"}, attempt=plan.served_attempt)

    write_shop(tmp_path, host, 50)
    host.answers |= {f"/{number}.jpg": page for number in (*range(15), *range(30, 50))}
    second = prepare(make_night(SECOND, **options))
    with pytest.raises(NightStoppedError, match=r"35 of 50 photos by URL \(70.0%\); the limit is 55.0%") as stopped:
        fetch(second)
    assert "image_format: 35" in str(stopped.value) and "--allow-refusals 0.7 " in str(stopped.value)
    assert not second.lake.count("image_versions", second.partition)
    assert fetch(replace(second, allow_refusals=0.7, reason="they moved")).counts["refused"] == 35
