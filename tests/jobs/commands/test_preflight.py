"""Tests of the checks before Spark starts: one sentence with its remedy and exit status, and nothing is created."""

import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from jobs.cli import app
from jobs.commands.preflight import check_catalog, check_lake, check_milvus, check_model
from jobs.commands.session import open_context
from jobs.errors import EXIT_INPUT, EXIT_USAGE, MoonError, NightStoppedError, UsageError
from jobs.milvus.lite import LitePathError
from jobs.milvus.retrying import MilvusUnreachableError
from jobs.settings import Settings

Make = Callable[..., Settings]
MAPPING = 'id = "Id"\ntitle = "Title"\n[images]\ncolumns = ["Photo"]\n'


def test_a_lake_that_is_none(make_settings: Make, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match=r"cannot be a folder, because .*file is none: name another with --lake"):
        check_lake(make_settings(lake=str(tmp_path / "file" / "lake")))
    wrong = make_settings(lake=str(tmp_path / "typo"))
    with pytest.raises(UsageError, match=r"no lake at .*typo: name the right one with --lake"):
        check_lake(wrong, must_exist=True)
    check_lake(wrong)
    assert not (tmp_path / "typo").exists()


def test_a_milvus_that_is_none(make_settings: Make, tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # nobody listens
        address = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(MilvusUnreachableError, match="name another with --milvus"):
            check_milvus(make_settings(milvus=address, milvus_retry_seconds=0, milvus_timeout=2))
    (tmp_path / "photos").mkdir()
    check_milvus(make_settings(milvus=str(tmp_path / "photos")))
    (tmp_path / "photos" / "a.jpg").write_bytes(b"x")
    with pytest.raises(LitePathError, match=r"photos holds other files .*--milvus"):
        check_milvus(make_settings(milvus=str(tmp_path / "photos")))
    with pytest.raises(UsageError, match="cannot be a folder"):
        check_milvus(make_settings(milvus=str(tmp_path / "photos" / "a.jpg")))
    check_milvus(make_settings(milvus=str(tmp_path / "new.db")))
    assert not (tmp_path / "new.db").exists()


def test_a_model_that_is_none(make_settings: Make, tmp_path: Path) -> None:
    settings = make_settings(model=str(tmp_path / "none"), lake=str(tmp_path / "lake"))
    with pytest.raises(UsageError, match=r"no model in .*none .*--model or MOON_MODEL"):
        check_model(settings)
    with pytest.raises(UsageError, match="MOON_DETECTOR"):
        check_model(make_settings(detector=str(tmp_path / "none"), lake=str(tmp_path / "lake")))
    (tmp_path / "lake" / "_models").mkdir(parents=True)
    check_model(settings)  # the lake may have a copy of it


def test_a_catalogue_and_a_mapping_that_are_none(make_settings: Make, tmp_path: Path) -> None:
    settings = make_settings(catalog=str(tmp_path / "{date}.csv"))
    with pytest.raises(NightStoppedError, match=r"no catalogue of 2026-01-02 at .*2026-01-02.csv.*--catalog"):
        check_catalog(settings, "2026-01-02")
    (tmp_path / "2026-01-02.csv").write_text("Id,Title,Photo\n")
    with pytest.raises(NightStoppedError, match=r"no mapping at .*moon check-source"):
        check_catalog(settings, "2026-01-02")
    (tmp_path / "mapping.toml").write_text("id = [")
    with pytest.raises(NightStoppedError, match=r"mapping.toml"):
        check_catalog(settings, "2026-01-02")
    (tmp_path / "mapping.toml").write_text(MAPPING)
    check_catalog(settings, "2026-01-02")
    check_catalog(make_settings(catalog=str(tmp_path / "*.csv")), "2026-01-02")


@pytest.fixture
def without_spark(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("Spark starts")

    monkeypatch.setattr("jobs.spark.session.open_spark_session", fail)


@pytest.mark.usefixtures("without_spark")
@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("nightly", "--catalog", "none.csv"), EXIT_INPUT, "no catalogue of"),
        (("repair",), EXIT_USAGE, "no lake at"),
        (("compare", "--model", "aaaa", "--model", "bbbb"), EXIT_USAGE, "no lake at"),
        (("audit",), EXIT_USAGE, "no lake at"),
        (("check-lake",), EXIT_USAGE, "no lake at"),
        (("maintain", "--dry-run"), EXIT_USAGE, "no lake at"),
        (("plan", "--model", "none"), EXIT_USAGE, "no model in none"),
    ],
)
def test_a_mistake_is_found_before_spark_starts(
    arguments: tuple[str, ...], status: int, said: str, make_settings: Make
) -> None:
    settings = make_settings()
    done = CliRunner().invoke(app, [*arguments, "--lake", settings.lake])
    assert isinstance(done.exception, MoonError) and said in str(done.exception)
    assert done.exception.exit_status == status
    assert not Path(settings.lake).exists()


@pytest.mark.usefixtures("without_spark")
def test_a_lake_that_cannot_be_one_stops_every_command(make_settings: Make, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with (
        pytest.raises(UsageError, match="cannot be a folder"),
        open_context(make_settings(lake=str(tmp_path / "file")), "x"),
    ):
        pass


@pytest.mark.parametrize("verb", ["status", "quarantine", "search x"])
def test_commands_that_read_create_nothing(verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOON_LAKE", str(tmp_path / "lake"))
    monkeypatch.setenv("MOON_MILVUS", str(tmp_path / "milvus.db"))
    CliRunner().invoke(app, verb.split())
    assert list(tmp_path.iterdir()) == []
