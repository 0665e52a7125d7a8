"""Tests of ``moon backfill`` and ``moon compare`` on the command line, up to the start of Spark."""

import pytest
import typer
from typer.testing import CliRunner

from jobs.cli import app
from jobs.commands.analyst import _confirm_long_work, _summarise_days, print_comparison
from jobs.commands.output import make_console
from jobs.errors import NightStoppedError
from jobs.operations.backfill import BackfillDay, BackfillPlan
from jobs.state.model_registry import ModelChoice

MODEL = ModelChoice("/checkpoint", "a" * 64, "d" * 16, dimension=4, max_images=2, collection="moon_a")
RANGE = ["--from", "2026-11-01", "--to", "2026-11-02"]


def moon(*arguments: str):
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"})


def ahead(seconds, gpus=0):
    return BackfillPlan(MODEL, (BackfillDay("2026-11-01", "due", 10, 12, seconds),), gpus)


def test_backfill_explains_itself():
    shown = moon("backfill", "--help").stdout
    wanted = (
        "--from",
        "--to",
        "--where",
        "--model",
        "--dry-run",
        "--yes",
        "category_1",
        "deletes nothing",
        "--scratch",
    )
    assert [word for word in wanted if word not in " ".join(shown.split())] == []


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--where", 'brand == "A"'], "--where needs --model"),
        (["--scratch", "7"], "--scratch needs --model"),
        (["--model", "m", "--allow-deletes", "0.5"], "no breaker to lift"),
        (["--model", "m", "--allow-shift", "0.5"], "no breaker to lift"),
        (["--allow-shift", "0.5"], "needs a reason"),
        (["--allow-deletes", "0.5"], "add --reason"),
    ],
)
def test_what_does_not_go_together(more, says):
    failed = moon("backfill", *RANGE, *more)
    assert failed.exit_code != 0
    assert says in str(failed.exception)


def test_dates_are_needed_and_checked():
    assert moon("backfill", "--from", "2026-11-01").exit_code == 2
    assert moon("backfill", "--from", "1.11.2026", "--to", "2026-11-02").exit_code == 2
    assert "earlier date" in str(moon("backfill", "--from", "2026-11-03", "--to", "2026-11-02").exception)


def test_compare_takes_two_models():
    shown = " ".join(moon("compare", "--help").stdout.split())
    assert [word for word in ("--model", "--date", "--sample", "--seed", "Overlap") if word not in shown] == []
    assert moon("compare", "--model", "aaaa").exit_code == 2


def test_a_comparison_is_shown_with_titles_as_they_are(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    other = {"product_id": "q", "title": "mug [sale]"}
    row = {"product_id": "p", "title": "boot", "overlap": 0.5, "first": [other], "second": [other]}
    found = {
        "date": "2026-11-01", "models": ["a" * 64, "b" * 64], "products": 1200, "only_first": 0, "only_second": 3,
        "sample": 1200, "queries": 1000, "k": 10, "overlap": 0.75, "overlap_p10": 0.5, "first": 0.8, "changed": [row],
        "same_category": [0.5, 0.25],
    }  # fmt: skip
    print_comparison(found, make_console())
    shown = capsys.readouterr().out
    assert "own category: 50.0% and 25.0%" in shown
    assert "1,200 products" in shown and "overlap@10" in shown and "mug [sale]" in shown
    print_comparison(found | {"changed": [], "same_category": [None, None]}, make_console())
    shown = capsys.readouterr().out
    assert "No product has other neighbours" in shown and "category" not in shown


def test_long_or_unknown_work_is_asked_about(monkeypatch):
    _confirm_long_work(ahead(3600.0), 1.0, is_silent=True)
    with pytest.raises(NightStoppedError, match=r"about 1\.5 hours .*--yes"):
        _confirm_long_work(ahead(5400.0), 1.0, is_silent=True)
    with pytest.raises(NightStoppedError, match="an unknown time"):
        _confirm_long_work(ahead(None), 1.0, is_silent=True)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr(typer, "confirm", lambda text, abort: questions.append((text, abort)))
    questions: list[tuple[str, bool]] = []
    _confirm_long_work(ahead(5400.0), 1.0, is_silent=False)
    assert questions == [("This takes about 1.5 hours. Continue?", True)]


def test_the_summary_names_time_and_gpu_hours():
    assert "about 7,200 s by earlier runs, 4.00 GPU-hours" in _summarise_days(ahead(7200.0, gpus=2).document())
    assert "no GPU here" in _summarise_days(ahead(7200.0).document())
    assert "no time is known" in _summarise_days(ahead(None).document())
