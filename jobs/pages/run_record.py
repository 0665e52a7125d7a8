"""Keeps beside a run's page what the next runs compare with: neighbours and category means of a fixed sample.

A record is the file ``_reports/<date>/<run id>.json``. It is made for pages only; a lost one makes a page poorer.
"""

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import date as Date
from datetime import timedelta

import pyarrow.fs
from pydantic import TypeAdapter, ValidationError

from jobs.lake.store import Lake
from jobs.pages.page import REPORTS_FOLDER, write_page
from jobs.state.plan_record import Plan

log = logging.getLogger(__name__)

WEEK = timedelta(days=7)
MAX_READ = 20
"""Records that are read to find those of the last run and of last week."""


@dataclass(frozen=True)
class CategoryMean:
    """Mean vector of the sampled products of a top category.

    Attributes:
        products: number of products.
        mean: mean of their unit vectors, [D]; shorter than 1, the more so the more they differ.
    """

    products: int
    mean: list[float]


@dataclass(frozen=True)
class MapAxes:
    """Axes of the embedding map, kept while the model stays, so that products stay at their places.

    Attributes:
        products: number of products that the axes were computed from.
        centre: mean vector, [D].
        axes: the two directions, [2, D].
    """

    products: int
    centre: list[float]
    axes: list[list[float]]


@dataclass(frozen=True)
class RunRecord:
    """What a run leaves for the pages of later runs.

    Attributes:
        run_id, date, collection, model_version: of the run's plan.
        ledger_version: version of the collection's ledger after the run; later runs have higher ones.
        neighbours: ids of the nearest products of each recorded product, nearest first.
        categories: mean vectors by top category.
        axes: axes of the embedding map; None if there were too few products.
    """

    run_id: str
    date: str
    collection: str
    model_version: str
    ledger_version: int
    neighbours: Mapping[str, list[str]] = field(default_factory=dict)
    categories: Mapping[str, CategoryMean] = field(default_factory=dict)
    axes: MapAxes | None = None


@dataclass(frozen=True)
class EarlierRecords:
    """Records of the run before and of the latest run that is at least a week older; None where there is none."""

    last: RunRecord | None = None
    week: RunRecord | None = None


_RECORD = TypeAdapter(RunRecord)


def write_record(lake: Lake, record: RunRecord) -> str:
    """Write a record beside the page of its run and return its URI."""
    text = json.dumps(asdict(record), ensure_ascii=False, separators=(",", ":"))
    return write_page(lake, _name_record(record.date, record.run_id), text)


def find_earlier_records(lake: Lake, plan: Plan, ledger_version: int) -> EarlierRecords:
    """Return the records that a run is compared with: of the same collection, and written before it.

    Args:
        lake: the lake.
        plan: plan of the run.
        ledger_version: version of the collection's ledger after the run.
    """
    place, week_ago = (ledger_version, plan.date), (Date.fromisoformat(plan.date) - WEEK).isoformat()
    last: RunRecord | None = None
    for record in _read_records(lake, plan):
        if record.collection != plan.collection or (record.ledger_version, record.date) >= place:
            continue
        last = record if last is None or _get_place(record) > _get_place(last) else last
        if record.date <= week_ago:  # records come in the order of dates, the latest first
            return EarlierRecords(last, record)
    return EarlierRecords(last)


def _get_place(record: RunRecord) -> tuple[int, str]:
    return record.ledger_version, record.date


def _name_record(date: str, run_id: str) -> str:
    return f"{REPORTS_FOLDER}/{date}/{run_id}.json"


def _read_records(lake: Lake, plan: Plan) -> Iterator[RunRecord]:
    """Yield the latest records up to the plan's date, other than the run's own."""
    filesystem, root = lake.storage.open()
    selector = pyarrow.fs.FileSelector(f"{root}/{REPORTS_FOLDER}", allow_not_found=True, recursive=True)
    paths = [info.path for info in filesystem.get_file_info(selector) if info.path.endswith(".json")]
    names = sorted((path.split("/")[-2], path) for path in paths if not path.endswith(f"/{plan.run_id}.json"))
    for _, path in [name for name in reversed(names) if name[0] <= plan.date][:MAX_READ]:
        try:
            with filesystem.open_input_stream(path) as stream:
                yield _RECORD.validate_json(stream.read())
        except (OSError, ValidationError) as error:
            log.warning("the record %s is left out: %s", path, error)
