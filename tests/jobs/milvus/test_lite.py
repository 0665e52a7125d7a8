"""Tests of Milvus Lite: shared within a process, released at the end, and waited for if another process has it."""

import errno
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from jobs.errors import DamageError
from jobs.milvus.client import connect
from jobs.milvus.lite import LiteBusyError, LitePathError, find_lite_damage, run_lite_server
from schemas.collection import VECTOR_FIELD, build_collection_schema, select_scalar_fields

HOLD = """
import sys
from jobs.milvus.lite import run_lite_server
with run_lite_server(sys.argv[1], 0):
    print("open", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def holder() -> Iterator[Callable[[Path], subprocess.Popen[str]]]:
    """Another process that has a path open until its input ends."""
    started: list[subprocess.Popen[str]] = []

    def hold(path: Path) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", HOLD, str(path)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None and process.stdout.readline() == "open\n"
        return process

    yield hold
    for process in started:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def lets_go(process: subprocess.Popen[str]) -> bool:
    """End a holder's input; return whether it closed its server without an error."""
    process.stdin.close()
    return process.wait(60) == 0


def test_one_server_for_all_who_ask_in_a_process(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "milvus.db"
    with run_lite_server(str(path), 0) as first, run_lite_server(f"{tmp_path}/sub/../sub/milvus.db", 0) as second:
        assert first == second and first.startswith("http://127.0.0.1:")
    with run_lite_server(str(path), 0):
        pass


def test_other_machines_cannot_reach_the_port(tmp_path: Path) -> None:
    """It has no login; docs/serving.md says so."""
    with run_lite_server(str(tmp_path / "milvus.db"), 0) as uri:
        port = int(uri.rpartition(":")[2])
        sockets = [found.laddr for found in psutil.Process().net_connections() if found.status == psutil.CONN_LISTEN]
        assert {place.ip.removeprefix("::ffff:") for place in sockets if place.port == port} == {"127.0.0.1"}


def test_the_path_is_free_when_the_last_user_leaves(tmp_path: Path, holder) -> None:
    path = tmp_path / "milvus.db"
    with run_lite_server(str(path), 0):
        with run_lite_server(str(path), 0):
            pass
        command = [sys.executable, "-c", HOLD, str(path)]
        busy = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        assert "LiteBusyError" in busy.stderr and str(path) in busy.stderr
    assert lets_go(holder(path)), "this process lives on, but the path is free"


def test_a_busy_path_names_who_has_it(tmp_path: Path, holder) -> None:
    process = holder(tmp_path / "milvus.db")
    with pytest.raises(LiteBusyError, match=rf"open in process {process.pid} .*--milvus http"):
        run_lite_server(str(tmp_path / "milvus.db"), 0.2).__enter__()


def test_a_path_is_waited_for(tmp_path: Path, holder) -> None:
    process = holder(tmp_path / "milvus.db")
    start = time.monotonic()
    threading.Timer(1, process.stdin.close).start()
    with run_lite_server(str(tmp_path / "milvus.db"), 60):
        assert time.monotonic() - start > 0.9


def test_a_killed_holder_leaves_the_path_free(tmp_path: Path, holder) -> None:
    process = holder(tmp_path / "milvus.db")
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    with run_lite_server(str(tmp_path / "milvus.db"), 0):
        pass


def test_a_file_at_the_path_is_refused(tmp_path: Path) -> None:
    (tmp_path / "milvus.db").write_text("made by Milvus Lite 2")
    with pytest.raises(LitePathError, match="cannot be a Milvus Lite database"):
        run_lite_server(str(tmp_path / "milvus.db"), 0).__enter__()


@pytest.mark.parametrize("number", [errno.EROFS, errno.ENOSPC])
def test_a_disk_that_cannot_be_written_is_no_wrong_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, "refused")

    monkeypatch.setattr("milvus_lite.adapter.grpc.server.start_server_in_thread", refuse)
    with pytest.raises(OSError, match="refused") as caught:
        run_lite_server(str(tmp_path / "milvus.db"), 0).__enter__()
    assert caught.value.errno == number


def test_threads_share_and_the_last_one_closes(tmp_path: Path, holder) -> None:
    path, uris = tmp_path / "milvus.db", set[str]()
    ready = threading.Barrier(4)

    def use() -> None:
        ready.wait()
        with run_lite_server(str(path), 10) as uri:
            uris.add(uri)
            ready.wait()

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(uris) == 1
    assert lets_go(holder(path))


@pytest.mark.parametrize("pattern", ["aliases.json", "manifest.json", "data_*.parquet", "*.flat.idx"])
def test_truncated_files_are_named_with_the_remedy(make_settings, pattern: str) -> None:
    settings = make_settings()
    with connect(settings) as client:
        client.create_collection("c", schema=build_collection_schema(8, 1))
        params = client.prepare_index_params()
        params.add_index(VECTOR_FIELD, index_type="FLAT", metric_type="IP")
        client.create_index("c", params)
        client.create_alias("c", "products")
        client.upsert("c", [{**dict.fromkeys(select_scalar_fields(1), "a"), "epoch": 1, VECTOR_FIELD: [0.5] * 8}])
        client.flush("c")
        client.load_collection("c")
    assert list(find_lite_damage(settings.milvus)) == []
    for path in Path(settings.milvus).rglob(pattern if pattern != "manifest.json" else "manifest.json*"):
        path.write_bytes(path.read_bytes()[:-20])
    (file, _), *_ = find_lite_damage(settings.milvus)
    assert Path(file).match(pattern)
    with pytest.raises(DamageError, match="Remedy: ") as refused, connect(settings) as client:
        client.list_aliases()
        client.load_collection("c")
    assert file in str(refused.value)
