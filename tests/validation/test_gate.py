import pandas as pd
import pytest

from validation.gate import GATE_RULES, GateLimits, check_gate, find_gate_failures
from validation.shares import METRIC_MEANINGS

LIMITS = GateLimits(row_ratio=0.5, null_share=0.2, duplicate_share=0.2, category_coverage=0.5, tolerated_rows=10)
GOOD = {
    **dict.fromkeys(METRIC_MEANINGS, 0.0), "snapshot_date": "2026-01-02", "earlier_date": "2026-01-01",
    "columns": "a string",
    "rows": 900, "earlier_rows": 1000, "row_ratio": 0.9, "categories": 3, "category_coverage": 1.0,
}  # fmt: skip


def check(**metrics):
    return check_gate(pd.DataFrame([{**GOOD, **metrics}]), LIMITS, "a string")


def test_a_good_snapshot_passes_every_check(caplog):
    result = check()
    assert result.has_passed
    assert not [record for record in caplog.records if record.name.startswith("great_expectations")]
    assert [check.metric for check in result.checks] == ["", "columns", *(rule.metric for rule in GATE_RULES)]
    rows = next(check for check in result.checks if check.metric == "row_ratio")
    assert (rows.observed, rows.expected, rows.failure) == ("90%", "at least 50%", "")
    assert ("rows", "900", "rows of the snapshot") in result.metrics
    assert {name for name, _, _ in result.metrics} == set(METRIC_MEANINGS), "also those that no expectation tests"


@pytest.mark.parametrize(
    ("metrics", "words"),
    [
        (
            {"rows": 400, "row_ratio": 0.4},
            "rows of the snapshot as a share of the rows of the latest earlier date: 0.4 (400 against 1,000 of "
            "2026-01-01), "
            "expected at least 0.5; if that is right, set MOON_MIN_ROW_RATIO",
        ),
        ({"null_title_share": 0.25}, "share of rows without a title: 0.25, expected at most 0.2"),
        ({"duplicate_share": 0.21}, "share of ids that occur in an earlier row: 0.21, expected at most 0.2"),
        ({"category_coverage": 0.3}, "categories that are still there: 0.3, expected at least 0.5"),
        ({"columns": "b string"}, "expect_column_values_to_be_in_set: observed ['b string']"),
        ({"surprise": 1}, "expect_table_columns_to_match_set: observed "),
    ],
)
def test_a_bad_snapshot_is_refused_in_words(metrics, words):
    result = check(**metrics)
    assert len(result.failures) == 1
    if not words.startswith("expect_"):  # of the form of the table, not of its numbers
        assert find_gate_failures({**GOOD, **metrics}, LIMITS) == list(result.failures)
    assert words in result.failures[0]
    assert result.verdict


@pytest.mark.parametrize(
    ("metrics", "verdict"),
    [
        ({"null_title_share": 0.58}, "58% of titles are empty, the limit is 20%"),
        (
            {"null_title_share": 0.5837, "duplicate_share": 0.3},
            "58.4% of titles are empty, the limit is 20% (and 1 more)",
        ),
        ({"row_ratio": 0.4}, "the snapshot has 40% of the rows of the date before, the limit is 50%"),
        ({"rows": 0, "earlier_rows": 0}, "the snapshot has 0 rows, the limit is 1"),
    ],
)
def test_a_failure_in_a_few_words(metrics, verdict):
    assert check(**metrics).verdict == verdict


def test_several_failures_are_all_named():
    metrics = {"null_id_share": 1.0, "null_image_share": 0.5, "rows": 0, "row_ratio": 0.0}
    # With no row at all there is no share of it to be wrong.
    assert len(check(**metrics).failures) == 2
    assert len(check(**{**metrics, "rows": 900, "row_ratio": 0.9}).failures) == 2


def test_a_small_catalogue_may_move_in_large_shares():
    metrics = {"rows": 10, "earlier_rows": 20, "row_ratio": 0.5, "duplicate_share": 0.9, "null_title_share": 0.5}
    assert check(**metrics).has_passed
    assert find_gate_failures({**GOOD, **metrics}, LIMITS) == []


def test_every_gate_rule_tests_a_metric_and_names_a_setting_that_exists(make_settings):
    settings = make_settings()
    for rule in GATE_RULES:
        assert rule.metric in METRIC_MEANINGS
        assert not rule.setting or hasattr(settings, rule.setting.removeprefix("MOON_").lower())
