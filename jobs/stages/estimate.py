"""Estimates how long a run's encoding takes, from what earlier runs measured."""

from dataclasses import dataclass

from jobs.lake.store import Lake
from schemas.tables import RUNS

MAX_RUNS = 10
"""Earlier runs of a stage that are averaged; weighed by their work, so that start-up times of small runs count
little."""

STAGE_UNITS = {"detect": "images", "encode": "products"}
"""What each stage's rate counts: the name in ``runs.counts`` of what it worked on."""


@dataclass(frozen=True)
class WorkEstimate:
    """A run's encoding work, and its time where earlier runs measured it.

    Attributes:
        products, images: to encode.
        seconds: of detect and encode together; None before the first measured night.
    """

    products: int
    images: int
    seconds: float | None

    def __str__(self) -> str:
        work = f"{self.products:,} products with {self.images:,} images to encode"
        if not self.products:
            return "nothing to encode"
        if self.seconds is None:
            return f"{work}; no earlier night was measured, so no time is known"
        return f"{work}, about {_format_duration(self.seconds)} by earlier nights"


def estimate_run(lake: Lake, model_version: str, products: int, images: int) -> WorkEstimate:
    """Return a run's encoding work with its expected time.

    Args:
        lake: holds the records of earlier runs.
        model_version: the run's model; runs of other models are not counted.
        products: new and changed products.
        images: theirs, as far as they reach the model.
    """
    rates = measure_seconds_per_unit(lake, model_version)
    if rates.keys() != STAGE_UNITS.keys():
        return WorkEstimate(products, images, None)
    return WorkEstimate(products, images, rates["detect"] * images + rates["encode"] * products)


def measure_seconds_per_unit(lake: Lake, model_version: str) -> dict[str, float]:
    """Return measured seconds an image (detect) and a product (encode); a stage never measured is absent.

    Detection is measured by whatever model it was for: a new model mostly comes with the detector that is there, and
    finds its regions made.
    """
    rows = sorted(lake.read_arrow(RUNS.name).to_pylist(), key=lambda row: row["finished_at"], reverse=True)
    runs = [(row, dict(row["counts"]), dict(row["details"])) for row in rows if row["outcome"] == "success"]
    rates = {}
    for stage, unit in STAGE_UNITS.items():
        worked = [
            (counts[unit], row["seconds"])
            for row, counts, details in runs
            if row["stage"] == stage
            and counts.get(unit)
            and (stage == "detect" or details.get("model") == model_version)
        ][:MAX_RUNS]
        if worked:
            rates[stage] = sum(seconds for _, seconds in worked) / sum(units for units, _ in worked)
    return rates


def _format_duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
