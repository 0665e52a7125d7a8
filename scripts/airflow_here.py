"""Starts an Airflow to try on this machine: scheduler, dag-processor, triggerer and web page, on loopback only.

``.venv-airflow/bin/python scripts/airflow_here.py`` runs until Ctrl-C. Its home is ``var/airflow``, with an SQLite
database; the DAGs are those of this repository, and the variables ``MOON_*`` of the shell are theirs. ``airflow
standalone`` is not used, because its log servers listen on all interfaces and it leaves processes behind when it is
stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from airflow_home import REPOSITORY, airflow_environment

AIRFLOW = Path(sys.executable).with_name("airflow")
SERVICES = {
    "api-server": ("--host", "127.0.0.1"),
    "scheduler": ("--skip-serve-logs",),  # a log server listens on all interfaces
    "triggerer": ("--skip-serve-logs",),
    "dag-processor": (),
}
"""Services of an Airflow and their options."""

USER = "admin"
START_SECONDS, STOP_SECONDS = 240, 15


def make_environment(home: Path, port: int, base: Mapping[str, str]) -> dict[str, str]:
    """Return the environment variables of services that share a home, with keys and a password of their own.

    Args:
        home: folder of Airflow's files; the password of `USER` is in its ``passwords.json``.
        port: port of the web page and the REST API on loopback.
        base: variables to add to, among them the database.
    """
    passwords = home / "passwords.json"
    if not passwords.is_file():
        passwords.touch(mode=0o600)
        passwords.write_text(json.dumps({USER: secrets.token_urlsafe(12)}))
    return dict(base) | {
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}",
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API__SECRET_KEY": secrets.token_urlsafe(32),
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_urlsafe(32),
        "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
    }


@contextmanager
def run_services(home: Path, environment: Mapping[str, str]) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """Yield the started services by name; each logs to ``<home>/<name>.log``, and all end with the block.

    Every service is a process group that gets SIGTERM, then SIGKILL.
    """
    services: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name, options in SERVICES.items():
            with (home / f"{name}.log").open("wb") as log:
                services[name] = subprocess.Popen(
                    [AIRFLOW, name, *options], env=environment, cwd=home, stdout=log, stderr=log, start_new_session=True
                )
        yield services
    finally:
        for process in services.values():
            _signal(process, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        for process in services.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.1, deadline - time.monotonic()))
            _signal(process, signal.SIGKILL)
            process.wait()


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def are_healthy(url: str) -> bool:
    """Return whether the web page answers and all four services say that they are healthy."""
    try:
        with urllib.request.urlopen(f"{url}/api/v2/monitor/health", timeout=5) as response:  # noqa: S310  (loopback)
            return all(part["status"] == "healthy" for part in json.load(response).values())
    except (urllib.error.URLError, OSError):
        return False


def main() -> None:
    """Start the services, say where they are, and wait for Ctrl-C."""
    options = _parse_options()
    home = REPOSITORY / "var" / "airflow"
    home.mkdir(parents=True, exist_ok=True)
    url = f"http://127.0.0.1:{options.port}"
    environment = make_environment(home, options.port, airflow_environment(home))
    _run_airflow(environment, "db", "migrate")
    _run_airflow(environment, "pools", "import", str(REPOSITORY / "dags" / "pools.json"))
    for number in (signal.SIGINT, signal.SIGTERM):  # both end it in order; a shell's background job ignores the first
        signal.signal(number, signal.default_int_handler)
    with suppress(KeyboardInterrupt), run_services(home, environment) as services:
        _wait_until_healthy(url, services, home)
        password = json.loads((home / "passwords.json").read_text())[USER]
        print(f"Airflow: {url}  user {USER}, password {password}; logs in {home}; Ctrl-C ends it", flush=True)
        if options.run:
            _start_run(environment, options.run)
        while all(process.poll() is None for process in services.values()):
            time.sleep(1)
        sys.exit(f"a service has ended: look at the logs in {home}")


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Start an Airflow to try on this machine; Ctrl-C ends it.")
    parser.add_argument("--port", type=int, default=8080, help="port of the web page on 127.0.0.1 (default: 8080)")
    parser.add_argument("--run", metavar="DAG", help="unpause this DAG and start a run, such as moon_nightly")
    return parser.parse_args()


def _run_airflow(environment: Mapping[str, str], *arguments: str) -> None:
    """Run an `airflow` command; its output is shown if it fails."""
    done = subprocess.run([AIRFLOW, *arguments], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"airflow {' '.join(arguments)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def _wait_until_healthy(url: str, services: Mapping[str, Any], home: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not are_healthy(url):
        ended = [name for name, process in services.items() if process.poll() is not None]
        if ended or time.monotonic() > deadline:
            what = f"{', '.join(ended)} ended at once" if ended else f"not healthy after {START_SECONDS} s"
            sys.exit(f"Airflow: {what}: look at the logs in {home} (is port {url.rpartition(':')[2]} free?)")
        time.sleep(1)


def _start_run(environment: Mapping[str, str], dag: str) -> None:
    """Unpause a DAG and start a run of it, as soon as the dag-processor has read it."""
    deadline = time.monotonic() + START_SECONDS
    command = [str(AIRFLOW), "dags", "trigger", dag]
    while subprocess.run(command, env=environment, capture_output=True, check=False).returncode:
        if time.monotonic() > deadline:
            sys.exit(f"the DAG {dag} cannot be started: `airflow dags list-import-errors` may say why")
        time.sleep(2)
    _run_airflow(environment, "dags", "unpause", dag)
    print(f"A run of {dag} has started", flush=True)


if __name__ == "__main__":
    main()
