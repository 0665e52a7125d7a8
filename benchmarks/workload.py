"""Workloads for the encode stage: lakes with a run of demo products in which all stages before `encode` are done.

The stages pull, validate, plan and detect make them from drawn photos. A larger workload repeats the same photos under
new product ids, because drawing is slow and the encoder needs as long for a repeated photo as for a new one.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

from jobs.datasets.demo_catalog import write_demo_catalog
from jobs.lake.storage import Storage
from jobs.lake.store import Lake
from jobs.settings import Settings
from jobs.spark.session import open_spark_session
from jobs.stages.encode import select_rows_to_encode
from jobs.stages.runner import run_stage
from jobs.state.model_registry import describe_checkpoint, read_registered_model
from jobs.state.plan_record import require_plan
from jobs.state.run_context import RunContext

WORKLOAD_DATE = "2026-01-02"
DRAWN_PRODUCTS = 400
"""Number of different products that are drawn; a larger workload repeats them."""


def build_workload_settings(folder: Path) -> Settings:
    """Return the settings of the workload in a folder."""
    return Settings().replace(
        lake=str(folder / "lake"), milvus=str(folder / "milvus.db"), catalog=str(folder / "catalog.jsonl"),
        mapping=str(folder / "mapping.toml"), spark_master="local[2]",
    )  # fmt: skip


@contextmanager
def open_workload_run(folder: Path) -> Iterator[RunContext]:
    """Yield the run context of the workload in a folder, with a Spark session of its own."""
    settings = build_workload_settings(folder)
    with open_spark_session(settings, f"benchmark {folder.name}") as spark:
        yield RunContext(spark, Lake(Storage(settings.lake)), settings, WORKLOAD_DATE)


def make_workload(work_folder: Path, products: int) -> Path:
    """Return the folder of a workload; it is made once per number of products and model.

    Args:
        work_folder: folder of all workloads and drawn shops.
        products: number of products.
    """
    settings = Settings()
    model = describe_checkpoint(settings.model, settings.detector).model_version
    folder = work_folder / f"workload-{products}-{model[:8]}"
    if (folder / "done").exists():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    drawn = min(products, DRAWN_PRODUCTS)
    shop = work_folder / f"shop-{drawn}"
    write_demo_catalog(
        shop, products=drawn, days=1, seed=1, start=date.fromisoformat(WORKLOAD_DATE), broken=False, progress=True
    )
    _write_catalog(shop, folder, products)
    with open_workload_run(folder) as context:
        for stage in ("pull", "validate", "plan", "detect"):
            run_stage(context, stage)
        _write_rows(context, folder / "rows")
    (folder / "done").touch()
    return folder


def copy_workload(folder: Path, name: str) -> Path:
    """Return a copy of a workload's folder, in which `encode` can run again."""
    copy = folder.with_name(name)
    shutil.rmtree(copy, ignore_errors=True)
    return Path(shutil.copytree(folder, copy))


def read_encode_rows(folder: Path, count: int) -> list[dict[str, Any]]:
    """Return the first rows that `encode` gives to its tasks, for loops without Spark."""
    import pyarrow.dataset as ds  # noqa: PLC0415

    return ds.dataset(folder / "rows").head(count).to_pylist()


def _write_catalog(shop: Path, folder: Path, products: int) -> None:
    lines = (shop / WORKLOAD_DATE / "catalog.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    copies = ({**rows[n % len(rows)], "id": f"{rows[n % len(rows)]['id']}-{n // len(rows)}"} for n in range(products))
    (folder / "catalog.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in copies))
    mapping = (shop / "mapping.toml").read_text()
    (folder / "mapping.toml").write_text(mapping.replace('base = "."', f"base = {json.dumps(str(shop))}"))


def _write_rows(context: RunContext, folder: Path) -> None:
    frozen = require_plan(context.lake, context.date)
    model = read_registered_model(context.lake, context.settings, frozen.model_version, frozen.collection)
    select_rows_to_encode(context, frozen, model.max_images).write.parquet(str(folder))
