"""docs/tutorial.md works as written, block after block, and examples/explore.ipynb runs on the lake that it leaves."""

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

pytestmark = pytest.mark.long

REPOSITORY = Path(__file__).resolve().parents[1]
TRIED = re.findall(
    r"^```sh tried\n(.*?)^```$", (REPOSITORY / "docs" / "tutorial.md").read_text(), re.MULTILINE | re.DOTALL
)


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, "subprocess.CompletedProcess[str]"]:
    """Run the tutorial in an empty folder; return the folder and the ended shell."""
    folder = tmp_path_factory.mktemp("tutorial")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MOON_")}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    command = ["bash", "-euo", "pipefail", "-c", "".join(TRIED)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return folder, done


def test_the_tutorial_works_as_written(tried: tuple[Path, "subprocess.CompletedProcess[str]"]) -> None:
    _, done = tried
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "Traceback" not in done.stderr
    assert "Night 2026-01-06" in done.stdout
    assert "shirt" in done.stdout.lower()


def test_every_cell_of_the_notebook_runs(
    tried: tuple[Path, "subprocess.CompletedProcess[str]"], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = tried
    monkeypatch.setenv("MOON_LAKE", str(folder / "lake"))
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.delenv("MPLBACKEND", raising=False)  # the kernel draws into its cells
    notebook = nbformat.read(REPOSITORY / "examples" / "explore.ipynb", as_version=4)  # type: ignore[no-untyped-call]
    assert not any(cell.get("outputs") for cell in notebook.cells), "commit the notebook without outputs"
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(REPOSITORY / "examples")}}).execute()
    texts = [
        str(output.get("data", output.get("text", ""))) for cell in notebook.cells for output in cell.get("outputs", ())
    ]
    assert any("vectors of model" in text for text in texts)
    assert sum("image/png" in text for text in texts) >= 3
