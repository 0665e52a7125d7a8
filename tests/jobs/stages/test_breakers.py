import pytest

from jobs.errors import NightStoppedError
from jobs.lake.storage import Storage
from jobs.lake.store import Lake
from jobs.stages.breakers import check_breakers, check_neighbour_churn, check_refused_photos
from jobs.state.run_context import RunContext


@pytest.fixture
def context(make_settings):
    """A run with limits of 10% above 10 rows; breakers need no Spark."""

    def make(**overrides):
        settings = make_settings(max_deletes=0.1, max_refusals=0.1, breaker_floor=10)
        return RunContext(None, Lake(Storage(settings.lake)), settings, "2026-01-02", **overrides)

    return make


def check(context, **counts):
    return check_breakers(context, **{"deleted": 0, "served": 1000, "refused": 0, "delivered": 1000, **counts})


@pytest.mark.parametrize(
    ("counts", "option"),
    [
        ({"deleted": 101}, "--allow-deletes 0.11"),
        ({"deleted": 1000}, "--allow-deletes 1.0"),
        ({"deleted": 11, "served": 50}, "--allow-deletes 0.22"),
        ({"refused": 101}, "--allow-refusals 0.11"),
        ({"refused": 11, "delivered": 12}, "--allow-refusals 0.92"),
    ],
)
def test_trips_and_names_an_override_that_suffices(context, counts, option):
    with pytest.raises(NightStoppedError, match="Nothing was served") as stopped:
        check(context(), **counts)
    assert f"{option} --reason" in str(stopped.value)
    name, share = option.removeprefix("--").split(" ")
    assert check(context(**{name.replace("-", "_"): float(share)}, reason="season's end"), **counts)


@pytest.mark.parametrize(
    "counts",
    [
        {"deleted": 100, "refused": 100},  # exactly the share
        {"deleted": 10, "served": 10},  # under the floor, whatever the share
        {"refused": 10, "delivered": 10},
        {"deleted": 0, "served": 0, "refused": 900},  # a first run
        {"deleted": 0, "refused": 0, "delivered": 0},
    ],
)
def test_lets_pass(context, counts):
    assert check(context(), **counts) == ""


def test_override_is_recorded_with_its_reason(context):
    run = context(allow_deletes=0.5, reason="summer range ends")
    assert check(run, deleted=400) == "--allow-deletes 0.5 (summer range ends)"
    with pytest.raises(NightStoppedError):
        check(run, deleted=501)
    with pytest.raises(NightStoppedError, match="--allow-refusals"):
        check(run, refused=400)


def test_an_override_may_also_tighten(context):
    with pytest.raises(NightStoppedError):
        check(context(allow_deletes=0.02), deleted=21)


def test_the_churn_breaker_names_an_override_that_suffices_and_records_it(context):
    assert check_neighbour_churn(context(), 0.5) == ""
    with pytest.raises(NightStoppedError, match=r"lost 55\.1% .* --allow-shift 0\.56 --reason"):
        check_neighbour_churn(context(), 0.551)
    assert (
        check_neighbour_churn(context(allow_shift=0.56, reason="new photos"), 0.551)
        == "--allow-shift 0.56 (new photos)"
    )


def test_the_advised_share_is_rounded_up(context):
    with pytest.raises(NightStoppedError, match=r"--allow-deletes 0\.13 "):
        check(context(), deleted=120_001, served=1_000_000)


PHOTOS = {"example": "http://h/1.jpg: no image", "images": 100}


@pytest.mark.parametrize(
    ("pages", "last_share", "stops"),
    [
        (11, 0.0, True),
        (11, 0.01, True),
        (11, 0.06, False),  # as much as was accepted, and 5 points more
        (10, 0.0, False),  # under the floor
        (90, None, False),  # nothing was served yet
    ],
)
def test_refused_photos_stop_a_run_as_refused_rows_do(context, caplog, pages, last_share, stops):
    counts = {"reasons": {"image_format": pages - 1, "image_forbidden": 1}, "last_share": last_share, **PHOTOS}
    if not stops:
        check_refused_photos(context(), **counts)
        assert ("a later one would stop" in caplog.text) == (last_share is None)
        return
    with pytest.raises(NightStoppedError, match="refused 11 of 100 photos by URL") as stopped:
        check_refused_photos(context(), **counts)
    assert "image_forbidden: 1, image_format: 10; such as http://h/1.jpg: no image." in str(stopped.value)
    assert "--allow-refusals 0.11 --reason" in str(stopped.value)
    check_refused_photos(context(allow_refusals=0.11, reason="a host gave up"), **counts)
