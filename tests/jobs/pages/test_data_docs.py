"""Tests of the data docs: the status of every check is a word, and the page needs no other file."""

from pathlib import Path

from jobs.lake.storage import Storage
from jobs.lake.store import Lake
from jobs.pages.data_docs import write_data_docs
from tests.jobs.pages.page_reader import PageReader
from validation.gate import GateCheck, GateResult

DATE = "2026-01-02"
TITLE = '<script>alert(1)</script> "& [/b]'


def test_a_failed_gate_has_the_status_of_every_check(tmp_path: Path) -> None:
    failed = GateCheck(
        "null_title_share", "share of rows without a title", "58%", "at most 20%", TITLE, "58% are empty"
    )
    passed = GateCheck("rows", "rows of the snapshot", "1,200", "at least 1")
    result = GateResult((failed, passed), (("earlier_date", TITLE, "the latest earlier date"),))
    uri = write_data_docs(Lake(Storage(str(tmp_path / "lake"))), DATE, result)
    assert Path(uri).parent == tmp_path / "lake" / "_data_docs" / DATE
    page = PageReader(Path(uri).read_text())
    checks, metrics = page.tables
    assert [row[0] for row in checks[1:]] == ["✕ Failed", "✓ Passed"]
    assert checks[1][2:] == ["58%", "at most 20%"] and TITLE in checks[1][1]
    assert metrics[1] == ["earlier_date", TITLE, "the latest earlier date"]
    assert "Failed: 1 of 2 checks. 58% are empty. Nothing of the snapshot of 2026-01-02 is served." in page.text
    assert page.links == ["../../_reports/index.html"]
    page.check()


def test_a_passed_gate_says_so(tmp_path: Path) -> None:
    result = GateResult((GateCheck("rows", "rows of the snapshot", "1,200", "at least 1"),), ())
    text = PageReader(Path(write_data_docs(Lake(Storage(str(tmp_path))), DATE, result)).read_text()).text
    assert "Succeeded: the snapshot of 2026-01-02 passed all 1 checks." in text and "What to do" not in text
