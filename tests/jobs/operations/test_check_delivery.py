"""check-source on whole deliveries: several files, dates and folders, and the forecast of two nights."""

import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.operations.check_report import build_check_document, predict_night
from tests.jobs.checked_shop import MAPPING, Check, levels, make_rows, write_csv


def write_parts(drawn_shop: Path, *parts: list[dict[str, str]], mapping: str = MAPPING) -> Path:
    """Write each list of rows as a file of a delivery; return its folder."""
    (drawn_shop / "parts").mkdir(exist_ok=True)
    for number, rows in enumerate(parts):
        write_csv(drawn_shop / "parts" / f"{number}.csv", rows)
    (drawn_shop / "mapping.toml").write_text(mapping)
    return drawn_shop / "parts"


def test_the_rows_of_every_part_are_judged_and_each_parts_columns(drawn_shop: Path, check_catalog: Check) -> None:
    good, refused = make_rows(0, 5), make_rows(5, 9, name="")
    parts = write_parts(drawn_shop, good, refused, make_rows(9, 12))
    check = check_catalog(parts)
    assert [(one.source_row, one.reason) for one in check.refusals] == [(n, "empty_title") for n in range(5, 9)]
    assert any("such as row 0 of 1.csv" in text for text in levels(check)["warning"])
    assert predict_night(check) == (
        "A night can use this catalogue: of 12 products it would serve 8 and refuse 4 (empty_title: 4). Exact, of all "
        "12 rows of 3 files. A second night with the same delivery would change nothing."
    )
    write_csv(parts / "2.csv", [{"sku": "9", "name": "Mug", "type": "Cups", "photo": "img/1.jpg"}])
    check = check_catalog(parts)
    assert not check.is_usable
    assert predict_night(check) == "A night would stop: the mapping names the column 'image', which 2.csv lacks"
    assert [part.rows for part in check.reader.parts] == [5, 4, 1]


def test_the_forecast_is_of_the_whole_file_and_not_of_its_first_rows(drawn_shop: Path, check_catalog: Check) -> None:
    (drawn_shop / "mapping.toml").write_text(MAPPING)
    write_csv(drawn_shop / "products.csv", [*make_rows(0, 100), *make_rows(100, 200, name="")])
    early = check_catalog(drawn_shop / "products.csv", read_rows=100)
    assert "it would serve 100 and refuse 0. An estimate from the 100 rows that were read: the file goes on." in (
        predict_night(early)
    )
    check = check_catalog(drawn_shop / "products.csv")
    assert predict_night(check).startswith(
        "A night would stop: the gate: share of rows without a title: 0.5, expected at most 0.2; if that is right, set "
        "MOON_MAX_NULL_SHARE"
    )
    assert predict_night(check).endswith("MOON_MAX_NULL_SHARE. Exact, of all 200 rows.")
    assert predict_night(check_catalog(drawn_shop / "products.csv", read_rows=150)).endswith(
        "An estimate from the 150 rows that were read: the file goes on."
    )
    write_csv(drawn_shop / "products.csv", [*make_rows(0, 100), *make_rows(50, 101)])
    assert "share of ids that occur in an earlier row: 0.3311" in predict_night(
        check_catalog(drawn_shop / "products.csv")
    )
    write_csv(drawn_shop / "products.csv", make_rows(0, 200, image="img/none.jpg"))
    assert "200 of 200 photos are missing or cannot be reached (100.0%)" in predict_night(
        check_catalog(drawn_shop / "products.csv")
    )


def test_an_id_in_two_parts_is_refused_once_and_rows_of_a_key_are_merged_across_parts(
    drawn_shop: Path, check_catalog: Check
) -> None:
    check = check_catalog(write_parts(drawn_shop, make_rows(0, 5), make_rows(4, 8)))
    assert [(one.source_row, one.detail) for one in check.refusals] == [(5, "duplicate_id: row 4 has the same id")]
    mapping = MAPPING.replace('id = "sku"\n', 'product = "sku"\nwhere = "name != \'x\'"\n')
    (drawn_shop / "mapping.toml").write_text(mapping)
    write_csv(drawn_shop / "parts" / "2.csv", make_rows(20, 23, name="x"))
    check = check_catalog(drawn_shop / "parts")
    assert check.refusals == []
    forecast = build_check_document(check)["forecast"]
    numbers = {name: forecast[name] for name in ("products", "served", "merged_rows", "left_out_rows", "exact")}
    assert numbers == {"products": 8, "served": 8, "merged_rows": 1, "left_out_rows": 3, "exact": True}


