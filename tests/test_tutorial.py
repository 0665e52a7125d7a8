"""docs/tutorial.md: the blocks marked *tried* work as written, one after the other, in an empty folder."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
TRIED = re.findall(
    r"^```sh tried\n(.*?)^```$", (REPOSITORY / "docs" / "tutorial.md").read_text(), re.MULTILINE | re.DOTALL
)


@pytest.mark.long
def test_the_tutorial_works_as_written(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MOON_")}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "".join(TRIED)],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "Traceback" not in done.stderr
    assert (tmp_path / "lake").is_dir()
    assert re.search(r"Night 2026-01-06", done.stdout)
    assert "shirt" in done.stdout.lower()
