"""What check-source predicts of a delivery is what nights make of it: rows, refusals, and the reason of a stop."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.errors import MoonError, NightStoppedError
from jobs.operations.check_report import build_check_document
from jobs.operations.check_source import check_source
from jobs.stages.pull import pull
from jobs.stages.validate import validate
from tests.jobs.checked_shop import MAPPING, draw_shop, make_rows, write_csv
from tests.scenarios.nights import run_night

Rows = list[dict[str, str]]
PARTS: list[Rows] = [make_rows(0, 30), [*make_rows(25, 40), *make_rows(40, 43, name="")], make_rows(43, 50, image="")]


def write_csv_parts(folder: Path) -> None:
    for number, rows in enumerate(PARTS):
        write_csv(folder / f"{number}.csv", rows)


def write_json_parts(folder: Path) -> None:
    texts = ["".join(json.dumps(row) + "\n" for row in rows) for rows in PARTS]
    (folder / "0.jsonl").write_text(texts[0])
    (folder / "1.jsonl.gz").write_bytes(gzip.compress(("\n" + texts[1] + '{"sku": 7, \n').encode()))
    (folder / "2.jsonl").write_text(texts[2])


def write_parquet_parts(folder: Path) -> None:
    for number, rows in enumerate(PARTS):
        table = pa.Table.from_pylist(rows)
        if number == 1:  # ids are numbers in one of the files
            table = table.set_column(0, "sku", table.column("sku").cast(pa.int64()))
        pq.write_table(table, folder / f"{number}.parquet")


def lack_a_column(folder: Path) -> None:
    write_csv_parts(folder)
    write_csv(folder / "2.csv", [{"sku": "1", "name": "Mug", "type": "Cups"}])


def lack_a_column_in_parquet(folder: Path) -> None:
    write_parquet_parts(folder)
    pq.write_table(pa.Table.from_pylist(PARTS[0]).drop_columns(["image"]), folder / "2.parquet")


def cut_a_part_off(folder: Path) -> None:
    write_csv_parts(folder)
    data = gzip.compress(b"".join(f"{n},Mug,Cups,img/{n}.jpg\n".encode() for n in range(20_000)))
    (folder / "2.csv.gz").write_bytes(data[: len(data) // 2])


def repeat_ids_in_folders(folder: Path) -> None:
    for day in ("a", "b"):
        (folder / day).mkdir()
        write_csv(folder / day / "0.csv", make_rows(0, 20))


def leave_titles_out(folder: Path) -> None:
    write_csv_parts(folder)
    write_csv(folder / "3.csv", make_rows(50, 100, name=" "))


def write_headings_that_share_nothing(folder: Path) -> None:
    write_csv_parts(folder)
    write_csv(folder / "2.csv", [{"Artikel": "1", "Bezeichnung": "Mug"}])


def check(make_settings, tmp_path: Path, write: Callable[[Path], None], mapping: str = MAPPING, **options: object):
    (draw_shop(tmp_path) / "parts").mkdir()
    write(tmp_path / "parts")
    (tmp_path / "mapping.toml").write_text(mapping)
    found = check_source(str(tmp_path / "parts"), make_settings(**options), max_rows=60)
    return found, build_check_document(found)["forecast"]


@pytest.mark.long
@pytest.mark.parametrize("write", [write_csv_parts, write_json_parts, write_parquet_parts])
@pytest.mark.parametrize(
    "mapping", [MAPPING, MAPPING.replace('id = "sku"', 'product = "sku"\nwhere = "name != \'Pot\'"')]
)
def test_the_rows_are_those_of_a_night(write, mapping: str, make_settings, make_night, tmp_path: Path) -> None:
    found, forecast = check(make_settings, tmp_path, write, mapping)
    context = make_night(catalog=str(tmp_path / "parts"))
    delivered = pull(context).counts["delivered"]
    counts = validate(context).counts
    rows = context.lake.read_arrow("quarantine", {**context.partition, "stage": "validate"}).to_pylist()
    expected = sorted((row["source_row"], row["reason"], row["detail"]) for row in rows)
    assert [(one.source_row, one.reason, one.detail) for one in found.refusals] == expected
    assert (forecast["exact"], forecast["rows_read"], forecast["served"]) == (True, delivered, counts["valid"])
    assert (forecast["merged_rows"], forecast["left_out_rows"]) == (counts["merged"], counts["left_out"])


@pytest.mark.long
@pytest.mark.parametrize(
    "write",
    [
        lack_a_column, lack_a_column_in_parquet, cut_a_part_off, repeat_ids_in_folders, leave_titles_out,
        write_headings_that_share_nothing,
    ],
)  # fmt: skip
def test_a_night_stops_where_it_is_predicted(write, make_settings, make_night, tmp_path: Path) -> None:
    found, _ = check(make_settings, tmp_path, write)
    assert not found.is_usable
    context = make_night(catalog=str(tmp_path / "parts"))
    with pytest.raises(NightStoppedError):
        pull(context)
        validate(context)


@pytest.mark.long
def test_a_second_night_stops_for_photos_that_are_no_images(spark, make_settings, tmp_path: Path) -> None:
    def write(folder: Path) -> None:
        (tmp_path / "img" / "3.jpg").write_text("<svg/>")
        write_csv(folder / "0.csv", [*make_rows(0, 20), *make_rows(20, 24, image="img/3.jpg")])

    options = {"breaker_floor": 2, "catalog": str(tmp_path / "parts")}
    found, forecast = check(make_settings, tmp_path, write, **options)
    assert (found.is_usable, len(forecast["second_night_stops"])) == (True, 1)
    settings = make_settings(**options)
    counts = run_night(spark, settings, "2026-11-20").results["report"].counts
    assert (counts["encoded"], counts["quarantined"]) == (20, 4)
    with pytest.raises(MoonError, match="no photo of theirs can be used"):
        run_night(spark, settings, "2026-11-21")
