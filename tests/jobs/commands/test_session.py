"""Tests of a command's context: the settings' lake, the date and the overridden breakers."""

from contextlib import contextmanager

import pytest

from jobs.commands.session import open_context


def test_the_context_is_that_of_the_settings(make_settings, monkeypatch: pytest.MonkeyPatch) -> None:
    names = []

    @contextmanager
    def session(settings, name):
        names.append(name)
        yield "session"

    monkeypatch.setattr("jobs.spark.session.open_spark_session", session)
    settings = make_settings()
    with open_context(settings, "repair", "2026-01-02", reason="why") as context:
        assert (context.spark, context.date, context.reason) == ("session", "2026-01-02", "why")
        assert context.lake.storage.uri("x").startswith(settings.lake) or settings.lake in context.lake.storage.uri("x")
    assert names == ["moon repair"]
