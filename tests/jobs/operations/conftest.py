from pathlib import Path

import pytest

from jobs.operations.check_source import CheckResult, check_source
from tests.jobs.checked_shop import Check, draw_shop


@pytest.fixture
def check_catalog(make_settings) -> Check:
    """Check a catalogue with a mapping file and other settings."""

    def check(
        catalog: str | Path,
        mapping: str | Path | None = None,
        max_rows: int = 5,
        read_rows: int = 100_000,
        **options: object,
    ) -> CheckResult:
        settings = make_settings(mapping=None if mapping is None else str(mapping), **options)
        return check_source(str(catalog), settings, max_rows=max_rows, read_rows=read_rows)

    return check


@pytest.fixture
def drawn_shop(tmp_path: Path) -> Path:
    """A folder with products.csv and two photos."""
    return draw_shop(tmp_path)
