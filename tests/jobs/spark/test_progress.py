"""Tests that progress counts the tasks of running Spark stages."""

import logging
import time

import pytest

from jobs.spark import progress


def test_lines_tell_how_far_a_stage_is(
    spark, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "PROGRESS_LOG_SECONDS", 0.2)
    caplog.set_level(logging.INFO)

    def slow(number: int) -> int:
        time.sleep(0.4)
        return number

    with progress.show_stage_progress(spark, "encode"):
        assert spark.sparkContext.parallelize(range(6), 6).map(slow).sum() == 15
    lines = [record.getMessage() for record in caplog.records if "encode" in record.getMessage()]
    assert any("of 6 tasks" in line for line in lines)


def test_nothing_runs_nothing_counts(spark) -> None:
    assert progress.count_tasks(spark) == (0, 0)


def test_the_block_may_fail(spark) -> None:
    with pytest.raises(ValueError, match="inside"), progress.show_stage_progress(spark, "x"):
        raise ValueError("inside")
