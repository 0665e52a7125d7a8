"""The gate: limits on the metrics of a whole snapshot, tested by Great Expectations, with a page of the results.

The input is the one-row table of `validation.metrics`. The page ("data docs") is made self-contained, because the page
of Great Expectations loads styles and scripts from six servers, which a stored page of a nightly run must not.
"""

import html
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from validation.shares import METRIC_MEANINGS

if TYPE_CHECKING:
    import pandas as pd
    from great_expectations.core import ExpectationSuite, ExpectationSuiteValidationResult

GATE_NAME = "moon_nightly_gate"

_REMOTE = re.compile(
    r"<script\b.*?</script>|<link\b[^>]*>|<img\b.*?/>|<footer\b.*?</footer>|url\('https?://[^']*'\)[^;]*",
    re.DOTALL,
)
_STYLE = """<style>
body { font-family: system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; line-height: 1.45 }
table { border-collapse: collapse; width: 100% } td, th { border: 1px solid #ccc; padding: .4rem; text-align: left }
.btn, .ge-breadcrumbs, .navbar { display: none } .card { margin: 1rem 0 } .collapse { display: block }
</style>"""


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
    """

    metric: str
    meaning: str
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
    GateRule("rows", "rows of the snapshot"),
    GateRule(
        "row_ratio", "rows of the snapshot as a share of the rows of the latest earlier date", minimum="row_ratio"
    ),
    GateRule("null_id_share", "share of rows without a product id", maximum="null_share"),
    GateRule("null_title_share", "share of rows without a title", maximum="null_share"),
    GateRule("null_image_share", "share of rows without an image", maximum="null_share"),
    GateRule("duplicate_share", "share of ids that occur in an earlier row", maximum="duplicate_share"),
    GateRule(
        "category_coverage",
        "share of the earlier date's top categories that are still there",
        minimum="category_coverage",
    ),
)


@dataclass(frozen=True)
class GateResult:
    """The outcome of the gate.

    Attributes:
        failures: One sentence per failed expectation, with the observed value; empty when the snapshot passed.
        page: The data docs, one self-contained HTML document.
    """

    failures: tuple[str, ...]
    page: str

    @property
    def has_passed(self) -> bool:
        """Whether no expectation failed."""
        return not self.failures


def check_gate(metrics: "pd.DataFrame", limits: GateLimits, columns: str) -> GateResult:
    """Return which limits the metrics of a snapshot violate, and the page that shows all of them.

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
    plain = metrics.astype(object)  # the page's renderer does not accept NumPy's numbers
    result = definition.run(batch_parameters={"dataframe": plain}, run_id=run)
    return GateResult(tuple(_describe_failures(result, metrics)), _render_page(result, metrics))


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
        # The maximum of one row is its value. Only this expectation shows the value on the page.
        suite.add_expectation(
            gxe.ExpectColumnMaxToBeBetween(
                column=rule.metric,
                min_value=minimum,
                max_value=maximum,
                description=f"{rule.meaning}: {_describe_bound(minimum, maximum)}",
            )
        )
    return suite


def _describe_failures(result: "ExpectationSuiteValidationResult", metrics: "pd.DataFrame") -> list[str]:
    rules = {rule.metric: rule for rule in GATE_RULES}
    failures = []
    for failed in (item for item in result.results if not item.success):
        config = failed.expectation_config
        rule = rules.get(config.kwargs.get("column", "")) if config else None
        if config and rule:
            failures.append(_describe_failure(rule, config.kwargs, metrics.iloc[0].to_dict()))
        else:
            observed = failed.result.get("partial_unexpected_list") or failed.result.get("observed_value")
            error = "" if observed else f" {failed.exception_info}"
            failures.append(f"{config.type if config else 'expectation'}: observed {observed}{error}")
    return failures


def _describe_failure(rule: GateRule, bounds: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    observed = f"{row[rule.metric]:.4g}"
    if rule.metric == "row_ratio":
        observed += f" ({row['rows']:,} against {row['earlier_rows']:,} of {row['earlier_date']})"
    remedy = f"; if that is right, set {rule.setting}" if rule.setting else ""
    expected = _describe_bound(bounds.get("min_value"), bounds.get("max_value"))
    return f"{rule.meaning}: {observed}, expected {expected}{remedy}"


def _describe_bound(minimum: float | None, maximum: float | None) -> str:
    return f"at least {minimum:g}" if minimum is not None else f"at most {maximum:g}"


def _render_page(result: "ExpectationSuiteValidationResult", metrics: "pd.DataFrame") -> str:
    from great_expectations.render.renderer import ValidationResultsPageRenderer  # noqa: PLC0415
    from great_expectations.render.view import DefaultJinjaPageView  # noqa: PLC0415

    page: str = DefaultJinjaPageView().render(ValidationResultsPageRenderer().render(result))
    page = _REMOTE.sub("", page).replace("</head>", f"{_STYLE}</head>", 1)
    return page.replace("</body>", f"{_render_metrics(metrics)}</body>", 1)


def _render_metrics(metrics: "pd.DataFrame") -> str:
    """Return a table of all metrics with their meaning, also of those without an expectation."""
    cells = (
        f"<tr><td>{name}</td><td>{html.escape(str(value))}</td><td>{html.escape(meaning)}</td></tr>"
        for name, value in metrics.iloc[0].items()
        for meaning in [METRIC_MEANINGS.get(name, "")]
    )
    head = "<tr><th>Metric</th><th>Value</th><th>Meaning</th></tr>"
    return f'<div class="container-fluid"><h4>All metrics</h4><table>{head}{"".join(cells)}</table></div>'
