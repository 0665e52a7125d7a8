"""Tests of settings: read from the environment, overridden by options, secrets hidden."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import ValidationError

from jobs.settings import Settings, _warn_of_name


def test_environment_then_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOON_LAKE", "/data/lake")
    monkeypatch.setenv("MOON_MILVUS", "http://127.0.0.1:19530")
    settings = Settings(_env_file=None)
    assert (settings.lake, settings.is_lite) == ("/data/lake", False)
    other = settings.replace(lake="/other", milvus=None)
    assert (other.lake, other.milvus) == ("/other", "http://127.0.0.1:19530")
    assert settings.lake == "/data/lake"


def test_a_wrong_value_names_its_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOON_MAX_DELETES", "lots")
    with pytest.raises(ValidationError, match="max_deletes"):
        Settings(_env_file=None)


def test_secrets_are_hidden_and_survive_replace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOON_MILVUS_TOKEN", "root:verysecret")
    monkeypatch.setenv("MOON_LAKE_STORAGE_OPTIONS", '{"AWS_SECRET_ACCESS_KEY": "verysecret"}')
    settings = Settings(_env_file=None).replace(alias="x")
    assert "verysecret" not in repr(settings)
    assert settings.milvus_token.get_secret_value() == "root:verysecret"
    assert settings.storage_options() == {"AWS_SECRET_ACCESS_KEY": "verysecret"}


@pytest.mark.parametrize(
    ("zone", "offset", "moment", "expected"),
    [
        ("UTC", 0, datetime(2026, 11, 22, 0, 30, tzinfo=UTC), "2026-11-22"),
        ("America/New_York", 0, datetime(2026, 11, 22, 0, 30, tzinfo=UTC), "2026-11-21"),
        ("Asia/Shanghai", 1, datetime(2026, 11, 22, 20, 0, tzinfo=UTC), "2026-11-22"),
    ],
)
def test_the_snapshot_date_is_the_shops(zone: str, offset: int, moment: datetime, expected: str) -> None:
    settings = Settings(_env_file=None, timezone=zone, snapshot_offset_days=offset)
    assert settings.compute_snapshot_date(moment) == expected


@pytest.mark.parametrize("zone", ["Europe/Berln", "", "../etc/passwd", "/etc/localtime"])
def test_an_unknown_time_zone_is_refused(zone: str) -> None:
    with pytest.raises(ValidationError, match="no time zone"):
        Settings(_env_file=None, timezone=zone)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"spark_memory": "two"}, "no size of Java's"),
        ({"spark_master": "loca[2]"}, "no Spark master"),
        ({"milvus": "http:/host:19530"}, "neither a path nor a URI"),
        ({"milvus": "ftp://host"}, "neither a path nor a URI"),
        ({"allowed_roots": "/data"}, "no JSON"),
    ],
)
def test_a_value_of_no_use_is_refused_before_anything_starts(options: dict[str, str], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Settings(_env_file=None, **options)


@pytest.mark.parametrize(
    "master",
    ["local", "local[*]", "local[2]", "local[2, 3]", "local-cluster[2,1,1024]", "yarn", "spark://a:7077,b:7077"],
)
def test_every_master_of_spark_is_accepted(master: str) -> None:
    assert Settings(_env_file=None, spark_master=master).spark_master == master


def test_a_misspelt_name_is_warned_of_once_and_a_foreign_one_is_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _warn_of_name.cache_clear()
    monkeypatch.setenv("MOON_GPU", "1")
    monkeypatch.setenv("MOON_CHECKPOINTS", "/models")
    Settings(_env_file=None)
    assert not caplog.records
    (tmp_path / ".env").write_text("MOON_MAX_DELETE=0.2\n")
    Settings(_env_file=tmp_path / ".env")
    monkeypatch.setenv("MOON_MAX_DELETE", "0.2")
    Settings(_env_file=None)
    [record] = caplog.records
    assert "do you mean MOON_MAX_DELETES" in record.getMessage()
