"""Products of the lake as a benchmark: a seeded sample, with the images that can be read."""

import pytest

from jobs.datasets.benchmark_products import build_lake_benchmark
from jobs.errors import MoonError

CATALOGUE = {f"p{number:02}": [f"{number}.jpg", "missing.jpg"] for number in range(12)}


@pytest.fixture
def context(planned_night, photo, tmp_path):
    context, _ = planned_night(CATALOGUE)
    for number in range(12):
        (tmp_path / "images" / f"{number}.jpg").write_bytes(photo(number))
    return context


def test_the_lake_is_asked_about_what_it_holds(context, photo):
    found = build_lake_benchmark(context, max_products=100, seed=0)
    assert (found.name, found.about) == ("lake 2026-01-02", {"products": 12, "seed": 0})
    (by_text, by_image) = (task for task in found.tasks if task.name in ("text → item", "image → item"))
    titles = {one.id.removesuffix(" title"): one.title for one in by_text.queries}
    assert titles == {name: f"Title of {name}" for name in CATALOGUE}
    shown = {one.id: one.images for one in by_text.items}
    assert shown == {name: (photo(number),) for number, name in enumerate(CATALOGUE)}  # the missing one is left out
    assert {(one.category, one.attributes["Color"]) for one in by_image.items} == {(("A", "B"), "red")}


def test_the_sample_is_of_the_seed(context):
    samples = []
    for seed in (1, 1, 2):
        found = build_lake_benchmark(context, max_products=10, seed=seed)
        assert found.about["products"] == 10
        samples.append([one.id for one in found.tasks[0].items])
    assert samples[0] == samples[1] != samples[2]


def test_only_allowed_folders_are_read(context, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    elsewhere = context.settings.replace(allowed_roots=(str(tmp_path / "elsewhere"),))
    found = build_lake_benchmark(
        type(context)(context.spark, context.lake, elsewhere, context.date), max_products=100, seed=0
    )
    assert found.tasks == []  # nothing but texts that are all of one category


def test_a_date_without_products_says_what_to_do(context):
    other = type(context)(context.spark, context.lake, context.settings, "2026-01-03")
    with pytest.raises(MoonError, match=r"no products for 2026-01-03 in .*: run `moon prepare` first"):
        build_lake_benchmark(other, max_products=10, seed=0)
