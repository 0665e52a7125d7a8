"""A real Milvus server for the tests, from the package ``milvus==2.3.5``: on free ports, stopped at the end.

The package unpacks 246 MB of binaries; they stay in a cache folder, so that only the first session unpacks them.
"""

import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "moon-tests"
START_SECONDS, STOP_SECONDS = 120, 8


@contextmanager
def milvus_server(folder: Path) -> Iterator[str]:
    """Yield the URI of a new server with its data in ``folder``."""
    import milvus

    port_names = [name for name in milvus.MilvusServerConfig().configurable_items if name.endswith("_port")]
    *ports, web, peer = _free_ports(len(port_names) + 2)
    config = milvus.MilvusServerConfig(data_dir=str(folder), **dict(zip(port_names, ports, strict=True)))
    config.resolve()
    binaries = _binaries(milvus)
    environment = os.environ | {
        "DEPLOY_MODE": "STANDALONE",
        "METRICS_PORT": str(web),
        "MILVUS_RUN_DIR": str(folder / "run"),
        "LD_LIBRARY_PATH": str(binaries),
        "ETCD_CONFIG_PATH": str(_etcd_configuration(folder, config.get("etcd_port"), peer)),
    }
    command = [str(binaries / "milvus"), "run", "standalone"]
    with (folder / "server.log").open("wb") as output:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=output)
        try:
            _wait_until_healthy(process, web)
            yield f"http://127.0.0.1:{config.get('proxy_port')}"
        finally:
            _stop(process)


def _binaries(milvus: object) -> Path:
    folder = CACHE / f"milvus-{milvus.__version__}"  # type: ignore[attr-defined]
    if not folder.is_dir():
        fresh = folder.with_name(f"{folder.name}.{os.getpid()}")
        fresh.mkdir(parents=True)
        milvus._initialize_data_files(str(fresh))  # type: ignore[attr-defined]
        with suppress(OSError):  # another session was first
            fresh.rename(folder)
        shutil.rmtree(fresh, ignore_errors=True)
    return folder / "bin"


def _etcd_configuration(folder: Path, port: int, peer: int) -> Path:
    """Write the settings of the embedded etcd; with Milvus's fixed peer port 2380 only one server could run."""
    own, other = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peer}"
    path = folder / "configs" / "etcd.yaml"
    path.write_text(
        f"name: default\ndata-dir: {folder}/data/etcd.data\nlisten-client-urls: {own}\n"
        f"advertise-client-urls: {own}\nlisten-peer-urls: {other}\ninitial-advertise-peer-urls: {other}\n"
        f"initial-cluster: default={other}\n"
    )
    return path


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _wait_until_healthy(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the Milvus server ended with {process.returncode} while starting")
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=2) as answer:
            if b"OK" in answer.read():
                return
        time.sleep(0.2)
    raise RuntimeError(f"the Milvus server was not healthy within {START_SECONDS} s")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Send TERM, wait, send KILL: 2.3.5 ignores TERM for up to 40 s; acknowledged writes survive the KILL."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
