"""Tests of export: one Parquet file with everything that is served, or no file."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import jobs.milvus.client
from jobs.milvus.client import NoDatabaseError, connect
from jobs.serving.export import ExportError, export_collection
from jobs.serving.search import NothingPublishedError
from jobs.settings import Settings
from schemas.collection import PROPERTIES, PROPERTY_SCHEMA, VECTOR_FIELD, build_collection_schema
from tests.jobs.serving.test_row_writer import entity

STRANGE = ["it's", 'a "b"', "back\\slash", "grün 😀"]


@pytest.fixture
def served(milvus: str, make_settings, monkeypatch: pytest.MonkeyPatch) -> tuple[Settings, dict[str, list[float]]]:
    settings = make_settings(milvus=milvus)
    draw = np.random.default_rng(0).normal(size=(54, 4)).astype(np.float32)
    names = [*(f"p{number:02d}" for number in range(50)), *STRANGE]
    rows = [
        {**entity(name, content_hash=f"h {name}", snapshot_date="2026-01-02"), VECTOR_FIELD: vector}
        for name, vector in zip(names, draw, strict=True)
    ]
    with connect(settings) as client:
        params = client.prepare_index_params()
        params.add_index(VECTOR_FIELD, index_type="FLAT", metric_type="IP")
        properties = dict(zip(PROPERTIES, ["a" * 64, "4", "b" * 64, "/m"], strict=True))
        client.create_collection(
            "moon_a", schema=build_collection_schema(4), index_params=params, properties=properties
        )
        client.upsert("moon_a", rows)
        client.create_alias("moon_a", "products")
    monkeypatch.setattr(jobs.milvus.client, "PAGE_BYTES", 4 * 4 * 20)
    return settings, {row["product_id"]: row[VECTOR_FIELD].tolist() for row in rows}


def test_everything_that_is_served(served: tuple[Settings, dict], tmp_path: Path) -> None:
    settings, vectors = served
    out, seen = tmp_path / "served.parquet", []
    out.write_text("an earlier export")
    assert export_collection(settings, out, lambda done, total: seen.append((done, total))) == 54
    assert seen == [(20, 54), (40, 54), (54, 54)]
    table = pq.read_table(out)
    assert dict(zip(table["product_id"].to_pylist(), table["vector"].to_pylist(), strict=True)) == vectors
    assert table["content_hash"].to_pylist() == [f"h {name}" for name in table["product_id"].to_pylist()]
    assert str(table.schema.field("vector").type) == "fixed_size_list<element: float>[4]"
    assert table.schema.metadata[b"moon.model_version"] == b"a" * 64
    assert table.schema.metadata[b"moon.collection"] == b"moon_a"
    assert [path.name for path in tmp_path.glob("*served*")] == ["served.parquet"], "no draft is left"


def test_groups_are_exported_where_the_collection_has_them(served: tuple[Settings, dict], tmp_path: Path) -> None:
    settings, _ = served
    out, columns = tmp_path / "served.parquet", ["product_id", "content_hash", "snapshot_date", "vector"]
    export_collection(settings, out)
    assert pq.read_schema(out).names == columns
    with connect(settings) as client:
        client.alter_collection_properties("moon_a", {PROPERTY_SCHEMA: "2"})
        client.upsert("moon_a", {**entity("p01", group_id="p00"), VECTOR_FIELD: [1.0, 0.0, 0.0, 0.0]})
    export_collection(settings, out)
    table = pq.read_table(out)
    assert table.column_names == [*columns[:-1], "group_id", "vector"]
    assert dict(zip(table["product_id"].to_pylist(), table["group_id"].to_pylist(), strict=True))["p01"] == "p00"


def test_a_collection_that_changes_meanwhile(served: tuple[Settings, dict], tmp_path: Path) -> None:
    settings, _ = served
    out = tmp_path / "served.parquet"

    def interfere(done: int, total: int) -> None:
        if done == 20:
            with connect(settings) as client:
                client.delete("moon_a", filter='product_id == "p49"')

    with pytest.raises(ExportError, match="changed while it was exported"):
        export_collection(settings, out, interfere)
    assert list(tmp_path.glob("*served*")) == []


def test_what_cannot_be_exported(make_settings, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="there is no folder"):
        export_collection(make_settings(), tmp_path / "none" / "x.parquet")
    with pytest.raises(NoDatabaseError):
        export_collection(make_settings(), tmp_path / "x.parquet")
    with connect(make_settings()):
        pass
    with pytest.raises(NothingPublishedError):
        export_collection(make_settings(), tmp_path / "x.parquet")
    assert list(tmp_path.glob("x*")) == []
