"""Tests of the demo command: what it prints of a log and what it may delete; and a whole run (long)."""

import re
import subprocess
import sys
from datetime import date
from pathlib import Path

import nightly
import pytest

SCRIPT = Path(nightly.__file__)
HOOK = "[airflow.task.hooks.airflow.providers.apache.spark.hooks.spark_submit.SparkSubmitHook] loc=spark_submit.py:965"
JOB = "2026-11-22T21:22:50Z [info     ] 2026-11-22 21:19:06,837 INFO jobs.stages.runner 2026-03-01"
LOG = f"""
2026-11-22T21:22:42Z [info     ] DAG bundles loaded: dags-folder [airflow.dag_processing.bundles] loc=manager.py:304
{JOB} pull begins {HOOK}
{JOB} pull done in 1.5 s: 1,500 delivered, 0 left out {HOOK}
{JOB} publish done in 0.5 s: nothing to count {HOOK}
moon: said once more in the error that Airflow prints
2026-11-22T21:22:53Z [info     ] moon: the catalogue is empty {HOOK}
"""


class LoggedDemo:
    """A demo whose DAG run prints LOG."""

    catalog = Path("/shop")

    def stream_airflow(self, *arguments):
        self.arguments = arguments
        yield from LOG.splitlines()


def test_a_night_shows_the_jobs_words_and_adds_up_their_seconds(capsys):
    demo = LoggedDemo()
    night = nightly.run_night(demo, date(2026, 3, 1))
    assert night.stage_seconds == {"pull": 1.5, "publish": 0.5}
    assert night.work_seconds == 2.0
    assert night.row_counts == {"delivered": 1500, "left out": 0}, "a stage without counts does not wipe them"
    assert demo.arguments[:4] == ("dags", "test", "moon_nightly", "2026-03-01")
    shown = capsys.readouterr().out
    assert " s  pull begins\n" in shown
    assert " s  pull done in 1.5 s: 1,500 delivered, 0 left out\n" in shown
    assert " s  publish done in 0.5 s: nothing to count\n" in shown
    assert "moon: the catalogue is empty\n" in shown
    assert "bundles" not in shown
    assert "once more" not in shown
    assert "airflow.task" not in shown


def test_the_summary_keeps_work_and_overhead_apart(capsys):
    night = nightly.NightTimes(
        wall_seconds=90.0, stage_seconds={"pull": 10.0, "encode": 30.0}, row_counts={"delivered": 5, "encoded": 5}
    )
    nightly.print_summary({date(2026, 3, 1): night, date(2026, 3, 2): night})
    shown = capsys.readouterr().out
    assert "5 delivered, 5 encoded" in shown
    assert shown.count("work         40 s in stages: pull 10.0, encode 30.0") == 2
    assert "2 nights in 180 s: 80 s of work, 100 s of overhead" in shown


def test_only_a_demo_is_deleted(tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").touch()
    with pytest.raises(SystemExit, match="was not made by this command"):
        nightly.create_clean_folder(mine)
    assert (mine / "thesis.txt").exists()

    nightly.create_clean_folder(tmp_path / "demo")
    (tmp_path / "demo" / "old").touch()
    nightly.create_clean_folder(tmp_path / "demo")
    assert [path.name for path in (tmp_path / "demo").iterdir()] == [".moon-demo"]


def test_a_failing_command_names_the_log(tmp_path):
    demo = nightly.DemoRun(tmp_path, 10)
    with pytest.raises(SystemExit, match=re.escape(str(demo.log))):
        demo.run_moon("no-such-command")
    assert "no-such-command" in demo.log.read_text()


def test_a_failed_task_ends_the_demo_instead_of_waiting_for_its_retry(tmp_path, monkeypatch, program):
    program(".venv-airflow/bin/airflow", "echo boom; echo 'unrunnable tasks: {<prepare [up_for_retry]>}'; sleep 60")
    monkeypatch.setattr(nightly, "REPOSITORY", tmp_path)
    demo = nightly.DemoRun(tmp_path, 10)
    with pytest.raises(SystemExit, match="the DAG run failed"):
        list(demo.stream_airflow("dags", "test"))
    assert "boom" in demo.log.read_text()


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_two_nights_of_a_small_shop(tmp_path):
    root = tmp_path / "demo"
    nightly.create_clean_folder(root)
    (root / "lake").mkdir()
    (root / "lake" / "left by an earlier demo").touch()
    command = [sys.executable, str(SCRIPT), "--products", "40", "--root", str(root)]
    answer = subprocess.run(command, check=False, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stdout[-3000:] + answer.stderr[-3000:]
    assert not (root / "lake" / "left by an earlier demo").exists()
    first, second = re.findall(r"  rows      (.*)", answer.stdout)
    delivered = int(re.search(r"(\d+) delivered", first).group(1))
    assert 40 <= delivered < 60, "and some rows that are broken on purpose"
    assert re.search(r"\b0 unchanged", first)
    assert not re.search(r"\b0 unchanged", second), "the second night embeds only what changed"
    assert len(re.findall(r"(?m)^  -?\d\.\d{3}  \S+ ", answer.stdout)) == 9, "three searches with three hits each"
    assert re.search(r"2 nights in \d+ s: \d+ s of work, \d+ s of overhead", answer.stdout)
