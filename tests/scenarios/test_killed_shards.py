"""A run that is killed while it encodes loses the tasks in flight; what was committed is not encoded again."""

from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
from pyspark.sql import DataFrame, SparkSession

from jobs import cli
from jobs.datasets.demo_catalog import write_demo_catalog
from jobs.lake.store import open_lake
from jobs.stages import encode, task_io
from jobs.stages.task_io import Task, TaskOutput, run_tasks
from tests.scenarios.nights import NightProcess, assert_same, run_night, settings_in, state_of

DAY = "2026-11-20"
PRODUCTS_PER_TASK = 2


@pytest.mark.faults
def test_killed_after_a_shard_and_run_again(
    spark: SparkSession,
    tmp_path: Path,
    start_night: Callable[..., NightProcess],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shop = tmp_path / "shop"
    write_demo_catalog(shop, products=30, days=1, seed=11, start=date.fromisoformat(DAY))
    settings = settings_in(tmp_path / "killed", shop)
    night = start_night(settings, DAY, __name__)
    night.wait_for("committed the vectors of")
    night.kill()
    lake = open_lake(settings)
    vectors = lake.read_arrow("vectors")
    done = vectors.num_rows
    assert done
    assert not any(vectors["partial"].to_pylist())
    assert not any(row["stage"] == "encode" for row in lake.read_arrow("runs").to_pylist())

    encoded: list[int] = []

    def count(frame: DataFrame, task: Task, *, report: Callable[[TaskOutput], None]) -> TaskOutput:
        output = run_tasks(frame, task, report=report)
        encoded.append(output.counts["encoded"] + output.counts["partial_encoded"])
        return output

    monkeypatch.setattr("jobs.stages.encode.run_tasks", count)
    monkeypatch.setattr("jobs.stages.encode.PRODUCTS_PER_TASK", PRODUCTS_PER_TASK)
    outcome = run_night(spark, settings, DAY)
    result = outcome.results["encode"]
    assert result.details["resumed"] == str(done)
    assert encoded == [result.counts["encoded"] - done]

    undisturbed = settings_in(tmp_path / "undisturbed", shop)
    expected = run_night(spark, undisturbed, DAY)
    assert encoded[1:] == [result.counts["encoded"]]
    assert expected.results["encode"].counts == result.counts
    assert expected.results["report"].counts == outcome.results["report"].counts
    model = result.details["model"]
    assert_same(state_of(spark, settings, model), state_of(spark, undisturbed, model))


if __name__ == "__main__":
    encode.PRODUCTS_PER_TASK, task_io.SHARD_SECONDS = PRODUCTS_PER_TASK, 0.2
    cli.main()
