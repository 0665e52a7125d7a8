"""Rollouts on a real lake and Milvus Lite, with two tiny models: what is prepared, what is switched, what stays."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from shutil import copytree

import pytest

from jobs.errors import NightStoppedError
from jobs.lake.storage import Storage
from jobs.lake.store import Lake
from jobs.milvus.client import alias_target, connect
from jobs.operations import rollout as work
from jobs.operations.rollout import NightUnderwayError, NothingPreparedError, begin, prepare, switch
from jobs.settings import Settings
from jobs.stages.runner import run_stages
from jobs.state.ledger import ledger_state
from jobs.state.model_registry import checkpoint_at
from jobs.state.run_context import Night
from schemas.collection import pinned_alias
from schemas.uri import folder_uri
from tests.jobs.serving_shop import write

STAGES = ("plan", "detect", "encode", "upsert", "publish")
FIRST, SECOND, THIRD = "2026-01-02", "2026-01-03", "2026-01-04"
SHOP = {"mug": "Red mug", "cup": "Blue cup", "pot": "Green pot", "pan": "Black pan"}


class Shop:
    """Nights whose products are delivered and validated; everything after that is the real thing."""

    def __init__(self, spark, root, folder):
        self._spark, self._root, self.folder = spark, root, folder

    def night(self, date: str) -> Night:
        settings = Settings(
            _env_file=None,
            lake=str(self._root / "lake"),
            milvus=str(self._root / "milvus.db"),
            allowed_roots=(str(self.folder),),
        )
        return Night(self._spark, Lake(Storage(settings.lake)), settings, date)

    def deliver(self, date: str, titles: dict[str, str], refused: tuple[str, ...] = ()) -> Night:
        night = self.night(date)
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
            ("snapshots", everything, {}), ("quarantine", bad, {"stage": "validate"}), ("products", rows, {}),
        ):  # fmt: skip
            write(night.lake, table, delivered, {**night.partition, **stage}, f"delivered {date}")
        return night

    def serve(self, date: str, titles: dict[str, str], refused: tuple[str, ...] = (), **options) -> None:
        night = self.deliver(date, titles, refused)
        run_stages(replace(night, settings=night.settings.replace(**options)), STAGES)

    def alias(self) -> str:
        settings = self.night(FIRST).settings
        with connect(settings) as client:
            return alias_target(client, settings.alias)

    def aliases_of(self, collection: str) -> set[str]:
        with connect(self.night(FIRST).settings) as client:
            return set(client.list_aliases(collection)["aliases"])

    def held(self, collection: str) -> dict[str, str]:
        """What a collection holds: id → title, after checking that its ledger says the same."""
        night = self.night(FIRST)
        with connect(night.settings) as client:
            client.load_collection(collection)
            rows = client.query(collection, 'product_id != ""', ["title", "content_hash"], consistency_level="Strong")
        ledger = {
            row.product_id: row.content_hash for row in ledger_state(night.spark, night.lake, collection).collect()
        }
        assert {row["product_id"]: row["content_hash"] for row in rows} == ledger
        return {row["product_id"]: row["title"] for row in rows}


@pytest.fixture(scope="module")
def first_night(spark, tmp_path_factory, photo, tiny_checkpoint) -> Path:
    """A folder with photos, lake and collection after one night of four products by the tiny checkpoint; copied."""
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
    return begin(replace(shop.night(""), **options), folder, "better on pots")


@pytest.mark.long
def test_preparing_fills_and_compares_and_readers_see_nothing_of_it(shop, other_checkpoint):
    served, rollout = shop.alias(), begun(shop, other_checkpoint)
    with pytest.raises(NothingPreparedError, match="moon rollout --model"):
        switch(rollout)
    prepared = prepare(rollout)
    assert shop.alias() == served
    assert shop.held(rollout.model.collection) == SHOP == shop.held(served)
    assert (prepared.date, prepared.rows) == (FIRST, {"served": 4, "ready": 4, "missing": 0})
    assert prepared.comparison["products"] == 4
    assert prepared.comparison["same_category"] == [1.0, 1.0]
    page = open(prepared.page.removeprefix("file://")).read()  # noqa: PTH123, SIM115
    assert "better on pots" in page and "overlap@3" in page

    counts = [row for row in rollout.night.lake.read_arrow("runs").to_pylist() if row["stage"] == "encode"]
    again = prepare(begun(shop, other_checkpoint))
    assert again.rows == prepared.rows
    after = [row for row in rollout.night.lake.read_arrow("runs").to_pylist() if row["stage"] == "encode"]
    encoded = sum(dict(row["counts"]).get("encoded", 0) for row in after)
    assert encoded == sum(dict(row["counts"]).get("encoded", 0) for row in counts) == 8  # four by each model


@pytest.mark.long
def test_the_switch_catches_up_with_the_nights_that_passed(shop, other_checkpoint):
    served = shop.alias()
    prepare(begun(shop, other_checkpoint))
    changed = {"mug": "Red mug, large", "pot": SHOP["pot"], "pan": SHOP["pan"], "jug": "White jug"}
    night = shop.deliver(SECOND, changed)
    run_stages(night, STAGES[:1])
    hurried = shop.night("").settings.replace(wait_seconds=0)
    with pytest.raises(NightUnderwayError, match=f"moon serve --date {SECOND}"):
        switch(begun(shop, other_checkpoint, settings=hurried))
    run_stages(night, STAGES[1:])
    assert shop.alias() == served

    rollout = begun(shop, other_checkpoint)
    move = switch(rollout)
    assert (move.before, move.after, move.reason) == (served, rollout.model.collection, "better on pots")
    assert shop.alias() == rollout.model.collection
    assert shop.held(rollout.model.collection) == changed
    pins = {pinned_alias("products", version) for version in (rollout.served_model, rollout.model.model_version)}
    assert shop.aliases_of(served) | shop.aliases_of(rollout.model.collection) == {"products", *pins}

    assert begun(shop, other_checkpoint).is_done
    assert switch(begun(shop, other_checkpoint)) is None
    following = {"mug": "Red mug, large"} | dict.fromkeys(("pot", "pan", "jug"), "New name")
    shop.serve(THIRD, following)  # by the new model, whose checkpoint stands in the collection
    assert shop.held(rollout.model.collection) == following
    assert shop.held(served) == changed


@pytest.mark.long
def test_a_product_whose_row_was_refused_comes_along(shop, other_checkpoint):
    tonight = {name: title for name, title in SHOP.items() if name not in ("cup", "pan")}
    shop.serve(SECOND, tonight, refused=("cup",))  # the cup stays as it was, the pan is gone
    kept = tonight | {"cup": SHOP["cup"]}
    assert shop.held(shop.alias()) == kept
    rollout = begun(shop, other_checkpoint)
    assert prepare(rollout).rows == {"served": 3, "ready": 3, "missing": 0}
    assert shop.held(rollout.model.collection) == kept
    shop.serve(THIRD, tonight | {"pot": "Green pot, new"}, refused=("cup",))
    switch(begun(shop, other_checkpoint))
    assert shop.held(rollout.model.collection) == kept | {"pot": "Green pot, new"}


@pytest.fixture
def lost_photos(shop) -> Iterator[None]:
    """Two of the four photos are no photos any more."""
    files = [shop.folder / f"{name}.jpg" for name in ("mug", "cup")]
    before = [file.read_bytes() for file in files]
    for file in files:
        file.write_bytes(b"no photo any more")
    yield
    for file, content in zip(files, before, strict=True):
        file.write_bytes(content)


@pytest.mark.usefixtures("lost_photos")
def test_readers_do_not_lose_products_without_a_word(shop, other_checkpoint):
    limits = shop.night("").settings.replace(breaker_floor=0)
    rollout = begun(shop, other_checkpoint, settings=limits)
    prepared = prepare(rollout)
    assert prepared.rows == {"served": 4, "ready": 2, "missing": 2}
    assert "no longer find them" in open(prepared.page.removeprefix("file://")).read()  # noqa: PTH123, SIM115
    with pytest.raises(NightStoppedError, match=r"--allow-deletes 0\.5"):
        switch(rollout)
    assert shop.alias() == rollout.served
    switch(begun(shop, other_checkpoint, settings=limits, allow_deletes=0.5, reason="their photos are lost"))
    assert shop.alias() == rollout.model.collection


def test_before_the_first_night_there_is_nothing_to_roll_out_over(make_night, other_checkpoint):
    with pytest.raises(NightStoppedError, match="moon nightly --model"):
        begin(make_night(""), other_checkpoint)


def test_the_other_model_is_another(tiny_checkpoint, other_checkpoint):
    assert checkpoint_at(other_checkpoint).model_version != checkpoint_at(str(tiny_checkpoint)).model_version
