"""Estimates the time that fetching and encoding take, from measurements of earlier runs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jobs.images.fetch_task import ANSWERED
from jobs.lake.store import Lake
from jobs.state.plan_record import PlanCounts
from jobs.state.run_log import SUCCESS
from schemas.tables import RUNS

MAX_RUNS = 10
"""Earlier runs of a stage that are averaged; weighed by their work, so that start-up times of small runs count
little."""

STAGE_UNITS = {"detect": "images", "encode": "products"}
"""What each stage's rate counts: the name in ``runs.counts`` of what it worked on."""

RESUMED = "resumed"
"""Name of the detail with the number of products that earlier executions of the run had encoded; they took no time."""

ASSUMED_PHOTO_BYTES = 200 << 10
ASSUMED_PHOTOS_A_SECOND = 50.0
"""What is assumed of photos by URL and their hosts before one was fetched. From loopback the stage fetches 112 photos a
second (benchmarks/results/image_fetch.md); hosts answer later."""

_Run = tuple[dict[str, Any], dict[str, int], dict[str, str]]
"""A row of `runs`, its counts and its details."""


@dataclass(frozen=True)
class WorkEstimate:
    """Encoding work of a run, and its expected time if earlier runs were measured.

    Attributes:
        products, images: numbers to encode.
        seconds: expected time of detect and encode together; None before the first measured run.
        payloads: products of which only the payload is written.
    """

    products: int
    images: int
    seconds: float | None
    payloads: int = 0

    def __str__(self) -> str:
        updates = f"; {self.payloads:,} products get new payload values, without the model" if self.payloads else ""
        return self._describe_encoding() + updates

    def _describe_encoding(self) -> str:
        work = f"{self.products:,} products with {self.images:,} images to encode"
        if not self.products:
            return "nothing to encode"
        if self.seconds is None:
            return f"{work}; no earlier night was measured, so no time is known"
        return f"{work}, about {_format_duration(self.seconds)} by earlier nights"


@dataclass(frozen=True)
class FetchEstimate:
    """Number of photos by URL to request, with their expected size and time.

    Attributes:
        photos: number of photos to request.
        bodies: number of responses expected to have a body; hosts report most other photos as unchanged.
        photo_bytes: expected size of one photo in bytes; None: not measured yet.
        photos_a_second: rate over all hosts; None: not measured yet.
    """

    photos: int
    bodies: int
    photo_bytes: float | None = None
    photos_a_second: float | None = None

    @property
    def size(self) -> float:
        """Expected number of bytes that hosts send."""
        return self.bodies * (self.photo_bytes or ASSUMED_PHOTO_BYTES)

    @property
    def seconds(self) -> float:
        """Expected time of fetching, in seconds."""
        return self.photos / (self.photos_a_second or ASSUMED_PHOTOS_A_SECOND)

    def __str__(self) -> str:
        each, rate = self.photo_bytes or ASSUMED_PHOTO_BYTES, self.photos_a_second or ASSUMED_PHOTOS_A_SECOND
        if not self.photos:
            return "no photos by URL to ask for"
        known = f", {self.photos - self.bodies:,} of them known," if self.bodies < self.photos else ","
        size = f"{format_size(self.size)} ({each / 1024:,.0f} KiB each, {_name_source(self.photo_bytes)})"
        time = f"{_format_duration(self.seconds)} ({rate:,.0f} a second, {_name_source(self.photos_a_second)})"
        return f"{self.photos:,} photos by URL to ask for{known} about {size}, about {time}"


def estimate_run(lake: Lake, model_version: str, counts: PlanCounts) -> WorkEstimate:
    """Return a run's encoding work with its expected time.

    Args:
        lake: lake with the records of earlier runs.
        model_version: the run's model; runs of other models are not counted.
        counts: counts of the run's plan.
    """
    rates = measure_seconds_per_unit(lake, model_version)
    products, images = counts.to_encode, counts.images
    is_measured = rates.keys() == STAGE_UNITS.keys()
    seconds = rates["detect"] * images + rates["encode"] * products if is_measured else None
    return WorkEstimate(products, images, seconds, counts.payload)


def measure_seconds_per_unit(lake: Lake, model_version: str) -> dict[str, float]:
    """Return measured seconds per image (detect) and per product (encode); a stage never measured is absent.

    Detection time is taken from runs of any model, because a new model mostly uses the same detector and its regions.
    """
    runs = _read_runs(lake)
    found = {
        "detect": _measure_rate(runs, "detect", STAGE_UNITS["detect"]),
        "encode": _measure_rate(runs, "encode", STAGE_UNITS["encode"], lambda run: run.get("model") == model_version),
    }
    return {stage: rate for stage, rate in found.items() if rate is not None}


def measure_photos_a_second(lake: Lake) -> float | None:
    """Return the measured number of photos by URL per second that hosts answered; None if not measured."""
    seconds_a_photo = _measure_rate(_read_runs(lake), "fetch", ANSWERED)
    return 1 / seconds_a_photo if seconds_a_photo else None


def _read_runs(lake: Lake) -> list[_Run]:
    """Return the successful stage executions, the latest first."""
    rows = sorted(lake.read_arrow(RUNS.name).to_pylist(), key=lambda row: row["finished_at"], reverse=True)
    return [(row, dict(row["counts"]), dict(row["details"])) for row in rows if row["outcome"] == SUCCESS]


def _measure_rate(
    runs: list[_Run], stage: str, unit: str, counts_for: Callable[[dict[str, str]], bool] = lambda _: True
) -> float | None:
    """Return seconds per unit over the latest runs of a stage with work and matching details; None without one."""
    worked = [
        (counts[unit] - int(details.get(RESUMED, 0)), row["seconds"])
        for row, counts, details in runs
        if row["stage"] == stage and counts.get(unit) and counts_for(details)
    ][:MAX_RUNS]
    units = sum(units for units, _ in worked)
    return sum(seconds for _, seconds in worked) / units if units else None


def _name_source(measured: float | None) -> str:
    return "assumed" if measured is None else "measured"


def format_size(size: float) -> str:
    """Return a number of bytes as MiB or GiB."""
    return f"{size / 2**30:,.1f} GiB" if size >= 2**30 else f"{size / 2**20:,.1f} MiB"


def _format_duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
