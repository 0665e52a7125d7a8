"""The report of an evaluation: Markdown tables, and a plot of each data set."""

from collections.abc import Sequence
from pathlib import Path

from moon_model.evaluation.run import Evaluation, MetricRow

HEADLINE_METRICS = ("R@1", "hit@10", "accuracy")
"""Metrics in the plots; the tables have all."""


def render_evaluation(evaluation: Evaluation) -> str:
    """Return a Markdown table per data set: a row for each task and metric, a column for each embedder."""
    versions = ", ".join(f"{name} {version}" for name, version in evaluation.environment.items())
    lines = [
        f"Model `{evaluation.model_version[:12]}`, seed {evaluation.seed}, {evaluation.created}, {versions}.",
        "Means in percent with bootstrap 95% intervals over the queries; bold: the best of a line.",
    ]
    for benchmark in evaluation.benchmarks:
        facts = ", ".join(f"{key} {value}" for key, value in benchmark.items() if key != "name")
        rows = [row for row in evaluation.rows if row.benchmark == benchmark["name"]]
        lines += ["", f"## {benchmark['name']}", "", f"{facts}", "", *_render_table(rows)]
    return "\n".join(lines) + "\n"


def _render_table(rows: Sequence[MetricRow]) -> list[str]:
    """Return the lines of one data set's table."""
    embedders = list(dict.fromkeys(row.embedder for row in rows))
    found = {(row.task, row.metric, row.embedder): row for row in rows}
    lines = [f"| task | metric | queries | {' | '.join(embedders)} |", "|---|---|--:|" + "--:|" * len(embedders)]
    for task, metric in dict.fromkeys((row.task, row.metric) for row in rows):
        cells = [found[task, metric, name] for name in embedders]
        best = max(cell.mean for cell in cells)
        shown = " | ".join(_render_cell(cell, is_best=cell.mean == best) for cell in cells)
        lines.append(f"| {task} | {metric} | {max(cell.count for cell in cells)} | {shown} |")
    return lines


def _render_cell(row: MetricRow, *, is_best: bool) -> str:
    """Return mean and interval in percent; the best mean of a line is bold."""
    mean = f"**{row.mean:.1%}**" if is_best else f"{row.mean:.1%}"
    interval = "" if row.count == 1 else f" ({row.low * 100:.1f}–{row.high * 100:.1f})"
    return mean.replace("%", "") + interval


def plot_evaluation(evaluation: Evaluation, folder: Path) -> list[Path]:
    """Draw the headline metrics of each data set with their intervals, and return the PNG files.

    Args:
        evaluation: what to show.
        folder: existing folder of the files.
    """
    import matplotlib as mpl  # noqa: PLC0415  # takes a second, and only plots need it

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    files = []
    for number, benchmark in enumerate(evaluation.benchmarks):
        rows = [row for row in evaluation.rows if row.benchmark == benchmark["name"] and row.metric in HEADLINE_METRICS]
        embedders = list(dict.fromkeys(row.embedder for row in rows))
        tasks = list(dict.fromkeys(f"{row.task}: {row.metric}" for row in rows))
        figure, axes = plt.subplots(figsize=(9, 1 + 0.22 * len(tasks) * (len(embedders) + 1)), layout="constrained")
        for place, name in enumerate(embedders):
            own = [row for row in rows if row.embedder == name]
            at = [tasks.index(f"{row.task}: {row.metric}") + 0.8 * place / len(embedders) for row in own]
            errors = [[row.mean - row.low for row in own], [row.high - row.mean for row in own]]
            axes.barh(at, [row.mean for row in own], 0.8 / len(embedders), xerr=errors, label=name)
        axes.set_yticks([index + 0.3 for index in range(len(tasks))], tasks)
        axes.invert_yaxis()
        axes.set_xlim(0, 1)
        axes.set_title(str(benchmark["name"]))
        axes.legend(fontsize="small")
        files.append(folder / f"{number + 1}-{str(benchmark['name']).replace(' ', '-')}.png")
        figure.savefig(files[-1], dpi=100)
        plt.close(figure)
    return files
