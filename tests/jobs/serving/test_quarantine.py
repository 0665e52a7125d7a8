import pyarrow.csv
import pyarrow.parquet
import pytest

from jobs.errors import NightStoppedError, UsageError
from jobs.serving.quarantine import read_quarantine, write_quarantine


@pytest.fixture
def settings(make_night, seed):
    context = make_night()
    assert context.lake.read_arrow("quarantine").num_rows == 0
    rows = [
        {"source_row": 2, "product_id": "b", "reason": "no_image", "detail": "[b] no image"},
        {"source_row": 1, "product_id": None, "reason": "malformed_row", "detail": "broken"},
    ]
    for date in ("2026-01-01", "2026-01-02"):
        seed(context.lake, "quarantine", rows, {"date": date, "purpose": "nightly", "stage": "validate"})
    seed(context.lake, "products", [{"product_id": "a", "source_row": 0}], {"date": "2026-01-02"})
    return context.settings


def test_rows_of_the_latest_date_in_the_order_of_the_catalogue(settings):
    rows = read_quarantine(settings).to_pylist()
    assert [(row["date"], row["source_row"], row["reason"]) for row in rows] == [
        ("2026-01-02", 1, "malformed_row"),
        ("2026-01-02", 2, "no_image"),
    ]
    assert read_quarantine(settings, "2026-01-01", "no_image")["product_id"].to_pylist() == ["b"]


def test_they_are_written_by_suffix(settings, tmp_path):
    rows = read_quarantine(settings)
    write_quarantine(rows, tmp_path / "a.csv")
    write_quarantine(rows, tmp_path / "a.parquet")
    assert pyarrow.csv.read_csv(tmp_path / "a.csv")["detail"].to_pylist() == ["broken", "[b] no image"]
    assert pyarrow.parquet.read_table(tmp_path / "a.parquet").num_rows == 2
    with pytest.raises(UsageError, match="name a"):
        write_quarantine(rows, tmp_path / "a.xlsx")


def test_an_unknown_reason_and_an_empty_lake(settings, make_night):
    with pytest.raises(UsageError, match="no reason code"):
        read_quarantine(settings, reason="nonsense")
    with pytest.raises(NightStoppedError, match="nothing was validated"):
        read_quarantine(settings.replace(lake=f"{settings.lake}-other"))
