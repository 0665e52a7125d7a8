"""The lake and collection of release 0.1 (tests/golden/0.1), copied to the absolute path at which they were made."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
GOLDEN = REPOSITORY / "tests" / "golden" / "0.1"
PLACE = Path("/tmp/moon-golden-0.1")  # noqa: S108
"""Image paths are part of content hashes, so the files must be at their original path."""

SETTINGS = {"lake": str(PLACE / "lake"), "milvus": str(PLACE / "milvus.db"), "breaker_floor": 10}
EXPECTED: dict[str, Any] = json.loads((GOLDEN / "expected.json").read_text(encoding="utf-8"))


@contextmanager
def golden_lake() -> Iterator[Path]:
    """Yield the folder of a fresh copy with the checkpoints that 0.1 used; it is removed afterwards.

    Only one test process may use it at a time: all tests of one file run in one process.
    """
    shutil.rmtree(PLACE, ignore_errors=True)
    shutil.copytree(GOLDEN, PLACE)
    checkpoints = PLACE / "checkpoints"
    for name in ("moon-tiny", "detector"):
        shutil.copytree(REPOSITORY / "checkpoints" / name, checkpoints / name)
    try:
        yield PLACE
    finally:
        shutil.rmtree(PLACE, ignore_errors=True)


def put_other_model(checkpoint: Path) -> None:
    """Change a checkpoint to another model version, as a new release would: same weights, other processing."""
    file = checkpoint / "processor_config.json"
    file.write_text(file.read_text().replace('"lowercase": true', '"lowercase": false'))
