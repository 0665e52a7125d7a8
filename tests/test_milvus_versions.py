"""Tests that the code uses only Milvus features that Milvus Lite, server 2.3.5 (both run here) and server 2.6 share.

Server 2.6 does not run here: only calls, field types and indexes that exist in both 2.3 and 2.6 are allowed.
"""

import ast
from pathlib import Path

import pytest

from schemas.collection import INDEXES, METRIC, build_collection_schema

REPOSITORY = Path(__file__).resolve().parents[1]
CALLS = {
    *("create_collection", "describe_collection", "drop_collection", "has_collection", "list_collections"),
    *("load_collection", "release_collection", "rename_collection", "flush", "close", "get_server_version"),
    *("create_alias", "alter_alias", "drop_alias", "describe_alias", "list_aliases"),
    *("create_index", "describe_index", "drop_index", "list_indexes", "prepare_index_params", "create_schema"),
    *("upsert", "delete", "query", "query_iterator", "search", "get", "compact", "get_compaction_state"),
    *("alter_collection_properties", "get_collection_stats", "update_password"),
}
"""Of MilvusClient; what came later (hybrid_search, nullable fields, JSON paths, functions, …) is not among them."""
OPTIONS = {
    "is_partition_key",
    "nullable",
    "default_value",
    "enable_analyzer",
    "enable_match",
    "mmap_enabled",
    "ranker",
    "partial_update",
    "group_by_field",
}
"""Arguments that a version lacks, or gets wrong (upserts into a partition key lose rows in 2.3.5); code that asked for
the tier passes them as ``**options``."""


def calls(tree: ast.AST) -> set[tuple[str, frozenset[str]]]:
    """Return method and argument names of every call on something named ``client``."""
    found = set()
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        owner = node.func.value
        name = owner.id if isinstance(owner, ast.Name) else owner.attr if isinstance(owner, ast.Attribute) else ""
        if name in ("client", "MilvusClient"):
            found.add((node.func.attr, frozenset(keyword.arg or "" for keyword in node.keywords)))
    return found


CODE = [path for folder in ("jobs", "examples") for path in sorted((REPOSITORY / folder).rglob("*.py"))]
USED = {call for path in CODE for call in calls(ast.parse(path.read_text()))}


def test_only_calls_that_all_versions_have():
    names = {name for name, _ in USED}
    assert {"upsert", "search", "query", "alter_alias"} <= names  # the scan finds what is known to be there
    assert names <= CALLS


def test_no_argument_that_a_version_lacks():
    assert not {name for _, arguments in USED for name in arguments} & OPTIONS


def test_fields_and_indexes_that_all_versions_have():
    from pymilvus import DataType

    schema = build_collection_schema(256)
    kinds = {DataType.VARCHAR, DataType.INT64, DataType.JSON, DataType.FLOAT_VECTOR}
    assert {field.dtype for field in schema.fields} <= kinds
    assert not any(field.is_partition_key or field.is_dynamic or field.nullable for field in schema.fields)
    assert not schema.enable_dynamic_field and not schema.functions
    assert set(INDEXES["server"]) == {"FLAT", "HNSW", "IVF_FLAT", "DISKANN"}
    assert METRIC == "IP"


@pytest.mark.parametrize(
    "code", ["self.client.hybrid_search(1)", "client.add_field('a', nullable=True)", "client.search(ranker=1)"]
)
def test_the_scan_would_find_it(code):
    ((name, arguments),) = calls(ast.parse(code))
    assert name not in CALLS or arguments & OPTIONS
