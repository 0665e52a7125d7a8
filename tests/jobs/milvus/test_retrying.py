import grpc
import pytest
from pymilvus import MilvusException

from jobs.milvus import retrying
from jobs.milvus.client import connect, connect_reader, count_rows
from jobs.milvus.retrying import MilvusUnreachableError, call_with_retries, guard_retries, is_transient
from schemas.collection import build_collection_schema
from tests.jobs.milvus.test_client import rows
from tests.loopback_proxy import open_loopback_proxy


class RpcError(grpc.RpcError):
    def __init__(self, code: grpc.StatusCode) -> None:
        self._code = code

    def code(self) -> grpc.StatusCode:
        return self._code


def make_connect_error(code: grpc.StatusCode) -> MilvusException:
    """Return what pymilvus raises when a reconnection fails with a gRPC code."""
    error = MilvusException(code=2, message="Fail connecting to server")
    error.__cause__ = RpcError(code)
    return error


BUSY = MilvusException(code=8, message="rate limit")


@pytest.mark.parametrize(
    "error",
    [
        RpcError(grpc.StatusCode.UNAVAILABLE),
        MilvusException(code=grpc.StatusCode.UNAVAILABLE, message="retries used up"),
        MilvusException(code=2, message="Fail connecting to server"),
        make_connect_error(grpc.StatusCode.UNAVAILABLE),
        make_connect_error(grpc.StatusCode.DEADLINE_EXCEEDED),
        BUSY,
    ],
)
def test_an_error_that_may_pass(error: Exception) -> None:
    assert is_transient(error)


@pytest.mark.parametrize(
    "error",
    [
        make_connect_error(grpc.StatusCode.UNAUTHENTICATED),
        RpcError(grpc.StatusCode.UNAUTHENTICATED),
        MilvusException(code=1100, message="string too long"),
        ValueError("no"),
    ],
)
def test_an_error_that_stays(error: Exception) -> None:
    assert not is_transient(error)


class Flaky:
    """Fails some times, then answers."""

    def __init__(self, error: Exception, failures: int) -> None:
        self.error, self.failures, self.calls = error, failures, 0

    def __call__(self) -> str:
        self.calls += 1
        if self.calls <= self.failures:
            raise self.error
        return "done"


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "FIRST_WAIT", 0.001)


def test_a_passing_error_is_tried_again_and_another_is_not() -> None:
    request = Flaky(BUSY, 3)
    assert call_with_retries(request, seconds=30) == "done" and request.calls == 4
    request = Flaky(MilvusException(code=1100, message="string too long"), 3)
    with pytest.raises(MilvusException, match="too long"):
        call_with_retries(request, seconds=30)
    assert request.calls == 1


def test_an_error_that_does_not_pass_in_time_is_one_clear_sentence() -> None:
    with pytest.raises(MilvusUnreachableError, match=r"did not answer for 0\.05 s \(rate limit\).*run the same again"):
        call_with_retries(Flaky(BUSY, 10**6), seconds=0.05)
    request = Flaky(BUSY, 1)
    with pytest.raises(MilvusUnreachableError):
        call_with_retries(request, seconds=0)
    assert request.calls == 1


def test_the_lease_is_checked_before_a_call_is_made_again() -> None:
    def lose() -> None:
        raise PermissionError("the lease is lost")

    assert call_with_retries(Flaky(BUSY, 0), seconds=30, check=lose) == "done"
    request = Flaky(BUSY, 3)
    with pytest.raises(PermissionError):
        call_with_retries(request, seconds=30, check=lose)
    assert request.calls == 1


def test_all_calls_of_a_writers_client_are_retried(make_settings, monkeypatch: pytest.MonkeyPatch) -> None:
    with connect(make_settings()) as client:
        request = Flaky(BUSY, 2)
        monkeypatch.setattr(client.inner, "list_collections", request)
        assert client.list_collections() == "done" and request.calls == 3
        checks: list[int] = []
        request = Flaky(BUSY, 2)
        monkeypatch.setattr(client.inner, "list_collections", request)
        assert guard_retries(client, lambda: checks.append(1)).list_collections() == "done" and len(checks) == 2


def test_a_reader_tries_once_where_nothing_listens(make_settings, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(MilvusUnreachableError, match="no Milvus lets us in"):
        connect_reader(make_settings(milvus="http://127.0.0.1:9")).__enter__()
    assert not caplog.records
    with pytest.raises(MilvusUnreachableError, match="no Milvus lets us in"):
        connect(make_settings(milvus="http://127.0.0.1:9", milvus_retry_seconds=0.05)).__enter__()
    assert "made again" in caplog.text


@pytest.mark.long
@pytest.mark.milvus_server
def test_a_cut_connection_and_a_lossy_one_cost_no_row(milvus_server: str, make_settings) -> None:
    port = int(milvus_server.rpartition(":")[2])
    with open_loopback_proxy(port) as proxy, connect(make_settings(milvus=f"http://127.0.0.1:{proxy.port}")) as client:
        client.create_collection("cut", schema=build_collection_schema(4))
        params = client.prepare_index_params()
        params.add_index("vector", index_type="FLAT", metric_type="IP")
        client.create_index("cut", params)
        client.load_collection("cut")
        client.upsert("cut", rows(["a"]))
        proxy.cut(8)
        client.upsert("cut", rows(["b"]))
        assert count_rows(client, "cut") == 2
    with (
        open_loopback_proxy(port, loss=0.03, seed=4) as proxy,
        connect(make_settings(milvus=f"http://127.0.0.1:{proxy.port}")) as client,
    ):
        for number in range(150):
            client.upsert("cut", rows([f"p{number}"]))
        assert count_rows(client, "cut") == 152
        client.drop_collection("cut")
        assert proxy.losses


@pytest.mark.long
@pytest.mark.milvus_server
def test_a_server_that_starts_late_is_waited_for(milvus_server: str, make_settings) -> None:
    port = int(milvus_server.rpartition(":")[2])
    with open_loopback_proxy(port) as proxy:
        proxy.cut(4)
        with connect(make_settings(milvus=f"http://127.0.0.1:{proxy.port}")) as client:
            assert client.get_server_version()
