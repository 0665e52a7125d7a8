"""Fixtures of the stages' tests."""

import shutil
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from jobs.lake.store import Lake
    from jobs.state.plan_record import Plan
    from jobs.state.run_context import RunContext
    from tests.jobs.serving_shop import ServingShop


@pytest.fixture
def seed() -> "Callable[..., None]":
    """Commit rows to a table as a stage would: ``seed(lake, "served", rows, {"collection": "c"}, marks={…})``."""
    from jobs.lake.writing import FileSink

    def commit(
        lake: "Lake", table: str, rows: Sequence[Mapping[str, Any]], partition: Mapping[str, str], **options: Any
    ) -> None:
        sink = FileSink(lake.storage, table, partition)
        sink.write_rows([dict(row) for row in rows])
        options.setdefault("attempt", f"seed/{uuid.uuid4()}")
        assert lake.commit(table, sink.close(), partition=partition, **options)

    return commit


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random compact MOON of hidden size 32 that reads bytes as tokens; it loads in a second and encodes quickly."""
    from tests.jobs.tiny_model import write_tiny_checkpoint

    folder = tmp_path_factory.mktemp("checkpoints") / "tiny"
    write_tiny_checkpoint(folder)
    return folder


@pytest.fixture(scope="session")
def other_checkpoint(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A checkpoint of another model version: the weights of the tiny one, other processing."""
    folder = shutil.copytree(tiny_checkpoint, tmp_path_factory.mktemp("checkpoints") / "other")
    settings = (folder / "processor_config.json").read_text()
    (folder / "processor_config.json").write_text(settings.replace('"lowercase": true', '"lowercase": false'))
    return str(folder)


@pytest.fixture
def planned_night(
    make_night: "Callable[..., RunContext]", seed: "Callable[..., None]", tiny_checkpoint: Path, tmp_path: Path
) -> "Callable[..., tuple[RunContext, Plan]]":
    """A run after plan and before detect: ``planned_night({"id": ["a.jpg"]}, unchanged=…, run_id=…)``.

    Images are names in ``tmp_path / "images"``; every id is new in this run unless it is in ``unchanged``.
    """
    from jobs.state.model_registry import describe_checkpoint, register_model
    from jobs.state.plan_record import Plan, PlanCounts, commit_plan_header
    from schemas.uri import folder_uri

    folder = tmp_path / "images"
    folder.mkdir(exist_ok=True)

    def make(
        images: Mapping[str, Sequence[str]], unchanged: Sequence[str] = (), run_id: str = "r1", **columns: Any
    ) -> "tuple[RunContext, Plan]":
        context = make_night("2026-01-02", allowed_roots=(str(folder),), model=str(tiny_checkpoint))
        model = describe_checkpoint(str(tiny_checkpoint))
        register_model(context.lake, model)
        rows = [
            {
                "product_id": key,
                "source_row": row,
                "title": f"Title of {key}",
                "description": "",
                "category": ["A", "B"],
            }
            | {"attributes": [("Color", "red")], "content_hash": f"hash {key}"}
            | {"images": [{"uri": f"{folder_uri(str(folder))}/{name}", "version": "1"} for name in names]}
            | columns
            for row, (key, names) in enumerate(images.items())
        ]
        changes = [{**row, "op": "new"} for row in rows if row["product_id"] not in unchanged]
        shown = sum(min(len(row["images"]), model.max_images) for row in changes)
        counts = PlanCounts(new=len(changes), images=shown)
        plan = Plan(
            date=context.date, run_id=run_id, model_version=model.model_version,
            detector_version=model.detector_version, collection=model.collection, ledger_version=0, serve=True,
            counts=counts,
        )  # fmt: skip
        seed(context.lake, "products", rows, context.partition, mode="overwrite")
        names = ("product_id", "op", "content_hash", "source_row")
        seed(context.lake, "changes", [{name: row[name] for name in names} for row in changes], plan.partition)
        commit_plan_header(context.lake, plan, f"plan/{run_id}")
        return context, plan

    return make


@pytest.fixture
def shop(make_night: "Callable[..., RunContext]", monkeypatch: pytest.MonkeyPatch, milvus: str) -> "ServingShop":
    """A shop whose runs are ready to be served, on each kind of Milvus."""
    from tests.jobs.serving_shop import ServingShop

    return ServingShop(make_night, monkeypatch, milvus=milvus)


@pytest.fixture
def lite_shop(make_night: "Callable[..., RunContext]", monkeypatch: pytest.MonkeyPatch) -> "ServingShop":
    """A shop whose runs are ready to be served, on Milvus Lite only."""
    from tests.jobs.serving_shop import ServingShop

    return ServingShop(make_night, monkeypatch)


class Killed(BaseException):
    """Simulates SIGKILL: no clean-up code runs after it."""


@pytest.fixture
def kill_at(monkeypatch: pytest.MonkeyPatch) -> "Callable[..., None]":
    """Run upsert and kill it at the n-th call of a function; its lease is not released."""
    import jobs.state.lease
    from jobs.state.lease import Lease
    from tests.jobs.stage_calls import upsert

    dead: set[str] = set()
    monkeypatch.setattr(jobs.state.lease, "is_local_holder_dead", lambda holder: holder in dead)

    def die(lease: "Lease") -> None:
        lease._stop.set()
        dead.add(lease.guard.holder)

    def run(context: "RunContext", owner: object, name: str, call: int = 1) -> None:
        calls = 0
        original = getattr(owner, name)

        def counted(*args: object, **kwargs: object) -> object:
            nonlocal calls
            calls += 1
            if calls == call:
                raise Killed
            return original(*args, **kwargs)

        with monkeypatch.context() as patch:
            patch.setattr(owner, name, counted)
            patch.setattr(Lease, "release", die)
            with pytest.raises(Killed):
                upsert(context)

    return run
