"""Tests of the checks of fields, dimension and index of a collection."""

from collections.abc import Callable

import pytest

from jobs.errors import DamageError
from jobs.milvus.client import connect
from jobs.serving.collection_checks import check_fields
from jobs.serving.search import read_served_collection
from jobs.serving.status import find_damage, read_status
from jobs.settings import Settings
from schemas.collection import (
    PROPERTY_CHECKPOINT,
    PROPERTY_DIMENSION,
    PROPERTY_MODEL,
    VECTOR_FIELD,
    build_collection_schema,
    collection_name,
)

NAME = collection_name("ab" * 32)
OURS = {PROPERTY_MODEL: "ab" * 32, PROPERTY_DIMENSION: "8", PROPERTY_CHECKPOINT: "/checkpoints/x"}


def test_other_fields_and_dimensions_are_refused(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings()
    with connect(settings) as client:
        client.create_collection(NAME, schema=build_collection_schema(8), properties=OURS)
        check_fields(client, NAME, 8)
        with pytest.raises(DamageError, match=r"vector has dimension 8 and not 16.*Remedy: drop it"):
            check_fields(client, NAME, 16)
        client.drop_collection(NAME)
        client.create_collection(NAME, schema=build_collection_schema(8, 1), properties=OURS)
        client.create_alias(NAME, "products")
        with pytest.raises(DamageError, match=r"group_id is missing.*nothing is encoded"):
            read_served_collection(client, "products")
    with pytest.raises(DamageError, match="group_id is missing"):
        read_status(settings)


def test_status_reports_a_dropped_index(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings()
    with connect(settings) as client:
        client.create_collection(NAME, schema=build_collection_schema(8), properties=OURS)
        params = client.prepare_index_params()
        params.add_index(VECTOR_FIELD, index_type="FLAT", metric_type="IP")
        client.create_index(NAME, params)
        client.create_alias(NAME, "products")
    assert find_damage(read_status(settings)) is None
    with connect(settings) as client:
        client.release_collection(NAME)
        client.drop_index(NAME, VECTOR_FIELD)
    damage = find_damage(read_status(settings)) or ""
    assert "has no index on its vectors" in damage and "`moon repair`" in damage
