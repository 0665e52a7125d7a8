"""Tests of the rows and the lake that the upsert benchmark measures."""

from pathlib import Path

import numpy as np

from benchmarks.upsert_speed import DATE, fill_lake, make_rows
from jobs.lake.storage import Storage
from jobs.lake.store import Lake
from jobs.state.model_registry import describe_checkpoint
from schemas.collection import SCALAR_FIELDS, VECTOR_FIELD


def test_both_sides_get_the_same_rows(tmp_path: Path) -> None:
    lake = Lake(Storage(str(tmp_path)))
    model = describe_checkpoint(None, None)
    rows = list(make_rows(model, 5))
    assert all(set(row) == {*SCALAR_FIELDS, VECTOR_FIELD} for row in rows)
    assert np.allclose([np.linalg.norm(row[VECTOR_FIELD]) for row in rows], 1.0)
    fill_lake(lake, model, rows)
    for table in ("snapshots", "products"):
        assert lake.count(table, {"date": DATE}) == 5
    vectors = lake.read_arrow("vectors", {"model_version": model.model_version}).to_pylist()
    assert [row["content_hash"] for row in vectors] == [row["content_hash"] for row in rows]
