"""Numbers of a run for Prometheus: OpenMetrics text in the lake, in a file, and on a push gateway.

They come from the rows of the date in `runs`, so they are there after a failed run too. Only numbers, and names of
stages and of counts, are written: no text of a message, of a product or of a setting but the alias.
"""

import logging
import os
import tempfile
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Gauge, push_to_gateway
from prometheus_client.openmetrics.exposition import generate_latest

from jobs.lake.store import Lake
from jobs.settings import Settings
from jobs.state.run_log import STARTED, SUCCESS

log = logging.getLogger(__name__)

METRICS_FOLDER = "_metrics"
"""Folder of the lake with one file for each run."""
PUSH_SECONDS = 10.0

GAUGES = {
    "moon_run_success": ("Whether the stage that ended last succeeded (1) or failed (0).", ()),
    "moon_run_finished_timestamp_seconds": ("Time at which the stage that ended last ended.", ()),
    "moon_run_seconds": ("Seconds of all stages of the run.", ()),
    "moon_snapshot_timestamp_seconds": ("Midnight (UTC) of the snapshot date.", ()),
    "moon_run_rows": ("Rows and products of the run by their fate, as its report counts them.", ("fate",)),
    "moon_stage_success": ("Whether a stage succeeded (1) or failed (0).", ("stage",)),
    "moon_stage_seconds": ("Seconds that a stage took.", ("stage",)),
    "moon_stage_items": ("Counts of a stage.", ("stage", "count")),
}
"""Metrics with their description and labels; all of them have the label ``alias``."""


def write_metrics(lake: Lake, settings: Settings, date: str) -> None:
    """Write the numbers of the latest run of a date to the places of the settings; a failure is only logged."""
    try:
        rows = _read_latest_run(lake, date)
        if not rows:
            return
        registry = build_registry(rows, settings.alias, date)
        text: bytes = generate_latest(registry)  # type: ignore[no-untyped-call]
        lake.storage.write_file(f"{METRICS_FOLDER}/{date}/{rows[-1]['run_id'] or 'no-plan'}.txt", text)
        if settings.metrics_file:
            _replace_file(Path(settings.metrics_file).expanduser(), text)
    except Exception as error:  # a store, a disk
        log.warning("the numbers of the run of %s could not be written (%s)", date, type(error).__name__)
        return
    if settings.metrics_gateway is not None:
        _push(settings.metrics_gateway.get_secret_value(), registry, settings.alias)


def build_registry(rows: Iterable[dict[str, Any]], alias: str, date: str) -> CollectorRegistry:
    """Return the metrics of a run.

    Args:
        rows: rows of `runs`, of one run, the earliest first.
        alias: alias that readers query.
        date: ISO snapshot date.
    """
    registry = CollectorRegistry()
    gauges = {name: Gauge(name, text, ("alias", *labels), registry=registry) for name, (text, labels) in GAUGES.items()}
    stages = {row["stage"]: row for row in rows}  # a stage that was run again counts once
    last = max(stages.values(), key=lambda row: row["finished_at"])
    midnight = datetime.fromisoformat(date).replace(tzinfo=UTC)
    gauges["moon_run_success"].labels(alias).set(last["outcome"] == SUCCESS)
    gauges["moon_run_finished_timestamp_seconds"].labels(alias).set(last["finished_at"].timestamp())
    gauges["moon_run_seconds"].labels(alias).set(sum(row["seconds"] or 0 for row in stages.values()))
    gauges["moon_snapshot_timestamp_seconds"].labels(alias).set(midnight.timestamp())
    for stage, row in stages.items():
        gauges["moon_stage_success"].labels(alias, stage).set(row["outcome"] == SUCCESS)
        gauges["moon_stage_seconds"].labels(alias, stage).set(row["seconds"] or 0)
        for count, value in dict(row["counts"]).items():
            gauges["moon_stage_items"].labels(alias, stage, count).set(value)
            if stage == "report":
                gauges["moon_run_rows"].labels(alias, count).set(value)
    return registry


def _read_latest_run(lake: Lake, date: str) -> list[dict[str, Any]]:
    """Return the rows of the run of a date that ended last, in order; without a plan they have no run id."""
    rows = sorted(lake.read_arrow("runs", {"date": date}).to_pylist(), key=lambda row: row["finished_at"])
    rows = [row for row in rows if row["outcome"] != STARTED]
    latest = rows[-1]["run_id"] if rows else ""
    return [row for row in rows if row["run_id"] == latest]


def _replace_file(path: Path, text: bytes) -> None:
    """Replace a file in one step: a collector never reads half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as partial:
        partial.write(text)
    Path(partial.name).chmod(0o644)  # the collector is another user
    os.replace(partial.name, path)  # noqa: PTH105  (atomic, as its name says)


def _push(gateway: str, registry: CollectorRegistry, alias: str) -> None:
    try:
        push_to_gateway(gateway, job="moon", registry=registry, grouping_key={"alias": alias}, timeout=PUSH_SECONDS)
    except Exception as error:  # its text may have the address, with a password
        log.warning(
            "the push gateway (MOON_METRICS_GATEWAY) did not take the numbers of the run (%s); they are in the lake",
            type(error).__name__,
        )
