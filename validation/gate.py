"""The gate: limits on the metrics of a whole snapshot, tested by Great Expectations.

The input is the one-row table of `validation.metrics`. Its results are shown by `jobs.pages.data_docs`.
"""

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from validation.shares import METRIC_MEANINGS

if TYPE_CHECKING:
    import pandas as pd
    from great_expectations.core import ExpectationSuite, ExpectationValidationResult

GATE_NAME = "moon_nightly_gate"


@dataclass(frozen=True)
class GateLimits:
    """The numbers in the gate's rules.

    Attributes:
        row_ratio: Minimum rows as a share of the rows of the latest earlier date.
        null_share: Maximum share of rows without an id, a title or an image.
        duplicate_share: Maximum share of ids that an earlier row has as well.
        category_coverage: Minimum share of the earlier date's top categories that still occur.
        tolerated_rows: A share over its limit passes if it is this number of rows or fewer, because shares of a small
            catalogue vary widely.
    """

    row_ratio: float
    null_share: float
    duplicate_share: float
    category_coverage: float
    tolerated_rows: int

    def relax_maximum(self, share: float, rows: int) -> float:
        """Return the largest share of `rows` rows that passes a maximum of `share`."""
        return min(1.0, max(share, self.tolerated_rows / rows)) if rows else 1.0

    def relax_minimum(self, share: float, rows: int) -> float:
        """Return the smallest share of `rows` rows that passes a minimum of `share`."""
        return max(0.0, min(share, 1 - self.tolerated_rows / rows)) if rows else 0.0


@dataclass(frozen=True)
class GateRule:
    """A limit on one metric of a snapshot.

    Attributes:
        metric: Its column in the table of `validation.metrics`.
        meaning: Text that says what it measures.
        minimum: The field of `GateLimits` with its smallest value that passes; "": it has no such field.
        maximum: The field of `GateLimits` with its largest value that passes; "": it has no maximum.
        sentence: What was found, in a few words, with a place for the value.
    """

    metric: str
    meaning: str
    sentence: str
    minimum: str = ""
    maximum: str = ""

    @property
    def setting(self) -> str:
        """The setting to change if the snapshot is right and the limit is wrong; "" if no setting has the limit."""
        name = f"min_{self.minimum}" if self.minimum else f"max_{self.maximum}" if self.maximum else ""
        return name and f"MOON_{name.upper()}"

    def compute_bounds(self, limits: GateLimits, rows: int, earlier_rows: int) -> tuple[float | None, float | None]:
        """Return minimum and maximum for a snapshot of `rows` rows; None: unbounded.

        A metric with neither field needs at least 1.
        """
        if self.maximum:
            return None, limits.relax_maximum(getattr(limits, self.maximum), rows)
        return limits.relax_minimum(getattr(limits, self.minimum), earlier_rows) if self.minimum else 1, None


GATE_RULES: tuple[GateRule, ...] = (
    GateRule("rows", "rows of the snapshot", "the snapshot has {} rows"),
    GateRule(
        "row_ratio",
        "rows of the snapshot as a share of the rows of the latest earlier date",
        "the snapshot has {} of the rows of the date before",
        minimum="row_ratio",
    ),
    GateRule("null_id_share", "share of rows without a product id", "{} of rows have no id", maximum="null_share"),
    GateRule("null_title_share", "share of rows without a title", "{} of titles are empty", maximum="null_share"),
    GateRule("null_image_share", "share of rows without an image", "{} of rows have no image", maximum="null_share"),
    GateRule(
        "duplicate_share",
        "share of ids that occur in an earlier row",
        "{} of product ids occur in an earlier row",
        maximum="duplicate_share",
    ),
    GateRule(
        "category_coverage",
        "share of the earlier date's top categories that are still there",
        "{} of the top categories of the date before are left",
        minimum="category_coverage",
    ),
)


@dataclass(frozen=True)
class GateCheck:
    """The result of one expectation, in words.

    Attributes:
        metric: Its column in the table of metrics; empty for the check of the table's columns.
        meaning: What it measures.
        observed, expected: Value and limit.
        failure: Observed value, limit and remedy in one sentence; empty when it passed.
        verdict: The failure in a few words.
    """

    metric: str
    meaning: str
    observed: str
    expected: str
    failure: str = ""
    verdict: str = ""


@dataclass(frozen=True)
class GateResult:
    """The outcome of the gate.

    Attributes:
        checks: One result per expectation.
        metrics: All metrics, also those without an expectation: name, value as text, meaning.
    """

    checks: tuple[GateCheck, ...]
    metrics: tuple[tuple[str, str, str], ...]

    @property
    def failures(self) -> tuple[str, ...]:
        """One sentence per failed expectation, with the observed value; empty when the snapshot passed."""
        return tuple(check.failure for check in self.checks if check.failure)

    @property
    def verdict(self) -> str:
        """The first failure in a few words, and how many others there are; empty when the snapshot passed."""
        failed = [check.verdict for check in self.checks if check.failure]
        others = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        return f"{failed[0]}{others}" if failed else ""

    @property
    def has_passed(self) -> bool:
        """Whether no expectation failed."""
        return not self.failures


