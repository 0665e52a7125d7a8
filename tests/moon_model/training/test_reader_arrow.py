"""Tests that the pyarrow reader meets the contract of all readers and checks the files before training starts."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from moon_model.training.pairs import PairDataError
from moon_model.training.reader_arrow import ArrowPairs
from tests.moon_model.training.pair_files import ReaderContract, row, write_pairs


class TestArrow(ReaderContract):
    open = ArrowPairs


def test_missing_columns_and_files_are_named(tmp_path: Path) -> None:
    folder = write_pairs(tmp_path, [row(number) for number in range(8)], files=1)
    pq.write_table(pa.table({"pair_id": list(range(8))}), folder / "part-0.parquet", row_group_size=4)
    with pytest.raises(PairDataError, match="lacks the columns identity, item, kind, negatives, query"):
        ArrowPairs(folder, 2)
    (folder / "part-0.parquet").unlink()
    with pytest.raises(PairDataError, match=r"part-0.parquet cannot be read"):
        ArrowPairs(folder, 2)


def test_unequal_row_groups_are_refused(tmp_path: Path) -> None:
    folder = write_pairs(tmp_path, [row(number) for number in range(8)], files=1)
    pq.write_table(pq.read_table(folder / "part-0.parquet"), folder / "part-0.parquet", row_group_size=5)
    with pytest.raises(PairDataError, match="5 rows, the manifest says 4"):
        list(ArrowPairs(folder, 2).iter_epoch(0))


def test_a_row_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    rows = [row(number) for number in range(8)]
    rows[3]["query"] = json.dumps({"titel": "misspelt"})
    with pytest.raises(PairDataError, match=r"pair 3 cannot be read.*titel"):
        list(ArrowPairs(write_pairs(tmp_path, rows), 2).iter_epoch(0))
