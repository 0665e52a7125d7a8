"""Tests of queries without Spark: texts are values, missing tables are empty, and nothing is created."""

from pathlib import Path

from jobs.lake.query import query_lake
from jobs.lake.storage import Storage
from jobs.lake.store import Lake


def test_rows_of_a_folder_with_any_name_and_a_text_with_quotes(tmp_path: Path, seed) -> None:
    lake = Lake(Storage(str(tmp_path / "a b é")))
    rows = [{"product_id": name, "op": "new"} for name in ("it's", "' or 1=1 --")]
    seed(lake, "changes", rows, {"run_id": "r1"})
    seed(lake, "changes", rows, {"run_id": "r2"})
    sql = "SELECT product_id FROM changes WHERE product_id IN ($ids) AND run_id = $run LIMIT $most"
    ids = [rows[0]["product_id"], "$run"]
    assert query_lake(lake, sql, ["changes"], ids=ids, run="r1", most=5) == [{"product_id": "it's"}]


def test_a_table_that_is_missing_has_no_rows_and_is_not_created(tmp_path: Path) -> None:
    lake = Lake(Storage(str(tmp_path / "lake")))
    assert query_lake(lake, "SELECT 1 FROM changes", ["changes"]) == []
    assert not (tmp_path / "lake").exists()