def check_gate(metrics: "pd.DataFrame", limits: GateLimits, columns: str) -> GateResult:
    """Return the result of every limit on the metrics of a snapshot.

    Args:
        metrics: One row with the columns of `validation.shares.METRIC_MEANINGS`.
        limits: The numbers in the gate's rules.
        columns: The value that the metric ``columns`` must have.
    """
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    import great_expectations as gx  # noqa: PLC0415  takes seconds; a run whose date is validated does not need it
    from great_expectations.data_context.types.base import ProgressBarsConfig  # noqa: PLC0415

    # This module sets its own logger to INFO, to announce a temporary folder that it does not keep.
    logging.getLogger("great_expectations.data_context.types.base").setLevel(logging.WARNING)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    asset = context.data_sources.add_pandas("lake").add_dataframe_asset("snapshot_metrics")
    batch = asset.add_batch_definition_whole_dataframe("snapshot")
    suite = context.suites.add(_build_suite(limits, columns, metrics.iloc[0].to_dict()))
    definition = context.validation_definitions.add(gx.ValidationDefinition(name=GATE_NAME, data=batch, suite=suite))
    run = gx.RunIdentifier(run_name=f"snapshot of {metrics['snapshot_date'][0]}")
    result = definition.run(batch_parameters={"dataframe": metrics.astype(object)}, run_id=run)
    row = metrics.iloc[0].to_dict()
    shown = tuple((name, format_metric(name, value), METRIC_MEANINGS.get(name, "")) for name, value in row.items())
    return GateResult(tuple(_describe_check(item, row, columns) for item in result.results), shown)


def find_gate_failures(metrics: Mapping[str, Any], limits: GateLimits) -> list[str]:
    """Return which limits the metrics of a snapshot violate, in the words of `check_gate`, without a page.

    Great Expectations, which takes seconds to load, is not needed.

    Args:
        metrics: One row of metrics (`validation.shares`).
        limits: The numbers in the gate's rules.
    """
    failures = []
    for rule in GATE_RULES:
        minimum, maximum = rule.compute_bounds(limits, metrics["rows"], metrics["earlier_rows"])
        value = metrics[rule.metric]
        if (minimum is not None and value < minimum) or (maximum is not None and value > maximum):
            failures.append(_describe_failure(rule, {"min_value": minimum, "max_value": maximum}, metrics))
    return failures


def _build_suite(limits: GateLimits, columns: str, row: dict[str, Any]) -> "ExpectationSuite":
    import great_expectations as gx  # noqa: PLC0415
    import great_expectations.expectations as gxe  # noqa: PLC0415

    suite = gx.ExpectationSuite(GATE_NAME)
    suite.add_expectation(gxe.ExpectTableColumnsToMatchSet(column_set=list(METRIC_MEANINGS), exact_match=True))
    suite.add_expectation(
        gxe.ExpectColumnValuesToBeInSet(
            column="columns", value_set=[columns], description=f"{METRIC_MEANINGS['columns']}: {columns}"
        )
    )
    for rule in GATE_RULES:
        minimum, maximum = rule.compute_bounds(limits, row["rows"], row["earlier_rows"])
        # The maximum of one row is its value, which this expectation reports.
        suite.add_expectation(
            gxe.ExpectColumnMaxToBeBetween(
                column=rule.metric,
                min_value=minimum,
                max_value=maximum,
                description=f"{rule.meaning}: {_describe_bound({'min_value': minimum, 'max_value': maximum})}",
            )
        )
    return suite


def _describe_check(item: "ExpectationValidationResult", row: dict[str, Any], columns: str) -> GateCheck:
    """Return the result of one expectation in words.

    Args:
        item: The result of Great Expectations.
        row: The metrics.
        columns: The value that the metric ``columns`` must have.
    """
    config = item.expectation_config
    kwargs = config.kwargs if config else {}
    metric = str(kwargs.get("column", ""))
    rule = {rule.metric: rule for rule in GATE_RULES}.get(metric)
    if rule:
        limit = kwargs.get("min_value") if kwargs.get("max_value") is None else kwargs.get("max_value")
        check = GateCheck(
            metric,
            rule.meaning,
            format_metric(metric, row[metric]),
            _describe_bound(kwargs, partial(format_metric, metric)),
        )
        if item.success:
            return check
        found = rule.sentence.format(format_metric(metric, row[metric]))
        verdict = f"{found}, the limit is {format_metric(metric, limit)}"
        return replace(check, failure=_describe_failure(rule, kwargs, row), verdict=verdict)
    observed = item.result.get("partial_unexpected_list") or item.result.get("observed_value")
    error = "" if item.success or observed else f" {item.exception_info}"
    meaning = METRIC_MEANINGS.get(metric, "names of the metrics")
    check = GateCheck(metric, meaning, str(row.get(metric, "as expected")), columns if metric else "as in this release")
    if item.success:
        return check
    failure = f"{config.type if config else 'expectation'}: observed {observed}{error}"
    return replace(check, observed=f"{observed}{error}", failure=failure, verdict=f"{meaning}: not as expected")


def _describe_failure(rule: GateRule, bounds: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    observed = f"{row[rule.metric]:.4g}"
    if rule.metric == "row_ratio":
        observed += f" ({row['rows']:,} against {row['earlier_rows']:,} of {row['earlier_date']})"
    remedy = f"; if that is right, set {rule.setting}" if rule.setting else ""
    return f"{rule.meaning}: {observed}, expected {_describe_bound(bounds)}{remedy}"


def _describe_bound(bounds: Mapping[str, Any], show: Callable[[float], str] = "{:g}".format) -> str:
    minimum, maximum = bounds.get("min_value"), bounds.get("max_value")
    return f"at least {show(minimum)}" if minimum is not None else f"at most {show(float(maximum or 0))}"


def format_metric(name: str, value: object) -> str:
    """Return the value of a metric for a reader: shares as percentages, counts with separators, texts as they are."""
    if isinstance(value, str) or value is None:
        return value or "none"
    number = float(str(value))
    if name.endswith("_share") or name in ("row_ratio", "category_coverage"):
        return f"{number:.1%}".replace(".0%", "%")
    return f"{number:,.0f}"
