"""quarantine: lists the rows and images that a date refused, with the reasons."""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from jobs.errors import NightStoppedError, UsageError
from jobs.lake.store import open_lake
from jobs.settings import Settings
from validation.reasons import Reason

COLUMNS = ("date", "stage", "source_row", "product_id", "image_index", "reason", "detail", "row")


def read_quarantine(settings: Settings, date: str | None = None, reason: str | None = None) -> pa.Table:
    """Return the refused rows and images of a date with `COLUMNS`, in the order of the catalogue.

    Args:
        settings: settings that name the lake.
        date: ISO date of the snapshot; None is the latest that was validated.
        reason: a reason code; None is all of them.

    Raises:
        UsageError: there is no such reason code.
        NightStoppedError: nothing was validated yet.
    """
    if reason is not None and reason not in list(Reason):
        raise UsageError(f"{reason!r} is no reason code; there are {', '.join(Reason)}")
    lake = open_lake(settings)
    dates = sorted(partition["date"] for partition in lake.list_partitions("products"))
    if not dates and date is None:
        raise NightStoppedError("nothing was validated in this lake yet: run `moon nightly`")
    rows = lake.read_arrow("quarantine", {"date": date or dates[-1]})
    if reason is not None:
        rows = rows.filter(pc.equal(rows["reason"], reason))
    return rows.select(list(COLUMNS)).sort_by([("source_row", "ascending"), ("image_index", "ascending")])


def write_quarantine(rows: pa.Table, path: Path) -> None:
    """Write refused rows to a CSV or Parquet file, chosen by the suffix.

    Raises:
        UsageError: the file has another suffix.
    """
    match path.suffix.lower():
        case ".csv":
            pa.csv.write_csv(rows, path)
        case ".parquet":
            pa.parquet.write_table(rows, path)
        case suffix:
            raise UsageError(f"{path} ends in {suffix!r}: name a .csv or .parquet file")
