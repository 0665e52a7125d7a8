"""docs/airflow.md, "Try it on this machine": the block as it stands starts Airflow, and its run serves the shop."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.dags.airflow_services import wait_until
from tests.dags.postgres import find_free_port

REPOSITORY = Path(__file__).resolve().parents[2]
START = ".venv-airflow/bin/python scripts/airflow_here.py"
RUN_SECONDS = 1200
"""Limit of start and run, which take two minutes on two idle cores."""

pytestmark = [pytest.mark.long, pytest.mark.timeout(2 * RUN_SECONDS)]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder that looks like the checkout, so that the block writes its ``var`` elsewhere."""
    for path in REPOSITORY.iterdir():
        if path.name not in ("var", ".git", "scripts"):
            (tmp_path / path.name).symlink_to(path)
    (tmp_path / "scripts").mkdir()
    for path in (REPOSITORY / "scripts").glob("*.py"):
        (tmp_path / "scripts" / path.name).write_bytes(path.read_bytes())
    return tmp_path


@pytest.fixture
def started(checkout: Path) -> Iterator[tuple[str, Path]]:
    """Run the block with a free port; yield the base address and the file of its output; end it as Ctrl-C does."""
    page = (REPOSITORY / "docs" / "airflow.md").read_text()
    (block,) = re.findall(r"^```sh tried\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    port = find_free_port()
    assert START in block
    block = block.replace("make setup\n", "").replace(START, f"exec {START} --port {port}")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "MOON_"))}
    output = checkout / "output.txt"
    with output.open("wb") as log:
        shell = subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", block], cwd=checkout, env=kept, stdout=log, stderr=log
        )
    try:
        yield f"http://127.0.0.1:{port}", output
    finally:
        shell.send_signal(signal.SIGINT)
        shell.wait(60)


def test_the_block_serves_the_shop(started: tuple[str, Path], checkout: Path) -> None:
    url, output = started
    said = re.compile(r"user (\w+), password (\S+);")
    found = wait_until(lambda: said.search(output.read_text()), RUN_SECONDS, "page", output.read_text)
    login = dict(zip(("username", "password"), found.groups(), strict=True))
    token = httpx.post(f"{url}/auth/token", json=login, timeout=60).raise_for_status().json()["access_token"]
    client = httpx.Client(base_url=f"{url}/api/v2", headers={"Authorization": f"Bearer {token}"}, timeout=60)

    def find_state() -> str | None:
        runs = client.get("/dags/moon_nightly/dagRuns").raise_for_status().json()["dag_runs"]
        return next((run["state"] for run in runs if run["state"] in ("success", "failed")), None)

    state = wait_until(find_state, RUN_SECONDS, "end of the run", output.read_text)
    assert state == "success", output.read_text()
    assert (checkout / "var/airflow/lake/served/_delta_log").is_dir()
    assert client.get("/dags/moon_nightly").json()["is_paused"] is False
