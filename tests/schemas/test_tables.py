"""Tests that every table's definition is consistent."""

import pytest
from deltalake.schema import Schema

from schemas.tables import TABLES, Table


@pytest.mark.parametrize("table", TABLES.values(), ids=lambda table: table.name)
def test_definition(table: Table) -> None:
    assert table.key in table.columns.names
    assert not set(table.partition_by) & set(table.columns.names)
    assert table.schema.names == [*table.columns.names, *table.partition_by]
    assert [field.name for field in Schema.from_arrow(table.schema).fields] == table.schema.names
