"""backfill: missed nights in their order, or past snapshots re-embedded by another model.

A missed night is a normal night of its date; that an older date neither replaces a newer row nor deletes is the plan's
own rule (`jobs.stages.plan`, the high-water date; `jobs.stages.late_arrivals`). With a model named, past snapshots
become vectors of that model and nothing is served (`jobs.operations.reembed`); a scratch collection may show them for
some days (`jobs.operations.scratch`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date as Date
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from pyspark.sql import functions as F

from jobs.catalog.source import load_mapping
from jobs.errors import MoonError, NightStoppedError
from jobs.milvus.client import connect
from jobs.operations.reembed import is_done as is_made
from jobs.operations.reembed import reembed, without_vector
from jobs.operations.row_filter import where
from jobs.stages.estimate import seconds_per_unit
from jobs.stages.runner import NIGHT, Outcome, run_stages
from jobs.state.ledger import highwater
from jobs.state.model_registry import ModelChoice, checkpoint_at, choose_model
from jobs.state.run_context import Night

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

DUE, FINISHED, ABSENT = "due", "finished", "no snapshot"
MAX_DAYS = 3700
"""Ten years: more is a slip of the pen."""


@dataclass(frozen=True)
class Day:
    """One date of the range.

    Attributes:
        state: due; finished (nothing is left to do); no snapshot (re-embedding only: the lake has none of this date).
        products, images: to encode that no earlier day of the range encodes.
        seconds: expected of detect and encode; None where this model was never measured.
    """

    date: str
    state: str
    products: int = 0
    images: int = 0
    seconds: float | None = None


@dataclass(frozen=True)
class Outlook:
    """What a backfill will do.

    Attributes:
        model: of the vectors.
        days: every date of the range, in order.
        gpus: that encode at once; 0 on a machine without.
    """

    model: ModelChoice
    days: tuple[Day, ...]
    gpus: int

    @property
    def due(self) -> list[str]:
        """The dates that are worked on, in order."""
        return [day.date for day in self.days if day.state == DUE]

    @property
    def seconds(self) -> float | None:
        """Expected seconds of all days; None where that is not known."""
        known = [day.seconds for day in self.days if day.seconds is not None]
        return sum(known) if len(known) == len(self.days) else None

    def document(self) -> dict[str, Any]:
        """Return the outlook as plain values; GPU-hours are the expected hours times the GPUs."""
        hours = None if self.seconds is None else self.seconds * self.gpus / 3600
        return {
            "model": self.model.model_version,
            "days": [asdict(day) for day in self.days],
            "due": len(self.due),
            "products": sum(day.products for day in self.days),
            "images": sum(day.images for day in self.days),
            "seconds": None if self.seconds is None else round(self.seconds, 1),
            "gpus": self.gpus,
            "gpu_hours": None if hours is None else round(hours, 3),
        }


def date_range(first: str, last: str) -> list[str]:
    """Return the ISO dates from one to another, both included.

    Raises:
        MoonError: the range is empty or too long.
    """
    start, end = Date.fromisoformat(first), Date.fromisoformat(last)
    days = (end - start).days + 1
    if not 1 <= days <= MAX_DAYS:
        raise MoonError(f"--from {first} --to {last} is no range of 1 to {MAX_DAYS:,} days: --from is the earlier date")
    return [(start + timedelta(days=number)).isoformat() for number in range(days)]


def outlook(base: Night, dates: Sequence[str], model_folder: str | None = None, expression: str = "") -> Outlook:
    """Return what is to do, after bringing the snapshots that are missing into the lake (pull, validate).

    Args:
        base: a night of any date: the means.
        dates: the range, in order.
        model_folder: re-embed with this checkpoint; None: run missed nights with the served model.
        expression: see `jobs.operations.row_filter`; with a model only.

    Raises:
        NightStoppedError: a catalogue is missing or stopped at the gate, or there is nothing to re-embed.
        WhereError: the expression is not understood.
    """
    if expression:
        where(expression)  # before any work
    model = _model(base, model_folder)
    finished = set() if model_folder else finished_nights(base, model)
    wanted = [date for date in dates if date not in finished]
    _gather(base, wanted, is_optional=bool(model_folder) and not base.settings.catalog)
    held = _held(base)
    present = [date for date in wanted if date in held]
    if model_folder and not present:
        raise NightStoppedError(
            f"the lake holds no snapshot from {dates[0]} to {dates[-1]}: name the catalogue with --catalog, or run "
            "`moon status` and look which dates were served"
        )
    work = _work(base, present, model, expression) if present else {}
    rates = seconds_per_unit(base.lake, model.model_version)
    days = []
    for date in dates:
        if date in present:
            products, images = work.get(date, (0, 0))
            night = replace(base, date=date)
            is_done = bool(model_folder) and (not products or is_made(night, model, expression))
            if is_done:
                days.append(Day(date, FINISHED, seconds=0.0))
            else:
                days.append(Day(date, DUE, products, images, _seconds(rates, products, images)))
        else:
            days.append(Day(date, FINISHED if date in finished else ABSENT, seconds=0.0))
    return Outlook(model, tuple(days), gpus(base.spark))


def backfill(
    base: Night, ahead: Outlook, model_folder: str | None = None, expression: str = ""
) -> Iterator[tuple[str, Outcome]]:
    """Work through the days that are due, in order; yield each date with what was done.

    Args:
        base, model_folder, expression: as given to `outlook`.
        ahead: what that returned.

    Raises:
        MoonError: a night stopped, as raised by its stage; the days before it are finished and stay so.
    """
    for date in ahead.due:
        night = replace(base, date=date)
        yield date, reembed(night, ahead.model, expression) if model_folder else run_stages(night, NIGHT)


def finished_nights(base: Night, model: ModelChoice) -> set[str]:
    """Return the dates whose night ended with a successful report, by the model and collection that serve now.

    A date later than what is served was undone by `moon restore`: its night is due again.
    """
    rows = base.lake.read_arrow("runs").to_pylist()
    reports = [row for row in rows if row["stage"] == "report" and row["outcome"] == "success"]
    ours = {"model": model.model_version, "collection": model.collection}
    finished = {row["date"] for row in reports if ours.items() <= dict(row["details"]).items()}
    latest = highwater(base.lake, model.collection)
    return {date for date in finished if latest is None or date <= latest.isoformat()}


def gpus(spark: "SparkSession") -> int:
    """Return how many GPUs encode at once: those the cluster gives, else the first of this machine, if any."""
    configuration = spark.sparkContext.getConf()
    each = int(configuration.get("spark.executor.resource.gpu.amount", "0") or 0)
    if each:
        return each * int(configuration.get("spark.executor.instances", "1") or 1)
    import torch  # noqa: PLC0415  (seconds; only asked where no cluster says)

    return int(torch.cuda.is_available())


def _model(base: Night, folder: str | None) -> ModelChoice:
    if folder:
        return checkpoint_at(folder, base.settings.detector)
    with connect(base.settings) as client:
        return choose_model(base.settings, client)


def _held(base: Night) -> set[str]:
    """Return the dates whose products the lake holds; retention forgets old ones."""
    return {partition["date"] for partition in base.lake.open("products").partitions()}


def _gather(base: Night, dates: Sequence[str], *, is_optional: bool) -> None:
    """Pull and validate the dates that the lake does not hold; where that is optional they stay absent."""
    held = _held(base)
    missing = [date for date in dates if date not in held]
    if is_optional or not missing:
        return
    if len(missing) > 1 and "{date}" not in (base.settings.catalog or "{date}"):
        mapping = load_mapping(replace(base, date=missing[0]))
        if mapping.snapshot is None:
            raise NightStoppedError(
                f"the catalogue {base.settings.catalog} is one snapshot, but {len(missing)} dates are missing: write "
                "{date} where its path names the date, or map the column that does (`snapshot`)"
            )
    for date in missing:
        run_stages(replace(base, date=date), ("pull", "validate"))


def _work(base: Night, dates: Sequence[str], model: ModelChoice, expression: str) -> dict[str, tuple[int, int]]:
    """Return products and images to encode of each date; content that several dates share counts for the first."""
    products = base.lake.read(base.spark, "products").where(F.col("date").isin(list(dates)))
    shown = F.least(F.size("images"), F.lit(model.max_images))
    first = (
        without_vector(base, products, model, expression)
        .groupBy("product_id", "content_hash")
        .agg(F.min("date").alias("date"), F.max(shown).alias("images"))
    )
    counted = first.groupBy("date").agg(F.count("*").alias("products"), F.sum("images").alias("images"))
    return {row.date: (row.products, row.images) for row in counted.collect()}


def _seconds(rates: dict[str, float], products: int, images: int) -> float | None:
    if not products:
        return 0.0
    if rates.keys() < {"detect", "encode"}:
        return None
    return rates["detect"] * images + rates["encode"] * products
