"""Tests of rollouts on a real lake and Milvus Lite, with two tiny models: preparation and switch."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from shutil import copytree

import pytest

from jobs.errors import NightStoppedError
from jobs.lake.storage import Storage
from jobs.lake.store import Lake
from jobs.milvus.client import connect, read_alias_target
from jobs.operations import rollout as work
from jobs.operations.rollout import (
    NightUnderwayError,
    NothingPreparedError,
    begin_rollout,
    prepare_rollout,
    switch_rollout,
)
from jobs.settings import Settings
from jobs.stages.runner import run_stages
from jobs.state.ledger import read_ledger
from jobs.state.model_registry import describe_checkpoint
from jobs.state.run_context import RunContext
from schemas.collection import pinned_alias
from schemas.uri import folder_uri
from tests.jobs.serving_shop import commit_rows

STAGES = ("plan", "detect", "encode", "upsert", "publish")
FIRST, SECOND, THIRD = "2026-01-02", "2026-01-03", "2026-01-04"
SHOP = {"mug": "Red mug", "cup": "Blue cup", "pot": "Green pot", "pan": "Black pan"}


class Shop:
    """Runs whose products are delivered and validated by the test; all later stages are real."""

    def __init__(self, spark, root, folder):
        self._spark, self._root, self.folder = spark, root, folder

    def context(self, date: str) -> RunContext:
        settings = Settings(
            _env_file=None,
            lake=str(self._root / "lake"),
            milvus=str(self._root / "milvus.db"),
            allowed_roots=(str(self.folder),),
        )
        return RunContext(self._spark, Lake(Storage(settings.lake)), settings, date)

    def deliver(self, date: str, titles: dict[str, str], refused: tuple[str, ...] = ()) -> RunContext:
        context = self.context(date)
        rows = [
            {
                "product_id": name, "source_row": row, "title": title, "description": "", "category": ["Kitchen"],
                "attributes": [("Brand", "A")], "content_hash": f"{name} {title}",
                "images": [{"uri": f"{folder_uri(str(self.folder))}/{name}.jpg", "version": "1"}],
            }
            for row, (name, title) in enumerate(titles.items())
        ]  # fmt: skip
        bad = [{"source_row": 100 + row, "product_id": name, "reason": "empty_title", "detail": "no title"}
               for row, name in enumerate(refused)]  # fmt: skip
        everything = [{"source_row": row["source_row"], "product_id": row["product_id"]} for row in (*rows, *bad)]
        for table, delivered, stage in (
            ("snapshots", everything, {}), ("quarantine", bad, {"purpose": "nightly", "stage": "validate"}),
            ("products", rows, {}),
        ):  # fmt: skip
            commit_rows(context.lake, table, delivered, {**context.partition, **stage}, f"delivered {date}")
        return context

    def serve(self, date: str, titles: dict[str, str], refused: tuple[str, ...] = (), **options) -> None:
        context = self.deliver(date, titles, refused)
        run_stages(replace(context, settings=context.settings.replace(**options)), STAGES)

    def alias(self) -> str:
        settings = self.context(FIRST).settings
        with connect(settings) as client:
            return read_alias_target(client, settings.alias)

    def aliases_of(self, collection: str) -> set[str]:
        with connect(self.context(FIRST).settings) as client:
            return set(client.list_aliases(collection)["aliases"])

    def held(self, collection: str) -> dict[str, str]:
        """What a collection holds: id → title, after checking that its ledger says the same."""
        context = self.context(FIRST)
        with connect(context.settings) as client:
            client.load_collection(collection)
            rows = client.query(collection, 'product_id != ""', ["title", "content_hash"], consistency_level="Strong")
        ledger = {
            row.product_id: row.content_hash for row in read_ledger(context.spark, context.lake, collection).collect()
        }
        assert {row["product_id"]: row["content_hash"] for row in rows} == ledger
        return {row["product_id"]: row["title"] for row in rows}


@pytest.fixture(scope="module")
def first_night(spark, tmp_path_factory, photo, tiny_checkpoint) -> Path:
    """A folder with photos, lake and collection after one run of four products with the tiny checkpoint; copied."""
    root = tmp_path_factory.mktemp("first")
    folder = root / "images"
    folder.mkdir()
    for number, name in enumerate([*SHOP, "jug"]):
        (folder / f"{name}.jpg").write_bytes(photo(number))
    shop = Shop(spark, root, folder)
    shop.serve(FIRST, SHOP, model=str(tiny_checkpoint))
    return root


@pytest.fixture
def shop(spark, first_night, tmp_path) -> Shop:
    """A shop of four products, served once by the tiny checkpoint."""
    root = copytree(first_night, tmp_path / "shop")
    return Shop(spark, root, first_night / "images")


def begun(shop: Shop, folder: str, **options) -> work.Rollout:
    return begin_rollout(replace(shop.context(""), **options), folder, "better on pots")


@pytest.mark.long
def test_preparing_fills_and_compares_and_readers_see_nothing_of_it(shop, other_checkpoint):
    served, rollout = shop.alias(), begun(shop, other_checkpoint)
    with pytest.raises(NothingPreparedError, match="moon rollout --model"):
        switch_rollout(rollout)
    prepared = prepare_rollout(rollout)
    assert shop.alias() == served
    assert shop.held(rollout.model.collection) == SHOP == shop.held(served)
    assert (prepared.date, prepared.rows) == (FIRST, {"served": 4, "ready": 4, "missing": 0})
    assert prepared.comparison["products"] == 4
    assert prepared.comparison["same_category"] == [1.0, 1.0]
    page = open(prepared.page.removeprefix("file://")).read()  # noqa: PTH123, SIM115
    assert "better on pots" in page and "overlap@3" in page
    assert page.count("Old model") == page.count("New model") == len(SHOP), "every product is a query"
    assert page.count("<img ") == len(SHOP) * (1 + 3 + 3) and "http" not in page

    counts = [row for row in rollout.context.lake.read_arrow("runs").to_pylist() if row["stage"] == "encode"]
    again = prepare_rollout(begun(shop, other_checkpoint))
    assert again.rows == prepared.rows
    after = [row for row in rollout.context.lake.read_arrow("runs").to_pylist() if row["stage"] == "encode"]
    encoded = sum(dict(row["counts"]).get("encoded", 0) for row in after)
    assert encoded == sum(dict(row["counts"]).get("encoded", 0) for row in counts) == 8  # four by each model


@pytest.mark.long
def test_the_switch_catches_up_with_the_nights_that_passed(shop, other_checkpoint):
    served = shop.alias()
    prepare_rollout(begun(shop, other_checkpoint))
    changed = {"mug": "Red mug, large", "pot": SHOP["pot"], "pan": SHOP["pan"], "jug": "White jug"}
    context = shop.deliver(SECOND, changed)
    run_stages(context, STAGES[:1])
    hurried = shop.context("").settings.replace(wait_seconds=0)
    with pytest.raises(NightUnderwayError, match=f"moon serve --date {SECOND}"):
        switch_rollout(begun(shop, other_checkpoint, settings=hurried))
    run_stages(context, STAGES[1:])
    assert shop.alias() == served

    rollout = begun(shop, other_checkpoint)
    move = switch_rollout(rollout)
    assert (move.before, move.after, move.reason) == (served, rollout.model.collection, "better on pots")
    assert shop.alias() == rollout.model.collection
    assert shop.held(rollout.model.collection) == changed
    pins = {pinned_alias("products", version) for version in (rollout.served_model, rollout.model.model_version)}
    assert shop.aliases_of(served) | shop.aliases_of(rollout.model.collection) == {"products", *pins}

    assert begun(shop, other_checkpoint).is_done
    assert switch_rollout(begun(shop, other_checkpoint)) is None
    following = {"mug": "Red mug, large"} | dict.fromkeys(("pot", "pan", "jug"), "New name")
    shop.serve(THIRD, following)  # with the new model, whose checkpoint the collection names
    assert shop.held(rollout.model.collection) == following
    assert shop.held(served) == changed


@pytest.mark.long
def test_a_product_whose_row_was_refused_comes_along(shop, other_checkpoint):
    tonight = {name: title for name, title in SHOP.items() if name not in ("cup", "pan")}
    shop.serve(SECOND, tonight, refused=("cup",))  # the cup stays as it was, the pan is gone
    kept = tonight | {"cup": SHOP["cup"]}
    assert shop.held(shop.alias()) == kept
    rollout = begun(shop, other_checkpoint)
    assert prepare_rollout(rollout).rows == {"served": 3, "ready": 3, "missing": 0}
    assert shop.held(rollout.model.collection) == kept
    shop.serve(THIRD, tonight | {"pot": "Green pot, new"}, refused=("cup",))
    switch_rollout(begun(shop, other_checkpoint))
    assert shop.held(rollout.model.collection) == kept | {"pot": "Green pot, new"}


@pytest.fixture
def lost_photos(shop) -> Iterator[None]:
    """Two of the four photos are replaced by other data."""
    files = [shop.folder / f"{name}.jpg" for name in ("mug", "cup")]
    before = [file.read_bytes() for file in files]
    for file in files:
        file.write_bytes(b"no photo any more")
    yield
    for file, content in zip(files, before, strict=True):
        file.write_bytes(content)


@pytest.mark.long
@pytest.mark.usefixtures("lost_photos")
def test_readers_do_not_lose_products_without_a_word(shop, other_checkpoint):
    limits = shop.context("").settings.replace(breaker_floor=0)
    rollout = begun(shop, other_checkpoint, settings=limits)
    prepared = prepare_rollout(rollout)
    assert prepared.rows == {"served": 4, "ready": 2, "missing": 2}
    assert "no longer find them" in open(prepared.page.removeprefix("file://")).read()  # noqa: PTH123, SIM115
    with pytest.raises(NightStoppedError, match=r"--allow-deletes 0\.5"):
        switch_rollout(rollout)
    assert shop.alias() == rollout.served
    switch_rollout(begun(shop, other_checkpoint, settings=limits, allow_deletes=0.5, reason="their photos are lost"))
    assert shop.alias() == rollout.model.collection


def test_before_the_first_night_there_is_nothing_to_roll_out_over(make_night, other_checkpoint):
    with pytest.raises(NightStoppedError, match="moon nightly --model"):
        begin_rollout(make_night(""), other_checkpoint)


def test_the_other_model_is_another(tiny_checkpoint, other_checkpoint):
    assert (
        describe_checkpoint(other_checkpoint).model_version != describe_checkpoint(str(tiny_checkpoint)).model_version
    )
