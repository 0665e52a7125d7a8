"""A current lake needs no migration, a missing one gets no tables, a later one is refused."""

from pathlib import Path

import pytest

from jobs.lake.store import open_lake
from jobs.operations.migrate import MigrationError, _split_date, migrate_lake


def test_a_lake_of_this_release_is_left_alone(make_settings) -> None:
    settings = make_settings()
    open_lake(settings).open("plans")
    assert migrate_lake(settings) == []


def test_a_lake_that_is_not_there_is_not_made(make_settings) -> None:
    settings = make_settings()
    assert migrate_lake(settings, dry_run=True) == []
    assert not Path(settings.lake).exists()


def test_a_lake_of_a_later_release_is_refused(make_settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = make_settings()
    open_lake(settings).open("plans")
    monkeypatch.setattr("jobs.operations.migrate.LAKE_SCHEMA_VERSION", 1)
    with pytest.raises(MigrationError, match=r"later release.*plans"):
        migrate_lake(settings)


def test_the_suffix_of_a_date_becomes_a_purpose() -> None:
    assert _split_date({"date": "2026-03-02"}) == {"date": "2026-03-02", "purpose": "nightly"}
    assert _split_date({"date": "2026-03-02.15f2b8bf"})["purpose"] == "out-of-band-15f2b8bf"
