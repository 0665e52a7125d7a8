from jobs.catalog.survey import Survey, is_complete, unite_columns
from schemas.source_mapping import SourceMapping

MAPPING = SourceMapping(id="id", title="name", description="text")


def test_of_csv_a_column_counts_that_all_files_have_and_of_others_one_that_any_has() -> None:
    blocks = [["id", "name", "text"], [], ["name", "id"]]
    assert unite_columns("csv", blocks) == ["id", "name"]
    assert unite_columns("json", blocks) == unite_columns("parquet", blocks) == ["id", "name", "text"]
    assert unite_columns("csv", [["id"], ["name"]]) == []
    assert unite_columns("csv", [[], []]) is None


def test_what_a_later_record_may_have_stops_no_run_but_id_and_title_do() -> None:
    for kind in ("jsonl", "xml"):
        missing, needed = Survey({}, ["id"], is_complete=is_complete(kind)).find_missing(MAPPING)
        assert (list(missing), list(needed)) == (["name", "text"], ["name"])
    for columns, found in ((["id"], ["name", "text"]), ([], ["id", "name", "text"]), (None, [])):
        assert list(Survey({}, columns, is_complete=is_complete("csv")).find_missing(MAPPING)[1]) == found
