"""Tests of the catalogue commands on the command line."""

import inspect
import json
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from jobs.catalog.part_reader import MAX_READ_ROWS
from jobs.commands import source
from jobs.errors import MoonError

app = typer.Typer()
source.register(app)


def moon(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("MOON_CATALOG", "MOON_MAPPING", "MOON_ALLOWED_ROOTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "shop"
    result = moon("demo-catalog", "--out", out, "--products", 4, "--days", 1, "--start", "2026-11-20", "--no-broken")
    assert result.exit_code == 0, result.output
    assert "4 rows" in result.output.replace("\n", " ")
    return out


def test_a_demo_shop_passes_its_own_check(shop: Path) -> None:
    result = moon("check-source", "--catalog", shop / "{date}" / "catalog.jsonl")
    assert result.exit_code == 0, result.output
    assert "A night can use this catalogue" in result.output


def test_the_last_line_is_an_estimate_where_rows_are_left_unread(shop: Path) -> None:
    result = moon("check-source", "--catalog", shop / "{date}" / "catalog.jsonl", "--read-rows", 2)
    assert result.exit_code == 0, result.output
    assert "An estimate from the 2 rows that were read: the file goes on." in result.output.splitlines()[-1]
    default = inspect.signature(source.check_catalog).parameters["read_rows"].default
    assert default == MAX_READ_ROWS


def test_json_prints_one_document(shop: Path) -> None:
    result = moon("check-source", "--catalog", shop / "2026-11-20" / "catalog.jsonl", "--json", "--rows", 2)
    document = json.loads(result.stdout)
    assert document["ok"]
    assert len(document["rows"]) == 2
    assert all(image["width"] >= 288 for row in document["rows"] for image in row["images"])
    summary = json.loads(
        moon(
            "demo-catalog",
            "--out",
            shop,
            "--products",
            4,
            "--days",
            1,
            "--start",
            "2026-11-20",
            "--no-broken",
            "--json",
        ).stdout
    )
    assert summary["rows"] == {"2026-11-20": 4}
    assert summary["drawn"] == 0


def test_problems_end_with_status_1(tmp_path: Path) -> None:
    assert moon("check-source", "--catalog", tmp_path / "none.csv").exit_code == 1
    failed = moon("check-source", "--catalog", tmp_path / "none.csv", "--json")
    assert failed.exit_code == 1
    assert json.loads(failed.stdout)["ok"] is False


def test_a_suggestion_is_saved_once_and_never_over_a_file(shop: Path) -> None:
    (shop / "mapping.toml").unlink()
    catalog, out = shop / "2026-11-20" / "catalog.jsonl", shop / "m.toml"
    assert moon("check-source", "--catalog", catalog, "--out", out).exit_code == 0
    assert 'id = "id"' in out.read_text()
    again = moon("check-source", "--catalog", catalog, "--out", out)
    assert isinstance(again.exception, MoonError)
    assert "exists" in str(again.exception)
    named = moon("check-source", "--catalog", catalog, "--mapping", out, "--out", shop / "n.toml")
    assert "nothing to save" in str(named.exception)
    nowhere = moon("check-source", "--catalog", catalog, "--out", shop / "no" / "m.toml")
    assert "cannot write" in str(nowhere.exception)


def test_the_catalogue_may_come_from_the_environment(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = moon("check-source")
    assert missing.exit_code == 2
    monkeypatch.setenv("MOON_CATALOG", str(shop / "2026-11-20" / "catalog.jsonl"))
    assert moon("check-source").exit_code == 0


def test_days_end_today_unless_a_start_is_given(tmp_path: Path) -> None:
    document = json.loads(
        moon("demo-catalog", "--out", tmp_path / "a", "--products", 1, "--no-broken", "--json").stdout
    )
    assert sorted(document["rows"])[-1] == datetime.now(UTC).date().isoformat()
    assert moon("demo-catalog", "--out", tmp_path / "b", "--start", "22.11.2026").exit_code == 2
    assert source._parse_day("2026-11-22") == date(2026, 11, 22)


@pytest.mark.parametrize("odd", ["[abc]", "[z]:smile:"])
def test_headings_values_and_paths_with_markup_are_printed_as_they_are(shop: Path, odd: str) -> None:
    folder = shop / f"x{odd}"
    folder.mkdir()
    heading = json.dumps(odd)
    (folder / "a.csv").write_text(f"sku,name,image,h{odd}[/b]\n1,Mug{odd}[/b],a.jpg,v{odd}\n")
    (folder / "mapping.toml").write_text(f'id = "sku"\ntitle = "name"\nimages = "image"\ncategory = {heading}\n')
    result = moon("check-source", "--catalog", folder / "a.csv")
    assert result.exit_code == 1  # the category's column is not there
    assert f"Mug{odd}[/b]" in result.output
    assert f"column '{odd}', which" in result.output.replace("\n", " ")
    assert f"x{odd}/mapping.toml" in result.output.replace("\n", "")
    document = json.loads(moon("check-source", "--catalog", folder / "a.csv", "--json").stdout)
    assert document["rows"][0]["title"] == f"Mug{odd}[/b]"
    assert document["columns"][3] == f"h{odd}[/b]"
    (folder / "mapping.toml").unlink()
    (shop / "mapping.toml").unlink()
    saved = folder / f"m{odd}.toml"
    result = moon("check-source", "--catalog", folder / "a.csv", "--out", saved)
    assert f"m{odd}.toml" in result.stderr.replace("\n", "")
    assert saved.exists()
