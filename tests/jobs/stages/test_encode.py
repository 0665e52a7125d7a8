"""Tests of the encode stage in a real session; test_encode_task.py tests a single task."""

import json
from collections import Counter
from dataclasses import replace
from shutil import copytree

import numpy as np
import pytest

from jobs.errors import NightStoppedError, PhotosUnreachableError
from jobs.lake.writing import FileSink
from jobs.stages.encode import VectorShards, select_rows_to_encode
from jobs.stages.encode_task import UNREAD_PARTS
from jobs.stages.task_io import TaskOutput, run_tasks
from jobs.state.model_registry import describe_checkpoint
from jobs.state.plan_record import require_plan
from tests.jobs.stage_calls import detect, encode

CATALOGUE = {
    "plain": ["a.jpg"],
    "two": ["a.jpg", "b.png"],
    "partial": ["broken.jpg", "b.png"],
    "beyond": ["a.jpg", "b.png", "broken.jpg"],  # the model looks at two images
    "nothing": ["broken.jpg", "missing.jpg"],
    "same": ["a.jpg"],
}
COUNTS = {"products": 5, "encoded": 4, "kept": 0, "quarantined": 1}


@pytest.fixture
def images(tmp_path, photo):
    """The run's image folder with a.jpg, b.png and a broken file."""
    folder = tmp_path / "images"
    folder.mkdir(exist_ok=True)
    (folder / "a.jpg").write_bytes(photo(1))
    (folder / "b.png").write_bytes(photo(2, kind="PNG"))
    (folder / "broken.jpg").write_bytes(photo(3)[:200])
    return folder


@pytest.fixture
def context(planned_night, images):
    """A run whose regions are known."""
    context, _ = planned_night(CATALOGUE, unchanged=["same"])
    detect(context)
    return context


def vectors(context):
    rows = context.lake.read(context.spark, "vectors", {"date": context.date}).collect()
    return {(row.product_id, row.model_version): row for row in rows}, len(rows)


def refusals(context):
    rows = context.lake.read(context.spark, "quarantine", {"date": context.date, "stage": "encode"}).collect()
    return [(row.product_id, row.image_index, row.reason) for row in rows]


def test_vectors_equal_the_encoders_own_and_a_rerun_opens_nothing(context, images, tiny_checkpoint):
    from moon_model.encoder import MoonEncoder

    result = encode(context)
    assert result.counts == COUNTS
    unread = {name.removeprefix("unread_"): text for name, text in result.details.items() if "unread" in name}
    assert unread == {"of": "4", "title": "0", "description": "0", "category": "0", "attributes": "0", "images": "1"}
    assert refusals(context) == [("nothing", None, "no_readable_image")]  # detect has told of the images
    found, count = vectors(context)
    by_id = {product: row for (product, _), row in found.items()}
    assert count == 4
    assert {key: row.partial for key, row in by_id.items()} == {
        "plain": False, "two": False, "beyond": False, "partial": True,
    }  # fmt: skip

    usable = {"plain": ["a.jpg"], "two": ["a.jpg", "b.png"], "partial": ["b.png"], "beyond": ["a.jpg", "b.png"]}
    expected = MoonEncoder.from_pretrained(tiny_checkpoint).encode(
        {"id": key, "title": f"Title of {key}", "category": ["A", "B"], "attributes": {"Color": "red"}}
        | {"images": [images / name for name in names]}
        for key, names in usable.items()
    )
    for key, vector in zip(usable, expected, strict=True):
        assert by_id[key].content_hash == f"hash {key}"
        assert np.dot(by_id[key].vector, vector) > 0.999, key
    assert len({tuple(row.vector) for row in by_id.values()}) == 4

    for image in images.iterdir():
        image.unlink()  # whoever opened one now would fail
    again = encode(context)
    assert again.details["note"] == "found committed"
    assert again.counts == {}
    assert vectors(context) == (found, 4)


