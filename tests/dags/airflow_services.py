"""Starts Airflow as on a server: scheduler, dag-processor, triggerer and api-server, each in its own process group.

``airflow standalone`` leaves its child processes running after SIGTERM. Every process group gets SIGTERM, then SIGKILL.
"""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
from airflow_here import AIRFLOW, SERVICES, START_SECONDS, USER, are_healthy, make_environment, run_services

from tests.dags.postgres import find_free_port

REPOSITORY = Path(__file__).resolve().parents[2]
ENDED = ("success", "failed")


class Airflow:
    """The services of a running Airflow, its commands and its REST API.

    Args:
        home: AIRFLOW_HOME; the services log there.
        environment: environment variables of services and commands.
        port: port of the REST API.
        password: password of the user `USER`.
    """

    def __init__(self, home: Path, environment: Mapping[str, str], port: int, password: str) -> None:
        self.home = home
        self.environment = environment
        self.url = f"http://127.0.0.1:{port}"
        self.services: dict[str, subprocess.Popen[bytes]] = {}
        self._password = password
        self._client: httpx.Client | None = None

    def run(self, *arguments: str) -> str:
        """Run an `airflow` command and return its output."""
        result = subprocess.run(
            [AIRFLOW, *arguments], env=self.environment, capture_output=True, text=True, check=False, cwd=self.home
        )
        assert result.returncode == 0, f"airflow {' '.join(arguments)}:\n{result.stdout[-2000:]}{result.stderr[-4000:]}"
        return result.stdout

    def call(self, method: str, path: str, **options: Any) -> Any:
        """Call the REST API as a logged-in user and return the JSON of the response."""
        if self._client is None:
            login = {"username": USER, "password": self._password}
            token = httpx.post(f"{self.url}/auth/token", json=login, timeout=60).raise_for_status().json()
            headers = {"Authorization": f"Bearer {token['access_token']}"}
            self._client = httpx.Client(base_url=f"{self.url}/api/v2", headers=headers, timeout=60)
        response = self._client.request(method, path, **options)
        assert response.is_success, f"{method} {path}: {response.status_code} {response.text[:1000]}"
        return response.json() if response.content else None

    def trigger(self, dag: str, **conf: Any) -> str:
        """Start a run over REST without a logical date and return its id."""
        return self.call("POST", f"/dags/{dag}/dagRuns", json={"logical_date": None, "conf": conf})["dag_run_id"]

    def unpause(self, dag: str) -> None:
        """Unpause a DAG."""
        self.call("PATCH", f"/dags/{dag}", json={"is_paused": False})

    def list_runs(self, dag: str) -> list[dict[str, Any]]:
        """Return the runs of a DAG as the REST API shows them."""
        return self.call("GET", f"/dags/{dag}/dagRuns")["dag_runs"]

    def get_tasks(self, dag: str, run: str) -> dict[str, dict[str, Any]]:
        """Return the task instances of a run by task id."""
        found = self.call("GET", f"/dags/{dag}/dagRuns/{run}/taskInstances")["task_instances"]
        return {task["task_id"]: task for task in found}

    def wait_for_run(self, dag: str, run: str, seconds: float, state: str = "success") -> dict[str, Any]:
        """Return a run after its end; fail with its logs if its state is another than `state`."""
        found = wait_until(
            lambda: self._get_ended_run(dag, run), seconds, f"the end of {dag} {run}", self.read_service_logs
        )
        assert found["state"] == state, (
            f"{dag} {run}: {found['state']}\n{self.read_task_logs(dag, run)}\n{self.read_service_logs()}"
        )
        return found

    def read_task_logs(self, dag: str, run: str, characters: int = 3000) -> str:
        """Return the last characters of the log of each task of a run."""
        files = sorted(self.home.glob(f"logs/dag_id={dag}/run_id={run}/**/*.log"))
        return "\n".join(f"== {file.relative_to(self.home)}\n{file.read_text()[-characters:]}" for file in files)

    def list_ended_services(self) -> list[str]:
        """Return the names of the services that have ended."""
        return [name for name, process in self.services.items() if process.poll() is not None]

    def read_service_logs(self) -> str:
        """Return the last characters of each service's log."""
        return "\n".join(f"== {name}\n{(self.home / f'{name}.log').read_text()[-2000:]}" for name in SERVICES)

    def _get_ended_run(self, dag: str, run: str) -> dict[str, Any] | None:
        found = self.call("GET", f"/dags/{dag}/dagRuns/{run}")
        return found if found["state"] in ENDED else None


@contextmanager
def airflow_services(home: Path, base: Mapping[str, str], bundles: Mapping[str, Path]) -> Iterator[Airflow]:
    """Yield the four services on a migrated database; all processes they started end with the block.

    Args:
        home: empty folder for AIRFLOW_HOME.
        base: environment variables, among them the database URL (``AIRFLOW__DATABASE__SQL_ALCHEMY_CONN``).
        bundles: folders of DAG files by name.
    """
    port = find_free_port()
    bundle = "airflow.dag_processing.bundles.local.LocalDagBundle"
    listed = [{"name": name, "classpath": bundle, "kwargs": {"path": str(path)}} for name, path in bundles.items()]
    environment = make_environment(home, port, base) | {
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps(listed),
        "AIRFLOW__WORKERS__SOCKET_CLEANUP_TIMEOUT": "5",  # seconds that the retry of a killed task waits for its job
    }
    password = json.loads((home / "passwords.json").read_text())[USER]
    airflow = Airflow(home, environment, port, password)
    airflow.run("db", "migrate")
    airflow.run("pools", "import", str(REPOSITORY / "dags" / "pools.json"))
    try:
        with run_services(home, environment) as airflow.services:
            wait_until(lambda: _are_healthy(airflow), START_SECONDS, "four healthy services", airflow.read_service_logs)
            yield airflow
    finally:
        _kill_leftovers(home)


def _kill_leftovers(home: Path) -> None:
    """Kill processes that outlived their service: tasks and jobs have own sessions, but all have this AIRFLOW_HOME."""
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if process.environ().get("AIRFLOW_HOME") == str(home) and process.pid != os.getpid():
                process.kill()


def wait_until(look: Callable[[], Any], seconds: float, what: str, explain: Callable[[], str] = str) -> Any:
    """Return the first true result of a function that is called once a second.

    Args:
        look: function to call.
        seconds: time after which the test fails.
        what: what is waited for, in the message of the failure.
        explain: returns details for the message.
    """
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"no {what} within {seconds:.0f} s\n{explain()}"
        time.sleep(1)
    return found


def _are_healthy(airflow: Airflow) -> bool:
    assert not airflow.list_ended_services(), (
        f"{airflow.list_ended_services()} ended at once\n{airflow.read_service_logs()}"
    )
    return are_healthy(airflow.url)
