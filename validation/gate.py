"""The gate: Great Expectations judges the one-row table of a snapshot's metrics, and its page is kept.

The rules come from `validation.rules.GATE_RULES`. The page ("data docs") is made self-contained: the one that Great
Expectations writes fetches styles and scripts from six servers, which a nightly job's archive must not.
"""

import html
import logging
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from validation.metrics import METRIC_MEANINGS
from validation.rules import GATE_RULES, GateLimits, GateRule

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
class GateResult:
    """What the gate found.

    Attributes:
        failures: one sentence a failed expectation, with the observed value; empty when the gate is open.
        page: the data docs, one self-contained HTML document.
    """

    failures: tuple[str, ...]
    page: str

    @property
    def has_passed(self) -> bool:
        """Whether every expectation held."""
        return not self.failures


def check_gate(metrics: "pd.DataFrame", limits: GateLimits, columns: str) -> GateResult:
    """Judge the metrics of a snapshot.

    Args:
        metrics: one row with the columns of `validation.metrics.METRIC_MEANINGS`.
        limits: of the gate's rules.
        columns: the value that the metric ``columns`` must have.
    """
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    import great_expectations as gx  # noqa: PLC0415  (seconds; a night that is validated already never needs it)
    from great_expectations.data_context.types.base import ProgressBarsConfig  # noqa: PLC0415

    # This module sets its own logger to INFO, to announce a temporary folder that it does not keep.
    logging.getLogger("great_expectations.data_context.types.base").setLevel(logging.WARNING)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    asset = context.data_sources.add_pandas("lake").add_dataframe_asset("snapshot_metrics")
    batch = asset.add_batch_definition_whole_dataframe("tonight")
    suite = context.suites.add(_suite(limits, columns, metrics.iloc[0].to_dict()))
    definition = context.validation_definitions.add(gx.ValidationDefinition(name=GATE_NAME, data=batch, suite=suite))
    run = gx.RunIdentifier(run_name=f"snapshot of {metrics['snapshot_date'][0]}")
    plain = metrics.astype(object)  # the page's renderer does not take numpy's own numbers
    result = definition.run(batch_parameters={"dataframe": plain}, run_id=run)
    return GateResult(tuple(_failures(result, metrics)), _page(result, metrics))


def _suite(limits: GateLimits, columns: str, row: dict[str, Any]) -> "ExpectationSuite":
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
        least, most = (bound(limits, row["rows"], row["earlier_rows"]) for bound in (rule.least, rule.most))
        # Of one row the largest value is the value: unlike the expectations on values it is shown on the page.
        suite.add_expectation(
            gxe.ExpectColumnMaxToBeBetween(
                column=rule.metric,
                min_value=least,
                max_value=most,
                description=f"{rule.meaning}: {_words(least, most)}",
            )
        )
    return suite


def _failures(result: "ExpectationSuiteValidationResult", metrics: "pd.DataFrame") -> list[str]:
    rules = {rule.metric: rule for rule in GATE_RULES}
    found = []
    for failed in (item for item in result.results if not item.success):
        config = failed.expectation_config
        rule = rules.get(config.kwargs.get("column", "")) if config else None
        if config and rule:
            found.append(_sentence(rule, config.kwargs, metrics))
        else:
            observed = failed.result.get("partial_unexpected_list") or failed.result.get("observed_value")
            error = "" if observed else f" {failed.exception_info}"
            found.append(f"{config.type if config else 'expectation'}: observed {observed}{error}")
    return found


def _sentence(rule: GateRule, bounds: dict[str, Any], metrics: "pd.DataFrame") -> str:
    row = metrics.iloc[0]
    against = f" ({row['rows']:,} against {row['earlier_rows']:,} of {row['earlier_date']})"
    observed = f"{row[rule.metric]:.4g}{against if rule.metric == 'row_ratio' else ''}"
    remedy = f"; if that is right, set {rule.setting}" if rule.setting else ""
    expected = _words(bounds.get("min_value"), bounds.get("max_value"))
    return f"{rule.meaning}: {observed}, expected {expected}{remedy}"


def _words(minimum: float | None, maximum: float | None) -> str:
    return f"at least {minimum:g}" if minimum is not None else f"at most {maximum:g}"


def _page(result: "ExpectationSuiteValidationResult", metrics: "pd.DataFrame") -> str:
    from great_expectations.render.renderer import ValidationResultsPageRenderer  # noqa: PLC0415
    from great_expectations.render.view import DefaultJinjaPageView  # noqa: PLC0415

    page: str = DefaultJinjaPageView().render(ValidationResultsPageRenderer().render(result))
    page = _REMOTE.sub("", page).replace("</head>", f"{_STYLE}</head>", 1)
    return page.replace("</body>", f"{_table(metrics)}</body>", 1)


def _table(metrics: "pd.DataFrame") -> str:
    """Return all metrics with their meaning, also those that no expectation tests."""
    cells = (
        f"<tr><td>{name}</td><td>{html.escape(str(value))}</td><td>{html.escape(meaning)}</td></tr>"
        for name, value in metrics.iloc[0].items()
        for meaning in [METRIC_MEANINGS.get(name, "")]
    )
    head = "<tr><th>Metric</th><th>Value</th><th>Meaning</th></tr>"
    return f'<div class="container-fluid"><h4>All metrics</h4><table>{head}{"".join(cells)}</table></div>'
