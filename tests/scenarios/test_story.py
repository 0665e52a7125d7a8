"""Tests of all operations on a served collection, on a real Milvus server, while services read through the alias.

Three dates with a rollout between them, a rollback, a backfill of the first date, a restore after a bad run that passed
the gate, and a repair after another client deleted rows. Readers get no error, and every result is of one model.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest
from pymilvus import MilvusClient

from jobs.datasets.demo_catalog import write_demo_catalog
from jobs.lake.storage import Storage
from jobs.milvus.client import read_alias_target
from jobs.operations.backfill import plan_backfill, run_backfill
from jobs.operations.repair import repair_collection
from jobs.operations.restore import restore_date
from jobs.operations.rollback import plan_rollback, run_rollback
from jobs.operations.rollout import begin_rollout, prepare_rollout, switch_rollout
from jobs.settings import Settings
from jobs.state.hold import RunsHeldError, release_hold
from jobs.state.ledger import read_ledger
from jobs.state.run_context import RunContext
from moon_model.encoder import MoonEncoder
from tests.scenarios.nights import NightProcess, run_night, served_rows
from tests.scenarios.readers import TEXT, AliasReader, HttpService, Reader, Service, check_scores, wait_for

REPOSITORY = Path(__file__).resolve().parents[2]
TINY = REPOSITORY / "checkpoints" / "moon-tiny"
MISSED, FIRST, SECOND, THIRD, POISONED = (f"2026-11-{day}" for day in range(20, 25))

pytestmark = [pytest.mark.long, pytest.mark.milvus_server, pytest.mark.timeout(3600)]


@dataclass
class Story:
    """One lake, one server, and five dates of a shop."""

    context: RunContext
    client: MilvusClient
    catalog: Path

    @property
    def settings(self) -> Settings:
        return self.context.settings

    def run(self, day: str, **options: object) -> str:
        """Run a date; return the collection that it served."""
        outcome = run_night(self.context.spark, self.settings, day, **options)
        return outcome.results["report"].details["collection"]

    def served(self) -> str:
        return read_alias_target(self.client, self.settings.alias)

    def held(self, collection: str) -> dict[str, str]:
        """Product and content of a collection, after checking that its ledger says the same."""
        rows = {name: row[0] for name, row in served_rows(self.settings, collection).items()}
        ledger = read_ledger(self.context.spark, self.context.lake, collection).collect()
        assert {row.product_id: row.content_hash for row in ledger} == rows
        return rows

    def vectors(self) -> dict[tuple[str, str], list[np.ndarray]]:
        """Every vector of the lake by model version and product."""
        found = defaultdict(list)
        for row in self.context.lake.read(self.context.spark, "vectors").collect():
            found[row.model_version, row.product_id].append(np.float32(row.vector))
        return found

    def poison(self, day: str) -> None:
        """Make a wrong delivery that passes every rule: all products have the same title."""
        file = self.catalog / day / "catalog.jsonl"
        good = file.read_text()
        rows = [json.loads(line) for line in good.splitlines()]
        poisoned = [row | {"title": "Gift card"} if isinstance(row, dict) and row.get("title") else row for row in rows]
        file.with_name("good.jsonl.bak").write_text(good)
        file.write_text("".join(json.dumps(row) + "\n" for row in poisoned))

    def cure(self, day: str) -> None:
        """Make the correct delivery."""
        file = self.catalog / day / "catalog.jsonl"
        file.write_text(file.with_name("good.jsonl.bak").read_text())


@pytest.fixture
def story(spark, make_settings, milvus_server: str, tmp_path: Path) -> Iterator[Story]:
    from jobs.lake.store import Lake

    shop = tmp_path / "shop"
    write_demo_catalog(shop, products=24, days=5, seed=5, start=date.fromisoformat(MISSED), broken=False)
    settings = make_settings(
        milvus=milvus_server, catalog=str(shop / "{date}" / "catalog.jsonl"), mapping=str(shop / "mapping.toml")
    )
    client = MilvusClient(milvus_server)
    yield Story(RunContext(spark, Lake(Storage(settings.lake)), settings, FIRST), client, shop)
    for alias in client.list_aliases()["aliases"]:
        client.drop_alias(alias)
    for name in client.list_collections():
        client.drop_collection(name)
    client.close()


@pytest.fixture
def following(tmp_path: Path) -> Path:
    """moon-tiny with another processing: the same weights, another model version."""
    folder = copytree(TINY, tmp_path / "next")
    processing = json.loads((folder / "processor_config.json").read_text())
    processing["lowercase"] = not processing["lowercase"]
    (folder / "processor_config.json").write_text(json.dumps(processing))
    return folder


def test_the_story(story: Story, following: Path, start_night: Callable[[Settings, str], NightProcess]) -> None:
    old = story.run(FIRST)
    encoders = {one.model_version: one for one in map(MoonEncoder.from_pretrained, (TINY, following))}
    assert len(encoders) == 2
    first_encoder = next(iter(encoders.values()))
    alias = AliasReader(story.settings, first_encoder.encode_queries([TEXT])[0].tolist())
    service = Service(story.settings, encoders, first_encoder)
    by_http = HttpService(story.settings.milvus)
    readers = [Reader(alias), Reader(service), *(Reader(by_http, pause=1.0) for _ in range(8))]

    # A rollout is prepared during the second run, and applies its changes.
    second = start_night(story.settings, SECOND)
    prepared = prepare_rollout(begin_rollout(story.context, str(following), "the story"))
    assert story.served() == old
    assert prepared.date in (FIRST, SECOND)
    second.document(900)
    move = switch_rollout(begin_rollout(story.context, str(following), "the story"))
    new = story.served()
    assert (move.before, move.after) == (old, new) != (new, old)
    assert story.held(new) == story.held(old)
    wait_for(lambda: service.refused == 1 and service.answers[-1][0] == service.held.model_version, 60, "new encoder")

    # The third run uses the new model; then a rollback to the previous model, with catch-up.
    assert story.run(THIRD) == new
    assert story.held(new) != story.held(old)
    run_rollback(replace(story.context, reason="the story"), plan_rollback(story.context))
    assert story.served() == old
    good = story.held(old)
    assert good == story.held(new)

    # The first date was missed; its backfill changes nothing that is served.
    base = replace(story.context, date=MISSED)
    assert [day for day, _ in run_backfill(base, plan_backfill(base, [MISSED]))] == [MISSED]
    assert story.held(old) == good
    assert story.context.lake.count("vectors", {"model_version": first_encoder.model_version, "date": MISSED})

    # A bad run passes gate and breakers; it is restored, and runs are held until the release.
    story.poison(POISONED)
    story.run(POISONED)
    assert set(story.held(old).values()).isdisjoint(good.values())
    undone = restore_date(replace(story.context, date=THIRD, reason="gift cards"))
    assert undone.before == POISONED
    assert story.held(old) == good
    with pytest.raises(RunsHeldError, match="moon release"):
        story.run(POISONED)
    assert release_hold(story.context.lake, "the story")
    story.cure(POISONED)
    story.run(POISONED)
    healed = story.held(old)
    products = story.context.lake.read_arrow("products", {"date": POISONED}).to_pylist()
    assert healed == {row["product_id"]: row["content_hash"] for row in products}

    # Another client deletes rows.
    lost = sorted(healed)[:3]
    story.client.delete(old, ids=lost)
    wait_for(lambda: len(served_rows(story.settings, old)) == len(healed) - 3, 60, "deleted rows")
    assert repair_collection(story.context).found.missing == 3
    assert story.held(old) == healed

    assert min(reader.stop() for reader in readers) > 20
    check(alias, service, by_http, story.vectors())


def check(
    alias: AliasReader, service: Service, by_http: HttpService, vectors: dict[tuple[str, str], list[np.ndarray]]
) -> None:
    """Check that every result has rows of one model only, the query's, and that both models occur."""
    assert all(len(versions) == 1 for versions in alias.versions)
    assert set.union(*alias.versions) == set(service.encoders)
    assert service.refused == 2  # told once for each move of the alias
    service.check(vectors)
    assert {version for version, _, _ in by_http.answers} == set(service.encoders)
    check_scores(by_http.answers, service.encoders, vectors)
