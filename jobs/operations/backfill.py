"""backfill: runs missed dates in order, or re-embeds past snapshots with another model.

A missed date gets a normal nightly run. The plan ensures that an older date neither replaces a newer row nor deletes
(`jobs.stages.plan`, the high-water date; `jobs.stages.late_arrivals`). If a model is named, past snapshots are encoded
with that model and nothing is served (`jobs.operations.reembed`). A scratch collection can make these vectors
searchable for some days (`jobs.operations.scratch`).
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
from jobs.operations.reembed import is_reembedded as is_made
from jobs.operations.reembed import reembed, select_without_vector
from jobs.operations.row_filter import parse_filter
from jobs.stages.estimate import measure_seconds_per_unit
from jobs.stages.runner import NIGHTLY_STAGES, RunOutcome, run_stages
from jobs.state.ledger import read_ledger_head
from jobs.state.model_registry import ModelChoice, choose_model, describe_checkpoint
from jobs.state.run_context import RunContext
from jobs.state.run_log import SUCCESS
from schemas.collection import strip_schema_suffix

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

DAY_DUE, DAY_FINISHED, DAY_ABSENT = "due", "finished", "no snapshot"
MAX_DAYS = 3700
"""Ten years: more is a slip of the pen."""


@dataclass(frozen=True)
class BackfillDay:
    """State and expected work of one date of the range.

    Attributes:
        state: due; finished (nothing is left to do); no snapshot (re-embedding only: the lake has none of this date).
        products, images: numbers to encode, without those that an earlier date of the range encodes.
        seconds: expected time of detect and encode; None if this model was never measured.
    """

    date: str
    state: str
    products: int = 0
    images: int = 0
    seconds: float | None = None


@dataclass(frozen=True)
class BackfillPlan:
    """Dates, model and expected time of a backfill.

    Attributes:
        model: the model that encodes.
        days: every date of the range, in order.
        gpus: number of GPUs that encode in parallel; 0 on a machine without one.
    """

    model: ModelChoice
    days: tuple[BackfillDay, ...]
    gpus: int

    @property
    def due_dates(self) -> list[str]:
        """The dates that will be processed, in order."""
        return [day.date for day in self.days if day.state == DAY_DUE]

    @property
    def seconds(self) -> float | None:
        """Expected seconds of all dates; None if that is not known."""
        known = [day.seconds for day in self.days if day.seconds is not None]
        return sum(known) if len(known) == len(self.days) else None

    def document(self) -> dict[str, Any]:
        """Return the plan as plain values for JSON; GPU-hours are the expected hours times the number of GPUs."""
        hours = None if self.seconds is None else self.seconds * self.gpus / 3600
        return {
            "model": self.model.model_version,
            "days": [asdict(day) for day in self.days],
            "due": len(self.due_dates),
            "products": sum(day.products for day in self.days),
            "images": sum(day.images for day in self.days),
            "seconds": None if self.seconds is None else round(self.seconds, 1),
            "gpus": self.gpus,
            "gpu_hours": None if hours is None else round(hours, 3),
        }


def list_dates(first: str, last: str) -> list[str]:
    """Return the ISO dates from one to another, both included.

    Raises:
        MoonError: the range is empty or too long.
    """
    start, end = Date.fromisoformat(first), Date.fromisoformat(last)
    days = (end - start).days + 1
    if not 1 <= days <= MAX_DAYS:
        raise MoonError(f"--from {first} --to {last} is no range of 1 to {MAX_DAYS:,} days: --from is the earlier date")
    return [(start + timedelta(days=number)).isoformat() for number in range(days)]


def plan_backfill(
    context: RunContext, dates: Sequence[str], model_folder: str | None = None, expression: str = ""
) -> BackfillPlan:
    """Return the plan of a backfill, after loading missing snapshots into the lake (pull, validate).

    Args:
        context: lake, session and settings; its date is not used.
        dates: the range, in order.
        model_folder: re-embed with this checkpoint; None: run missed dates with the served model.
        expression: row filter, see `jobs.operations.row_filter`; only with a model.

    Raises:
        NightStoppedError: a catalogue is missing or stopped at the gate, or there is nothing to re-embed.
        RowFilterError: the expression cannot be parsed.
    """
    if expression:
        parse_filter(expression)  # before any work
    model = _model(context, model_folder)
    finished = set() if model_folder else find_finished_dates(context, model)
    wanted = [date for date in dates if date not in finished]
    _prepare_snapshots(context, wanted, is_optional=bool(model_folder) and not context.settings.catalog)
    held = _list_kept_dates(context)
    present = [date for date in wanted if date in held]
    if model_folder and not present:
        raise NightStoppedError(
            f"the lake holds no snapshot from {dates[0]} to {dates[-1]}: name the catalogue with --catalog, or run "
            "`moon status` and look which dates were served"
        )
    work = _count_work(context, present, model, expression) if present else {}
    rates = measure_seconds_per_unit(context.lake, model.model_version)
    days = []
    for date in dates:
        if date in present:
            products, images = work.get(date, (0, 0))
            context = replace(context, date=date)
            is_done = bool(model_folder) and (not products or is_made(context, model, expression))
            if is_done:
                days.append(BackfillDay(date, DAY_FINISHED, seconds=0.0))
            else:
                days.append(BackfillDay(date, DAY_DUE, products, images, _seconds(rates, products, images)))
        else:
            days.append(BackfillDay(date, DAY_FINISHED if date in finished else DAY_ABSENT, seconds=0.0))
    return BackfillPlan(model, tuple(days), count_gpus(context.spark))


def run_backfill(
    context: RunContext, plan: BackfillPlan, model_folder: str | None = None, expression: str = ""
) -> Iterator[tuple[str, RunOutcome]]:
    """Process the dates that are due, in order; yield each date with a summary of its run.

    Args:
        context, model_folder, expression: as passed to `plan_backfill`.
        plan: the plan that `plan_backfill` returned.

    Raises:
        MoonError: a run stopped, as raised by its stage; the dates before it stay finished.
    """
    for date in plan.due_dates:
        context = replace(context, date=date)
        yield date, reembed(context, plan.model, expression) if model_folder else run_stages(context, NIGHTLY_STAGES)


def find_finished_dates(context: RunContext, model: ModelChoice) -> set[str]:
    """Return the dates whose run ended with a successful report, for the model and collection that are served now.

    A date later than the high-water date was undone by `moon restore`: its run is due again.
    """
    rows = context.lake.read_arrow("runs").to_pylist()
    reports = [row for row in rows if row["stage"] == "report" and row["outcome"] == SUCCESS]
    finished = set()
    for row in reports:
        details = dict(row["details"])
        collection = strip_schema_suffix(details.get("collection", ""))  # it may have had an earlier schema version
        if details.get("model") == model.model_version and collection == strip_schema_suffix(model.collection):
            finished.add(row["date"])
    latest = read_ledger_head(context.lake, model.collection).high_water
    return {date for date in finished if latest is None or date <= latest}


def count_gpus(spark: "SparkSession") -> int:
    """Return the number of GPUs that encode in parallel: those of the cluster, else one if this machine has any."""
    configuration = spark.sparkContext.getConf()
    each = int(configuration.get("spark.executor.resource.gpu.amount", "0") or 0)
    if each:
        return each * int(configuration.get("spark.executor.instances", "1") or 1)
    import torch  # noqa: PLC0415  (takes seconds; needed only without a cluster)

    return int(torch.cuda.is_available())


def _model(context: RunContext, folder: str | None) -> ModelChoice:
    if folder:
        return describe_checkpoint(folder, context.settings.detector)
    with connect(context.settings) as client:
        return choose_model(context.settings, client, context.lake)


def _list_kept_dates(context: RunContext) -> set[str]:
    """Return the dates whose products are in the lake; retention drops old ones."""
    return {partition["date"] for partition in context.lake.list_partitions("products")}


def _prepare_snapshots(context: RunContext, dates: Sequence[str], *, is_optional: bool) -> None:
    """Pull, validate and fetch the dates that the lake lacks; if optional, a date without a catalogue is skipped."""
    held = _list_kept_dates(context)
    missing = [date for date in dates if date not in held]
    if is_optional or not missing:
        return
    if len(missing) > 1 and "{date}" not in (context.settings.catalog or "{date}"):
        mapping = load_mapping(replace(context, date=missing[0]))
        if mapping.snapshot is None:
            raise NightStoppedError(
                f"the catalogue {context.settings.catalog} is one snapshot, but {len(missing)} dates are "
                f"missing: write "
                "{date} where its path names the date, or map the column that does (`snapshot`)"
            )
    for date in missing:
        run_stages(replace(context, date=date), ("pull", "validate", "fetch"))


def _count_work(
    context: RunContext, dates: Sequence[str], model: ModelChoice, expression: str
) -> dict[str, tuple[int, int]]:
    """Return the products and images to encode per date; content that several dates share counts for the first."""
    products = context.lake.read(context.spark, "products").where(F.col("date").isin(list(dates)))
    shown = F.least(F.size("images"), F.lit(model.max_images))
    first = (
        select_without_vector(context, products, model, expression)
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
