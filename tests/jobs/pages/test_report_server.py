"""Tests of the server of pages: it answers on loopback with pages, and with nothing else of the lake."""

import http.client
import threading
from collections.abc import Iterator

import pytest

from jobs.lake.storage import Storage
from jobs.pages.report_server import make_report_server


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder = tmp_path_factory.mktemp("served")
    lake = folder / "lake"
    for name in ("_reports/index.html", "_reports/2026-01-02/é b.html", "_data_docs/x.html", "_reports/r.json"):
        (lake / name).parent.mkdir(parents=True, exist_ok=True)
        (lake / name).write_text(f"<p>{name}</p>")
    (folder / "secret.html").write_text("secret")
    (lake / "runs").mkdir()
    (lake / "runs" / "x.html").write_text("secret")
    (lake / "_reports" / "link.html").symlink_to(folder / "secret.html")
    (lake / "_reports" / "out").symlink_to(folder)
    with make_report_server(Storage(str(lake))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def get(port: int, path: str, **headers: str) -> tuple[int, str, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    return answer.status, answer.read().decode(), dict(answer.getheaders())


def test_pages_are_answered(port: int) -> None:
    status, text, headers = get(port, "/_reports/2026-01-02/%C3%A9%20b.html")
    assert (status, text) == (200, "<p>_reports/2026-01-02/é b.html</p>")
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert get(port, "/_data_docs/x.html")[0] == 200
    assert get(port, "/")[0] == 302 and get(port, "/")[2]["Location"] == "/_reports/index.html"


@pytest.mark.parametrize(
    "path",
    [
        "/runs/x.html", "/_reports/", "/_reports", "/_reports/r.json", "/_reports/../runs/x.html", "/secret.html",
        "/_reports/%2e%2e/runs/x.html", "/_reports/..%2fruns/x.html", "/_reports/link.html",
        "/_reports/out/secret.html", "/_reports/missing.html", "/_reports/a%00.html",
    ],
)  # fmt: skip
def test_nothing_else_is(port: int, path: str) -> None:
    status, text, _ = get(port, path)
    assert status == 404 and "secret" not in text


def test_another_name_for_this_machine_is_refused(port: int) -> None:
    assert get(port, "/_reports/index.html", Host="shop.example")[0] == 403
    assert get(port, "/_reports/index.html", Host=f"localhost:{port}")[0] == 200
