import io
import json

import pytest
from rich.console import Console

from jobs.catalog.delivery_judge import SnapshotResult
from jobs.catalog.forecast import Forecast
from jobs.catalog.head import CatalogHead
from jobs.catalog.part_reader import PartReader
from jobs.catalog.records import ParsedRecord
from jobs.operations.check_photos import ImageHeader
from jobs.operations.check_report import build_check_document, predict_night, print_check
from jobs.operations.check_source import CheckResult
from schemas.product import ImageRef
from schemas.source import MappedRow, SourceMapping
from validation.reasons import Reason
from validation.rules import Refusal


def example() -> CheckResult:
    row = MappedRow(
        "m[1]",
        "Mug [bold]",
        "x" * 200,
        ["Home", "Kitchen"],
        {"colour": "red"},
        images=[ImageRef("file:///s/a.jpg", "1")],
    )
    bad = MappedRow("2", None, None, [], None, "expected a map", images=[])
    check = CheckResult(
        "shop.csv", CatalogHead(["shop.csv"], "csv", ["id"], [ParsedRecord({"id": 1}, None)], whole=True), 'id = "id"\n'
    )
    check.rows = [
        (
            row,
            [
                ImageHeader("file:///s/a.jpg", 80, 60, "JPEG"),
                ImageHeader("file:///s/b.jpg", problem="image_missing: no"),
            ],
        ),
        (bad, []),
        (MappedRow(row_error="has 2 fields"), []),
    ]
    check.add_finding("note", "read all 1 records")
    check.add_finding("error", "files of [several] formats")
    check.refusals.append(Refusal(1, Reason.MISSING_ID, "missing_id: the id is null"))
    return check


def printed(check: CheckResult) -> str:
    stream = io.StringIO()
    print_check(check, Console(file=stream, width=160))
    return stream.getvalue()


def test_the_print_shows_rows_sizes_and_findings_errors_first() -> None:
    text = printed(example())
    for words in (
        'id = "id"', "m[1]", "Mug [bold]", "Home › Kitchen", "colour: red", "80×60 JPEG", "b.jpg  image_missing",
        "expected a map", "has 2 fields", "[several]", "A night would stop",
    ):  # fmt: skip
        assert words in text
    assert text.index("[several]") < text.index("read all 1 records")
    assert "x" * 70 not in text


def test_a_good_check_says_so() -> None:
    assert "A night can use this catalogue" in printed(CheckResult("shop.csv", mapping_file="m.toml"))
    assert "m.toml" in printed(CheckResult("shop.csv", mapping_file="m.toml"))


def predict(forecast: Forecast, *, is_whole: bool, unopened: int = 0) -> str:
    """Return the last line for 41 products of which 5 are refused."""
    head = CatalogHead(["a.csv", "b.csv"], "csv", ["id"], [ParsedRecord({}, None)], whole=True)
    check = CheckResult("shop", head, unopened=unopened)
    check.reader = PartReader(head, SourceMapping(id="id", title="name"))
    for part in check.reader.parts:
        part.rows, part.is_whole = 50, True
    check.reader.parts[1].is_whole = is_whole
    refusals = tuple(Refusal(n, Reason.NO_IMAGE if n else Reason.MISSING_ID, "") for n in range(5))
    check.night = SnapshotResult("2026-11-20", 41, refusals, 3, 2, (), forecast)
    return predict_night(check)


def test_the_last_line_predicts_two_nights() -> None:
    start = (
        "A night can use this catalogue: of 41 products of 2026-11-20 it would serve 36 and refuse 5 (no_image: 4, "
        "missing_id: 1), and leave out 2 rows. "
    )
    second = " A second night with the same delivery would "
    assert predict(Forecast(), is_whole=True) == f"{start}Exact, of all 100 rows of 2 files.{second}change nothing."
    assert predict(Forecast(), is_whole=False, unopened=7) == (
        f"{start}An estimate from the 100 rows of 2 files that were read: 1 of them go on.{second}change nothing."
    )
    assert predict(Forecast(second_stops=("one", "two")), is_whole=True, unopened=7) == (
        f"{start}Exact, of all 100 rows of 2 files, unless some of 7 photos that were not opened are unusable.{second}"
        "stop: one; two."
    )
    assert predict(Forecast(least_accepted=0.072), is_whole=True).endswith(
        "change nothing; in a collection whose last run refused less than 7.2% it would stop."
    )


def test_a_stop_is_the_last_line() -> None:
    check = CheckResult("shop.csv")
    check.add_finding("error", "there is no title")
    assert printed(check).endswith("A night would stop: there is no title\n")


def test_what_is_there_to_copy_is_neither_wrapped_nor_cut() -> None:
    line = f'attributes = ["{"x" * 300}"]'
    check = CheckResult("shop.csv", mapping_text=f'id = "id"\n{line}\n')
    check.add_finding("note", f"read {'y' * 300}")
    lines = printed(check).splitlines()
    assert line in [one.rstrip() for one in lines]
    assert any("y" * 300 in one for one in lines)


def test_the_document_is_plain_json_with_everything() -> None:
    document = json.loads(json.dumps(build_check_document(example())))
    assert document["ok"] is False
    assert document["format"] == "csv"
    assert document["suggested_mapping"] == 'id = "id"\n'
    assert document["rows"][0]["images"][0] == {
        "uri": "file:///s/a.jpg", "width": 80, "height": 60, "format": "JPEG", "problem": None, "size": None,
    }  # fmt: skip
    assert document["findings"][0] == {"level": "error", "text": "files of [several] formats"}
    assert document["refusals"] == [{"source_row": 1, "reason": "missing_id", "detail": "missing_id: the id is null"}]
    assert build_check_document(CheckResult("x"))["files"] == []


@pytest.mark.parametrize("odd", ["[abc]", "[/b]", ":smile:", "[red]x[/red]", "[link=https://a.b]x[/]", "\\[x]"])
def test_text_from_data_paths_and_headings_is_printed_as_it_is(odd: str) -> None:
    row = MappedRow(f"i{odd}", f"t{odd}", f"d{odd}", [f"c{odd}"], {f"k{odd}": f"v{odd}"}, images=[])
    wrong = MappedRow("2", "t", None, [], None, f"a{odd}")
    check = CheckResult("shop.csv", mapping_text=f'id = "h{odd}"\n')
    check.rows = [
        (row, [ImageHeader(f"file:///s/u{odd}"), ImageHeader(f"file:///s/p{odd}", problem=f"image_missing: {odd}")])
    ]
    check.rows += [(wrong, []), (MappedRow(row_error=f"e{odd}"), [])]
    check.add_finding("error", f"columns that are not used: f{odd}")
    # A console that would read markup and emoji codes in a plain text.
    text = printed(check)
    for start in ("i", "t", "d", "c", "k", "v", "h", "a", "e", "f"):
        assert f"{start}{odd}" in text
    for start in "up":
        assert f"{start}{odd}".rsplit("/", 1)[-1] in text
    assert f"g{odd}/m.toml" in printed(CheckResult("shop.csv", mapping_file=f"g{odd}/m.toml"))
    document = json.loads(json.dumps(build_check_document(check)))
    assert document["rows"][0]["title"] == f"t{odd}"
    assert document["findings"][0]["text"] == f"columns that are not used: f{odd}"
