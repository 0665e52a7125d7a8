"""Fixtures of the fault harness's tests."""

from collections.abc import Iterator

import pytest
from pyspark.sql import SparkSession

from tests.faults.one_jvm import FaultBench
from tests.faults.points import FaultFolder, watch_points
from tests.faults.shop import FaultShop
from tests.image_host import open_image_host


@pytest.fixture(scope="module")
def bench(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultBench]:
    """A bench with the first night recorded."""
    folder = tmp_path_factory.mktemp("faults")
    faults = FaultFolder(folder / "points")
    with open_image_host() as host, watch_points(spark, faults):
        made = FaultBench(spark, FaultShop(folder / "shop", host), folder / "bench", faults)
        made.record(nights=(0,))
        yield made