def test_products_whose_photos_are_no_images_stop_the_second_night(drawn_shop: Path, check_catalog: Check) -> None:
    (drawn_shop / "img" / "3.jpg").write_text("<svg/>")
    (drawn_shop / "mapping.toml").write_text(MAPPING)
    write_csv(drawn_shop / "products.csv", [*make_rows(0, 20), *make_rows(20, 24, image="img/3.jpg")])
    check = check_catalog(drawn_shop / "products.csv", max_rows=30, breaker_floor=2)
    assert check.is_usable
    assert predict_night(check) == (
        "A night can use this catalogue: of 24 products it would serve 20 and refuse 4 (no_readable_image: 4). Exact, "
        "of all 24 rows. A second night with the same delivery would stop: 4 of 24 products have no photo that can be "
        "used (16.7%); the limit is 10.0% and more than 2 (--allow-refusals)."
    )


def test_a_broken_part_is_named_and_the_others_are_read(drawn_shop: Path, check_catalog: Check) -> None:
    parts = write_parts(drawn_shop, make_rows(0, 3), make_rows(3, 6))
    (parts / "2.csv.gz").write_bytes(gzip.compress((parts / "1.csv").read_bytes() * 50)[:-20])
    (parts / "3.csv").write_bytes(b'"sku')
    (parts / "4.csv.gz").write_bytes(gzip.compress(b""))
    check = check_catalog(parts)
    errors = "\n".join(levels(check)["error"])
    for name, words in (("2.csv.gz", "cannot be unpacked"), ("3.csv", "first line"), ("4.csv.gz", "to nothing")):
        assert any(name in line and words in line for line in errors.splitlines())
    assert predict_night(check).startswith("A night would stop: ")
    assert [part.rows for part in check.reader.parts[:2]] == [3, 3]
    (parts / "4.csv.gz").write_bytes(b"")
    assert "4.csv.gz is empty" in predict_night(check_catalog(parts))


def test_a_parquet_part_without_a_mapped_column_stops(drawn_shop: Path, check_catalog: Check) -> None:
    parts = write_parts(drawn_shop, make_rows(0, 1))
    (parts / "0.csv").unlink()
    pq.write_table(pa.Table.from_pylist(make_rows(0, 3)), parts / "0.parquet")
    pq.write_table(pa.Table.from_pylist(make_rows(3, 5)), parts / "1.parquet")
    assert "it would serve 5 and refuse 0" in predict_night(check_catalog(parts))
    pq.write_table(pa.Table.from_pylist(make_rows(3, 5)).drop_columns(["image"]), parts / "1.parquet")
    assert "1.parquet lacks 'image'" in predict_night(check_catalog(parts))
    (parts / "1.parquet").write_bytes(b"PAR1")
    assert "1.parquet is no readable Parquet file" in predict_night(check_catalog(parts))


def test_an_id_in_two_folders_and_a_delivery_of_one_date_stop_where_a_night_does(
    drawn_shop: Path, check_catalog: Check
) -> None:
    parts = write_parts(drawn_shop, make_rows(0, 1))
    (parts / "0.csv").unlink()
    for day in ("monday", "tuesday"):
        (parts / day).mkdir()
        write_csv(parts / day / "a.csv", make_rows(0, 3))
    assert "the product '0' is in " in predict_night(check_catalog(parts))


def test_the_latest_date_is_predicted_with_the_rows_that_have_none(drawn_shop: Path, check_catalog: Check) -> None:
    (drawn_shop / "mapping.toml").write_text(MAPPING + 'snapshot = "day"\n')
    rows = [*make_rows(0, 5, day="2026-11-20"), *make_rows(0, 7, day="2026-11-21"), *make_rows(8, 9, day="")]
    write_csv(drawn_shop / "products.csv", rows)
    check = check_catalog(drawn_shop / "products.csv")
    assert "of 8 products of 2026-11-21 it would serve 7 and refuse 1 (malformed_row: 1)" in predict_night(check)
    assert check.judged == 13
    assert len(check.refusals) == 1
    write_csv(drawn_shop / "products.csv", make_rows(0, 5, day="22.11.2026"))
    assert predict_night(check_catalog(drawn_shop / "products.csv")).startswith(
        "A night would stop: the snapshot column 'day' holds no date"
    )
