"""A Postgres of the test's own on the loopback, where Debian's package has brought one."""

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


def binaries() -> Path | None:
    """Return the folder of initdb and postgres: on the path, or where Debian keeps them."""
    on_path = shutil.which("initdb")
    places = [Path(on_path).resolve().parent] if on_path else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((place for place in places if {"initdb", "postgres"} <= {file.name for file in place.iterdir()}), None)


def reason_against() -> str:
    """Return why there can be no Postgres here; empty where there can."""
    if binaries() is None:
        return "no initdb and postgres (Debian: apt-get install postgresql)"
    if os.geteuid() == 0 and not _other_user():
        return "we are root, which Postgres refuses, and there is no user postgres to run it"
    return ""


@contextmanager
def postgres() -> Iterator[str]:
    """Yield the SQLAlchemy URL of an empty database; its server ends with the block."""
    place = binaries()
    assert place is not None
    user = _other_user() if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="moon-postgres-"))
    if user:
        shutil.chown(folder, user)
    data, port, log = folder / "data", free_port(), folder / "server.log"
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
        _wait(server, port, log)
        yield f"postgresql+psycopg2://airflow@127.0.0.1:{port}/postgres"
    finally:
        server.send_signal(signal.SIGINT)  # a fast shutdown, clients or not
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()
        shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _other_user() -> str | None:
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else None


def _wait(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
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
