"""Products of the lake as a benchmark: a seeded sample, with the images that can be read."""

import pytest

from jobs.datasets.benchmark_products import lake_benchmark
from jobs.errors import MoonError

CATALOGUE = {f"p{number:02}": [f"{number}.jpg", "missing.jpg"] for number in range(12)}


@pytest.fixture
def night(planned_night, photo, tmp_path):
    night, _ = planned_night(CATALOGUE)
    for number in range(12):
        (tmp_path / "images" / f"{number}.jpg").write_bytes(photo(number))
    return night


def test_the_lake_is_asked_about_what_it_holds(night, photo):
    found = lake_benchmark(night, most=100, seed=0)
    assert (found.name, found.about) == ("lake 2026-01-02", {"products": 12, "seed": 0})
    (by_text, by_image) = (task for task in found.tasks if task.name in ("text → item", "image → item"))
    titles = {one.id.removesuffix(" title"): one.title for one in by_text.queries}
    assert titles == {name: f"Title of {name}" for name in CATALOGUE}
    shown = {one.id: one.images for one in by_text.items}
    assert shown == {name: (photo(number),) for number, name in enumerate(CATALOGUE)}  # the missing one is left out
    assert {(one.category, one.attributes["Color"]) for one in by_image.items} == {(("A", "B"), "red")}


def test_the_sample_is_of_the_seed(night):
    samples = []
    for seed in (1, 1, 2):
        found = lake_benchmark(night, most=10, seed=seed)
        assert found.about["products"] == 10
        samples.append([one.id for one in found.tasks[0].items])
    assert samples[0] == samples[1] != samples[2]


def test_only_allowed_folders_are_read(night, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    elsewhere = night.settings.replace(allowed_roots=(str(tmp_path / "elsewhere"),))
    found = lake_benchmark(type(night)(night.spark, night.lake, elsewhere, night.date), most=100, seed=0)
    assert found.tasks == []  # nothing but texts that are all of one category


def test_a_date_without_products_says_what_to_do(night):
    other = type(night)(night.spark, night.lake, night.settings, "2026-01-03")
    with pytest.raises(MoonError, match=r"no products for 2026-01-03 in .*: run `moon prepare` first"):
        lake_benchmark(other, most=10, seed=0)
