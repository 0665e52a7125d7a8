"""Tests that progress counts the tasks of running Spark stages."""

import logging
import re
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


def test_products_done_are_a_share_of_the_tasks_with_rate_and_time_left(
    spark, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "PROGRESS_LOG_SECONDS", 0.1)
    caplog.set_level(logging.INFO)

    def slow(number: int) -> int:
        time.sleep(0.3)
        return number

    with progress.show_stage_progress(spark, "encode"):
        progress.announce_work(600, "products", tasks=6)
        spark.sparkContext.parallelize(range(6), 6).map(slow).sum()
    lines = [record.getMessage() for record in caplog.records if "of 600 products" in record.getMessage()]
    assert any(
        re.search(r"encode: [1-5]00 of 600 products, [\d.]+ a second, about \d:\d\d:\d\d left", line) for line in lines
    )


def test_what_a_driver_counts_and_no_stage_keeps_the_work_of_another(spark) -> None:
    with progress.show_stage_progress(spark, "upsert"):
        progress.announce_work(1200, "products")
        progress.report_done(300)
        assert progress._work.describe().startswith("300 of 1,200 products, ")
        progress.report_done(9999)
        assert progress._work.done == 1200
    with progress.show_stage_progress(spark, "publish"):
        assert progress._work.describe() == ""


def test_counts_are_words_and_no_dict() -> None:
    assert progress.describe_counts({"products": 1506, "left_out": 0}) == "1,506 products, 0 left out"
    assert progress.describe_counts({}) == "nothing to count"
