"""Tests of ``moon evaluate`` on the command line."""

import json

import pytest
from typer.testing import CliRunner

from jobs.cli import app
from moon_model.evaluation.catalogue import MIN_PRODUCTS
from tests.moon_model.evaluation.test_mbe import SAMPLE


@pytest.fixture
def moon(make_settings, tiny_checkpoint, tmp_path, monkeypatch):
    """Runs a command in an empty folder, with a tiny random model."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MOON_MODEL", str(tiny_checkpoint))
    monkeypatch.setenv("MOON_LAKE", make_settings().lake)
    return lambda *arguments: CliRunner().invoke(app, ["evaluate", *arguments], env={"COLUMNS": "200"})


def test_it_writes_figures_tables_and_plots(moon, tmp_path):
    done = moon("--data", f"mbe={SAMPLE / 'rows.jsonl'}", "--out", "found", "--json")
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert document == json.loads((tmp_path / "found" / "evaluation.json").read_text("utf-8"))
    assert [one["name"] for one in document["benchmarks"]] == ["MBE"]
    embedders = {row["embedder"] for row in document["rows"]}
    assert embedders == {"MOON", "EfficientNet-Lite0", "TF-IDF + colours", "chance"}
    tables = (tmp_path / "found" / "evaluation.md").read_text("utf-8")
    assert "\n## MBE\n" in tables
    assert document["model_version"][:12] in tables
    assert [path.name for path in (tmp_path / "found").glob("*.png")] == ["1-MBE.png"]


@pytest.mark.long
def test_the_demo_shop_is_drawn_as_large_as_asked(moon, tmp_path):
    done = moon("--products", "20", "--seed", "901", "--no-baselines")
    assert done.exit_code == 0, done.output
    assert "## demo shop 901" in done.stdout
    assert "| task | metric | queries | MOON |\n" in done.stdout
    written = json.loads((tmp_path / "var" / "evaluation" / "evaluation.json").read_text("utf-8"))
    assert written["benchmarks"][0]["products"] == 20
    assert (tmp_path / "var" / "evaluation" / "evaluation.md").read_text("utf-8") in done.stdout + "\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--data", "mnist"], "'mnist' is none of demo, lake, grocery=PATH"),
        (["--data", "demo=here"], "'demo=here' is none of"),
        (["--data", "grocery"], "say where it is: --data grocery=PATH"),
        (["--seed", "101"], "seed 101 is used in training"),
        (["--products", "5"], "greater than or equal to 20"),
    ],
)
def test_a_slip_is_explained(moon, arguments, says):
    failed = moon(*arguments)
    assert failed.exit_code == 2
    assert says in " ".join(failed.stderr.replace("│", " ").split())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--data", "eshop=nowhere"], "nowhere is not eShop's catalogue"),
        (["--data", f"mbe={SAMPLE / 'rows.jsonl'}", "--model", "nowhere"], "nowhere"),
        (["--data", f"mbe={SAMPLE / 'rows.jsonl'}", "--minilm", "nowhere"], "holds no all-MiniLM-L6-v2; get it with"),
    ],
)
def test_what_is_missing_is_named(moon, arguments, says):
    failed = moon(*arguments)
    assert failed.exit_code == 1
    assert says in str(failed.exception)


def test_too_few_products_are_no_benchmark(moon, tmp_path):
    few = (SAMPLE / "rows.jsonl").read_text("utf-8").splitlines()[: MIN_PRODUCTS - 1]
    (tmp_path / "few.jsonl").write_text("\n".join(few), encoding="utf-8")
    (tmp_path / "images").symlink_to(SAMPLE / "images")
    failed = moon("--data", "mbe=few.jsonl")
    assert f"MBE: nothing to ask; a task needs {MIN_PRODUCTS} products" in str(failed.exception)
    assert not (tmp_path / "var").exists()
