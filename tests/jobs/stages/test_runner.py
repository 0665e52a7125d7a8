"""Tests that stages run in order and write rows in `runs`, also for failures."""

import pytest

from jobs.errors import MoonError
from jobs.stages.runner import NIGHTLY_STAGES, STAGE_GROUPS, STAGES, run_stages


def test_every_stage_is_a_function_of_its_own_module() -> None:
    assert NIGHTLY_STAGES[0] == "pull" and NIGHTLY_STAGES[-1] == "report"
    assert set(STAGE_GROUPS) == {"prepare", "infer", "serve"}
    for name in NIGHTLY_STAGES:
        function = STAGES[name]
        assert (function.__module__, function.__name__) == (f"jobs.stages.{name}", name)


def test_a_failing_stage_is_recorded_and_ends_the_run(make_night, tmp_path) -> None:
    context = make_night("2026-01-02", catalog=str(tmp_path / "nothing.jsonl"))
    with pytest.raises(MoonError, match=r"nothing\.jsonl"):
        run_stages(context, STAGE_GROUPS["prepare"])
    (row,) = context.lake.read_arrow("runs").to_pylist()
    assert (row["stage"], row["outcome"], row["run_id"]) == ("pull", "failed", "")
    assert "nothing.jsonl" in dict(row["details"])["error"]
