from datetime import UTC, date, datetime

import pytest

from jobs.catalog.mapping import catalog_folder, list_mapping_files, map_parsed_record
from jobs.catalog.records import ParsedRecord
from schemas.source import SourceMapping

MAPPING = SourceMapping.parse('id = "Id"\ntitle = "Name"\nsnapshot = "day"\n')
DAY = date(2026, 11, 20)


def map_row(record, error=None, salvaged=None, timezone="UTC"):
    return map_parsed_record(ParsedRecord(record, error, salvaged or {}), MAPPING, "file:///shop", DAY, timezone)


def test_a_mapping_is_looked_for_in_the_folder_and_above_it(tmp_path):
    assert list_mapping_files(tmp_path / "a") == [tmp_path / "a" / "mapping.toml", tmp_path / "mapping.toml"]


def test_the_folder_of_a_file_with_a_glob_in_its_name(tmp_path):
    (tmp_path / "a[1].csv").touch()
    assert catalog_folder(str(tmp_path / "a[1].csv")) == str(tmp_path)


def test_rows_of_other_dates_are_left_out():
    assert map_row({"Id": 1, "Name": "a", "day": "2026-11-20"}).product_id == "1"
    assert map_row({"Id": 1, "Name": "a", "day": "2026-11-21"}) is None


@pytest.mark.parametrize(("timezone", "is_taken"), [("UTC", False), ("Europe/Berlin", True)])
def test_a_moment_with_a_zone_belongs_to_the_shops_day(timezone, is_taken):
    row = map_row({"Id": 1, "Name": "a", "day": datetime(2026, 11, 19, 23, 30, tzinfo=UTC)}, timezone=timezone)
    assert (row is not None) == is_taken


def test_a_row_that_cannot_be_read_keeps_the_id_that_was_salvaged():
    assert map_row(None, "broken", {"Id": 7}).product_id == "7"
    assert map_row(None, "broken").product_id is None
    undated = map_row({"Id": 8, "Name": "a", "day": ""})
    assert (undated.product_id, undated.row_error) == ("8", "the snapshot column 'day' is empty")
