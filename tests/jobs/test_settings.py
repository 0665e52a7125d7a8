"""Tests of settings: read from the environment, overridden by options, secrets hidden."""

from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from jobs.settings import Settings


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
