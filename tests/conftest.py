"""Fixtures that every test folder shares."""

import os
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from jobs.lake.storage import Storage
    from jobs.settings import Settings
    from jobs.state.run_context import RunContext

REPOSITORY = Path(__file__).resolve().parent.parent

hypothesis_settings.register_profile("moon", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.load_profile("moon")
"""No deadline, because the time of an example depends on the load of the machine."""

if "PYTEST_XDIST_WORKER" in os.environ:
    # pyspark.sql.connect takes a main module without a file for a doctest, and ends the process.
    sys.modules["__main__"].__file__ = sys.modules["xdist"].__file__

os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
"""Processes of one test connect on loopback; Gloo would resolve the host name, and hang if that fails."""

os.environ["MOON_LOG"] = str(Path(tempfile.gettempdir()) / f"moon-tests-{os.getuid()}.log")
"""Commands that fail on purpose do not write their tracebacks to the checkout's log file."""


LONGEST_FIRST = (
    "test_runbook.py",
    "scenarios/test_story.py",
    "scenarios/test_cluster.py",
    "scenarios/",
    "scripts/test_nightly.py",
    "test_",
    "faults/",
    "scripts/",
    "jobs/",
    "benchmarks/",
    "recipes/",
    "moon_model/",
    "",
)
"""Files and folders of tests, in the order in which they begin."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take minutes, so that small files are left when one of two processes has no more."""

    def rank(item: pytest.Item) -> int:
        path = item.path.relative_to(REPOSITORY / "tests").as_posix()
        return next(place for place, start in enumerate(LONGEST_FIRST) if path.startswith(start))

    items.sort(key=rank)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real product photos next to the repository; tests that need them are skipped if they are absent."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"real product data is not here ({folder}); see the end of the README")
    return folder


@pytest.fixture(scope="session")
def photo() -> "Callable[..., bytes]":
    """Encoded photos of a coloured square on a grey ground: ``photo(seed, size=64, kind="JPEG")``."""
    import io

    import numpy as np
    from PIL import Image

    def draw(seed: int, size: int = 96, kind: str = "JPEG") -> bytes:
        random = np.random.default_rng(seed)
        pixels = np.full((size, size, 3), 200, dtype=np.uint8)
        left, top = random.integers(size // 8, size // 3, 2)
        pixels[top : top + size // 2, left : left + size // 2] = random.integers(0, 256, 3)
        target = io.BytesIO()
        Image.fromarray(pixels).save(target, kind)
        return target.getvalue()

    return draw


@pytest.fixture
def make_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Callable[..., Settings]":
    """Make settings with lake and Milvus file in the test's folder, independent of environment variables and .env."""
    from jobs.settings import Settings

    for name in [name for name in os.environ if name.startswith("MOON_")]:
        monkeypatch.delenv(name)

    def make(**options: Any) -> Settings:
        defaults = {"lake": str(tmp_path / "lake"), "milvus": str(tmp_path / "milvus.db")}
        return Settings(_env_file=None, **{**defaults, **options})

    return make


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[SparkSession]":
    """One local session (the jobs' own configuration, few shuffle partitions) for the whole test run."""
    from jobs.settings import Settings
    from jobs.spark.session import open_spark_session

    settings = Settings(_env_file=None, lake=str(tmp_path_factory.mktemp("spark") / "lake"), spark_memory="1g")
    with open_spark_session(settings, "tests") as session:
        session.conf.set("spark.sql.shuffle.partitions", "2")
        yield session


@pytest.fixture
def make_night(spark: "SparkSession", make_settings: "Callable[..., Settings]") -> "Callable[..., RunContext]":
    """Make a run context on the test's own lake: ``make_night("2026-01-02", catalog=…, max_images=3)``.

    Keyword arguments are settings, except the fields of `RunContext` that override a breaker. Runs of one test share
    one lake unless ``lake=`` is given.
    """
    from jobs.lake.store import open_lake
    from jobs.state.run_context import RunContext

    def make(date: str = "2026-01-02", **options: Any) -> RunContext:
        of_night = {
            name: options.pop(name)
            for name in ("allow_deletes", "allow_refusals", "allow_shift", "reason")
            if name in options
        }
        settings = make_settings(**options)
        lake = open_lake(settings)
        return RunContext(spark, lake, settings, date, **of_night)

    return make


@pytest.fixture(scope="session")
def milvus_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URI of a real Milvus server, started once; its tests are skipped if the package is absent."""
    pytest.importorskip("milvus", reason="the package milvus==2.3.5 is not here (Linux x86-64 only)")
    from tests.milvus_server import milvus_server

    with milvus_server(tmp_path_factory.mktemp("milvus-server")) as uri:
        yield uri


@pytest.fixture(params=["lite", pytest.param("server", marks=[pytest.mark.milvus_server, pytest.mark.long])])
def milvus(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A Milvus without collections: a Milvus Lite path and, in the long tests, a real server."""
    if request.param == "lite":
        yield str(tmp_path / "milvus.db")
        return
    uri = request.getfixturevalue("milvus_server")
    yield uri
    from pymilvus import MilvusClient

    client = MilvusClient(uri)
    for alias in client.list_aliases()["aliases"]:
        client.drop_alias(alias)
    for name in client.list_collections():
        client.drop_collection(name)
    client.close()


@pytest.fixture(scope="session")
def s3_options() -> Iterator[dict[str, str]]:
    """The storage options of an S3-compatible server with the bucket ``lake``, started once."""
    pytest.importorskip("moto", reason="moto is not installed: run `make setup`")
    from tests.s3_server import s3_server

    with s3_server() as options:
        yield options


@pytest.fixture
def s3_storage(s3_options: dict[str, str]) -> "Storage":
    """An empty root of its own on the S3-compatible server."""
    from jobs.lake.storage import Storage

    return Storage(f"s3://lake/{uuid.uuid4()}", s3_options)
