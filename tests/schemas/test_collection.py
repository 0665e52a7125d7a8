"""Tests of the collection schema on both backends, and of cutting texts to its fields."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymilvus import DataType

from schemas.collection import (
    HNSW_MAX_ROWS,
    MAX_TEXT_BYTES,
    SCALAR_FIELDS,
    UnsupportedIndexError,
    build_collection_schema,
    build_search_params,
    choose_index,
    collection_name,
    has_groups,
    parse_schema_version,
    pinned_alias,
    read_schema_version,
    strip_schema_suffix,
    truncate_to_field,
)

VERSION = "0123456789abcdef" * 4


def test_names_follow_from_the_model_version() -> None:
    assert collection_name(VERSION) == "moon_0123456789ab_s3"
    assert pinned_alias("products", VERSION) == "products_01234567"


def test_schema_uses_only_what_every_backend_has() -> None:
    schema = build_collection_schema(576)
    assert [field.name for field in schema.fields if field.is_primary] == ["product_id"]
    assert not schema.auto_id and not schema.enable_dynamic_field
    assert {field.name for field in schema.fields} == {*SCALAR_FIELDS, "vector"} - {"search_text"}
    assert {field.name for field in build_collection_schema(4, 1).fields} == {
        "product_id", "title", "category", "category_1", "category_2", "category_3", "brand", "snapshot_date",
        "content_hash", "model_version", "epoch", "vector",
    }, "as in releases 0.1 and 0.2"  # fmt: skip
    assert {field.dtype for field in schema.fields} == {
        DataType.VARCHAR, DataType.INT64, DataType.JSON, DataType.FLOAT_VECTOR,
    }  # fmt: skip
    assert not any(field.nullable or field.is_partition_key for field in schema.fields)


@pytest.mark.parametrize(
    ("backend", "rows", "kind"),
    [
        ("lite", 0, "FLAT"),
        ("lite", 20_000, "FLAT"),
        ("server", 100, "HNSW"),
        ("server", HNSW_MAX_ROWS, "HNSW"),
        ("server", HNSW_MAX_ROWS + 1, "IVF_FLAT"),
    ],
)
def test_the_index_follows_from_backend_and_size(backend, rows: int, kind: str) -> None:
    assert choose_index(backend, rows).type == kind


def test_a_wanted_index_is_taken_or_refused() -> None:
    assert choose_index("lite", 5, "hnsw").type == "HNSW"
    assert choose_index("server", 5, "DISKANN").type == "DISKANN"
    for lacking in ("DISKANN", "SCANN", "IVF_PQ"):  # Milvus Lite would take them and search by brute force
        with pytest.raises(UnsupportedIndexError, match=f"Milvus Lite has no {lacking}"):
            choose_index("lite", 5, lacking)
    with pytest.raises(UnsupportedIndexError, match="a Milvus server has no ANNOY"):
        choose_index("server", 5, "ANNOY")


@given(st.integers(1, 200_000_000))
def test_ivf_lists_stay_within_what_milvus_takes(rows: int) -> None:
    assert 128 <= choose_index("server", rows, "IVF_FLAT").build_params["nlist"] <= 65_536


@pytest.mark.parametrize("k", [1, 10, 16_384])
def test_a_search_looks_at_least_k_far(k: int) -> None:
    assert build_search_params("HNSW", k)["ef"] >= k
    assert build_search_params("DISKANN", k)["search_list"] >= k
    assert build_search_params("FLAT", k) == {}


@given(st.sampled_from(sorted(MAX_TEXT_BYTES)), st.text(max_size=400) | st.text("né😀", min_size=200, max_size=400))
def test_a_fitted_text_is_the_longest_start_that_fits(name: str, text: str) -> None:
    text = text.encode("utf-8", "ignore").decode()
    cut = truncate_to_field(name, text)
    assert text.startswith(cut)
    assert len(cut.encode()) <= MAX_TEXT_BYTES[name]
    assert cut == text or len(text[: len(cut) + 1].encode()) > MAX_TEXT_BYTES[name]


def test_nothing_is_an_empty_text() -> None:
    assert truncate_to_field("brand", None) == ""


def test_a_collection_is_named_by_model_and_schema_version(monkeypatch):
    assert collection_name(VERSION, 1) == "moon_0123456789ab", "as in release 0.1"
    monkeypatch.setattr("schemas.collection.COLLECTION_SCHEMA_VERSION", 12)
    assert collection_name(VERSION) == "moon_0123456789ab_s12"
    for name in (collection_name(VERSION, 1), collection_name(VERSION, 2), collection_name(VERSION)):
        assert strip_schema_suffix(name) == "moon_0123456789ab"
    assert [parse_schema_version(collection_name(VERSION, number)) for number in (1, 2, 12)] == [1, 2, 12]
    assert parse_schema_version("moon_scratch_1f2e3d4c_5b6a7988") == 12, "scratch collections are made anew"
    assert not has_groups(collection_name(VERSION, 1)) and has_groups(collection_name(VERSION, 2))
    assert strip_schema_suffix("moon_scratch_1f2e3d4c_5b6a7988") == "moon_scratch_1f2e3d4c_5b6a7988"
    assert read_schema_version({}) == 1 and read_schema_version({"moon.schema_version": "2"}) == 2