@pytest.mark.long
def test_killed_between_its_commits_and_made_twice_the_vectors_are_the_same(context, planned_night, monkeypatch):
    commit = type(context.lake).commit

    def killed(lake, table, *args, **options):
        if table == "vectors":
            raise KeyboardInterrupt
        return commit(lake, table, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(type(context.lake), "commit", killed)
        with pytest.raises(KeyboardInterrupt):
            encode(context)
    assert vectors(context) == ({}, 0)
    monkeypatch.setattr("jobs.stages.encode.PRODUCTS_PER_TASK", 2)
    assert encode(context).counts == COUNTS
    assert refusals(context) == [("nothing", None, "no_readable_image")]
    once = {key: row.vector for key, row in vectors(context)[0].items()}

    again, _ = planned_night(CATALOGUE, unchanged=["same"], run_id="r2")
    encode(again)
    rows = again.lake.read(again.spark, "vectors", {"date": context.date}).collect()
    assert len(rows) == 8
    assert all(row.vector == once[row.product_id, row.model_version] for row in rows)  # to the last bit


def report_first_task(frame, task, *, report):
    """`run_tasks`, which reports the first task that encoded complete products before it returns."""
    output = run_tasks(frame, task)
    first = output.files["vectors"][:1]
    report(TaskOutput({"vectors": first}, Counter({"encoded": first[0].rows, "images": 1})))
    return output


@pytest.mark.long
@pytest.mark.parametrize("error", [KeyboardInterrupt, PhotosUnreachableError])
def test_a_run_that_stopped_encodes_only_the_products_after_its_shards(context, planned_night, monkeypatch, error):
    """The vectors of a stopped run are vectors like others: by content, and served only by the run that is repeated."""
    monkeypatch.setattr("jobs.stages.encode.PRODUCTS_PER_TASK", 1)

    def stop(*_):
        raise error("stopped")

    with monkeypatch.context() as patch:
        patch.setattr("jobs.stages.encode.run_tasks", report_first_task)
        patch.setattr("jobs.stages.encode.check_unreached", stop)
        with pytest.raises(error):
            encode(context)
    done = vectors(context)[0]
    assert 0 < len(done) < 4
    assert not any(row.partial for row in done.values())
    assert refusals(context) == []

    outputs = []
    with monkeypatch.context() as patch:
        patch.setattr("jobs.stages.encode.run_tasks", lambda *task, **_: outputs.append(run_tasks(*task)) or outputs[0])
        again = encode(context)
    assert again.counts == COUNTS
    assert again.details["resumed"] == str(len(done))
    assert (again.details["unread_of"], again.details["unread_title"]) == ("4", "0")
    counts = outputs[0].counts
    assert counts["encoded"] + counts["partial_encoded"] == 4 - len(done)
    assert refusals(context) == [("nothing", None, "no_readable_image")]
    found, rows = vectors(context)
    assert rows == 4

    other, _ = planned_night(CATALOGUE, unchanged=["same"], run_id="r2")
    assert "resumed" not in encode(other).details
    everything = other.lake.read(other.spark, "vectors", {"date": context.date}).collect()
    assert len(everything) == 8
    assert all(row.vector == found[row.product_id, row.model_version].vector for row in everything)  # to the last bit


class Copies:
    """Concurrent copies of one run that commit vectors of products."""

    def __init__(self, context):
        self.context, self.partition = context, {"model_version": "m", "date": context.date}

    def start(self):
        return VectorShards(self.context, self.partition, "encode/r1")

    def write(self, *products, partial=False):
        sink = FileSink(self.context.lake.storage, "vectors", self.partition)
        sink.write_rows(
            [{"product_id": key, "content_hash": key, "vector": [1.0], "partial": partial} for key in products]
        )
        return sink.close()

    def commit(self, shards, files):
        shards.commit(TaskOutput({"vectors": files}, Counter(encoded=sum(file.rows for file in files))))

    def rows(self):
        table = self.context.lake.read_arrow("vectors", self.partition)
        return sorted(zip(table["product_id"].to_pylist(), table["partial"].to_pylist(), strict=True))


def test_of_two_copies_one_commits_shards_and_each_content_gets_one_vector(make_night):
    copies = Copies(make_night("2026-01-02"))
    one, two = copies.start(), copies.start()
    ones, twos = copies.write("a", "b"), copies.write("a")
    copies.commit(one, ones)
    copies.commit(two, twos)
    assert copies.rows() == [("a", False), ("b", False)]
    rest = copies.write("b", "c")
    copies.commit(two, [*twos, *rest])
    assert copies.rows() == [("a", False), ("b", False)], "the other copy commits shards"
    assert copies.start().earlier == {"encoded": 2} | dict.fromkeys(UNREAD_PARTS, 0)

    two.commit_rest([*twos, *rest, *copies.write("d", partial=True)])
    everything = [("a", False), ("b", False), ("c", False), ("d", True)]
    assert copies.rows() == everything
    last = copies.write("c")
    copies.commit(one, [*ones, *last])
    one.commit_rest([*ones, *last, *copies.write("d", partial=True)])
    assert copies.rows() == everything, "the other copy was done first"


def test_shards_are_committed_once_each(make_night):
    copies = Copies(make_night("2026-01-02"))
    shards = copies.start()
    first, second = copies.write("a"), copies.write("b")
    for files in ([], first, first, [*first, *second]):
        copies.commit(shards, files)
    assert copies.start().earlier["encoded"] == 2
    shards.commit_rest([*first, *second, *copies.write("c")])
    assert copies.rows() == [("a", False), ("b", False), ("c", False)]
    versions = copies.context.lake.open("vectors").version()
    assert versions == 3, "one commit a shard and one at the end"


def test_nothing_to_encode_still_ends_with_a_commit(planned_night):
    context, _ = planned_night({"a": ["missing.jpg"]}, unchanged=["a"])
    assert encode(context).counts == {"products": 0, "encoded": 0, "kept": 0, "quarantined": 0}
    assert encode(context).details["note"] == "found committed"


def test_another_checkpoint_than_planned_stops(planned_night, tiny_checkpoint, tmp_path):
    context, plan = planned_night({"a": ["a.jpg"]})
    other = copytree(tiny_checkpoint, tmp_path / "other")
    settings = json.loads((other / "processor_config.json").read_text())
    (other / "processor_config.json").write_text(json.dumps(settings | {"lowercase": False}))
    assert describe_checkpoint(str(other)).model_version != plan.model_version
    with pytest.raises(NightStoppedError, match="put the files back"):
        encode(replace(context, settings=context.settings.replace(model=str(other))))


def test_rows_carry_the_regions_of_the_images_that_count(context):
    plan = require_plan(context.lake, context.date)
    rows = {row.product_id: row for row in select_rows_to_encode(context, plan, 2).collect()}
    places = {key: sorted(region.image_index for region in row.regions or ()) for key, row in rows.items()}
    assert places == {"plain": [0], "two": [0, 1], "partial": [1], "beyond": [0, 1], "nothing": []}


def test_without_a_plan(make_night):
    with pytest.raises(NightStoppedError, match="moon prepare"):
        encode(make_night())
