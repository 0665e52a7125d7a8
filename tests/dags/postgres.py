"""Starts a Postgres server on the loopback interface for a test, where Debian's package is installed."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

START_SECONDS = 60


def find_binaries() -> Path | None:
    """Return the folder of initdb and postgres, from PATH or from Debian's folder; None if there is none."""
    on_path = shutil.which("initdb")
    places = [Path(on_path).resolve().parent] if on_path else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((place for place in places if {"initdb", "postgres"} <= {file.name for file in place.iterdir()}), None)


def explain_missing_postgres() -> str:
    """Return why Postgres cannot be started on this machine; an empty string where it can."""
    if find_binaries() is None:
        return "no initdb and postgres (Debian: apt-get install postgresql)"
    if os.geteuid() == 0 and not _find_postgres_user():
        return "Postgres refuses to run as root, and there is no user postgres"
    return ""


@contextmanager
def postgres() -> Iterator[str]:
    """Yield the SQLAlchemy URL of an empty database; the server ends with the block."""
    place = find_binaries()
    assert place is not None
    user = _find_postgres_user() if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="moon-postgres-"))
    if user:
        shutil.chown(folder, user)
    data = folder / "data"
    port = find_free_port()
    log = folder / "server.log"
    trust = ["-U", "airflow", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C"]
    subprocess.run([place / "initdb", "-D", data, *trust], check=True, user=user, cwd="/", stdout=subprocess.DEVNULL)
    options = {"listen_addresses": "127.0.0.1", "unix_socket_directories": str(folder), "fsync": "off"}
    command = [
        place / "postgres",
        "-D",
        data,
        "-p",
        str(port),
        *(f"--{name}={value}" for name, value in options.items()),
    ]
    with log.open("wb") as output:
        server = subprocess.Popen(command, user=user, cwd="/", stdout=output, stderr=output, start_new_session=True)
    try:
        _wait_for_server(server, port, log)
        yield f"postgresql+psycopg2://airflow@127.0.0.1:{port}/postgres"
    finally:
        server.send_signal(signal.SIGINT)  # fast shutdown: Postgres disconnects its clients
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()
        shutil.rmtree(folder, ignore_errors=True)


def find_free_port() -> int:
    """Return a port of the loopback interface that is free at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _find_postgres_user() -> str | None:
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else None


def _wait_for_server(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    import psycopg2

    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert server.poll() is None, log.read_text()
        try:
            psycopg2.connect(host="127.0.0.1", port=port, user="airflow", dbname="postgres").close()
            return
        except psycopg2.OperationalError:
            time.sleep(0.2)
    raise AssertionError(f"Postgres did not answer within {START_SECONDS} s: {log.read_text()}")
