"""Fixtures of the tests with whole runs."""

from collections.abc import Callable, Iterator

import pytest

from jobs.settings import Settings
from tests.scenarios.nights import NightProcess


@pytest.fixture
def start_night() -> Iterator[Callable[..., NightProcess]]:
    """Start ``moon nightly`` in a process of its own: the arguments are those of ``NightProcess``."""
    started: list[NightProcess] = []

    def start(settings: Settings, date: str, module: str = "jobs.cli") -> NightProcess:
        started.append(NightProcess(settings, date, module))
        return started[-1]

    yield start
    for context in started:
        if context.process.poll() is None:
            context.kill()
