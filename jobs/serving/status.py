"""status: reports the served collection, its model, and the age of its data."""

import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from jobs.errors import MoonError
from jobs.lake.store import open_lake
from jobs.milvus.capabilities import find_tier
from jobs.milvus.client import (
    NoDatabaseError,
    connect_reader,
    count_rows,
    read_alias_target,
    read_collection_properties,
    strip_credentials,
)
from jobs.serving.collection_checks import check_fields, describe_lost_index, load_collection
from jobs.settings import Settings
from jobs.state.hold import read_hold
from jobs.state.lease import describe_holder, find_writer
from jobs.state.ledger import read_ledger_head
from jobs.state.run_log import RUN_STAGE, SUCCESS
from schemas.collection import (
    PROPERTY_CHECKPOINT,
    PROPERTY_DIMENSION,
    PROPERTY_MODEL,
    VECTOR_FIELD,
    read_features,
    strip_schema_suffix,
)

if TYPE_CHECKING:
    from pymilvus import MilvusClient

AGE_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class AgeError(MoonError):
    """The text is not a valid age."""


def parse_age(text: str) -> timedelta:
    """Return the duration of an age such as ``26h``, ``90m`` or ``2d``.

    Raises:
        AgeError: the text is not a valid age.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text.strip())
    if not found:
        raise AgeError(f"{text!r} is no age: write a number and s, m, h or d, such as 26h")
    return timedelta(**{AGE_UNITS[found[2]]: float(found[1])})


def read_status(settings: Settings, now: datetime | None = None) -> dict[str, Any]:
    """Return the served collection, its model, and the age of its data.

    Args:
        settings: lake, Milvus and alias.
        now: time from which the age is measured; default: the current time.

    Nothing is created or loaded besides the served collection.

    Returns:
        alias, collection, model, dimension, checkpoint, index, tier (of Milvus), features (of Milvus that the
        collection's fields use), rows, aliases (None or 0 where nothing is published);
        ledger_rows (what the collection is to hold; None where nobody counted), writer (who writes it now, or None);
        snapshot_date (latest served), served_at and age_seconds (since the last successful run of that date), last_run
        (its record: run_id, date, outcome, finished_at, rows), last_attempt (the stage that was run last, failed or
        not: run_id, date, stage, outcome, finished_at, error), kept_share (of the products delivered, what the last run
        kept back), hold (`jobs.state.hold.Hold` as a dict, or None) and the locations of lake and Milvus; last_success
        (like last_run, of the last run that succeeded), collections (name, model, rows and aliases of each of ours),
        schedule and next_run (`find_next_run`), disk (bytes of lake and Milvus Lite; None where they are elsewhere).
    """
    lake = open_lake(settings)
    try:
        with connect_reader(settings) as client:
            served, collections = _read_served(client, settings), list(_list_collections(client))
    except NoDatabaseError:
        served, collections = _describe_nothing(settings.alias), []
    held = read_hold(lake)
    head = read_ledger_head(lake, served["collection"]) if served["collection"] else None
    latest = head.high_water if head else None
    writer = find_writer(lake, served["collection"], settings) if head else None
    rows = lake.read_arrow("runs").to_pylist()
    runs = [row for row in rows if row["stage"] == "report"]
    last_run = _find_last_run(runs)
    successes = [row for row in runs if row["outcome"] == SUCCESS]
    moment = now or datetime.now(UTC)
    served_at = max((row["finished_at"] for row in runs if _is_run_of_latest(row, served, latest)), default=None)
    elapsed = moment - served_at if served_at else None
    return {
        **served,
        "ledger_rows": head.rows if head else None,
        "writer": describe_holder(writer.holder) if writer else None,
        "snapshot_date": latest,
        "served_at": served_at.isoformat(timespec="seconds") if served_at else None,
        "age_seconds": round(elapsed.total_seconds()) if elapsed else None,
        "last_run": last_run,
        "last_success": _find_last_run(successes),
        "last_attempt": _find_last_attempt(rows),
        "kept_share": _compute_kept_share(last_run),
        "hold": held.as_dict() if held else None,
        "lake": lake.storage.uri() if lake.storage.is_local else settings.lake,
        "milvus": strip_credentials(settings.milvus),
        "collections": collections,
        "schedule": f"{settings.schedule} ({settings.timezone})",
        "next_run": find_next_run(settings.schedule, settings.timezone, moment),
        "disk": {
            "lake": _measure_folder(Path(lake.storage.uri())) if lake.storage.is_local else None,
            "milvus": _measure_folder(Path(settings.milvus).expanduser()) if settings.is_lite else None,
        },
    }


def find_next_run(schedule: str, timezone: str, moment: datetime) -> str | None:
    """Return the next time of a daily cron schedule in ISO format; None for other schedules, which Airflow shows.

    Args:
        schedule: the setting, such as ``0 2 * * *``.
        timezone: time zone that it is in.
        moment: time after which the next one is looked for.
    """
    daily = re.fullmatch(r"(\d{1,2}) (\d{1,2}) \* \* \*", schedule.strip())
    if not daily:
        return None
    local = moment.astimezone(ZoneInfo(timezone))
    try:
        due = local.replace(hour=int(daily[2]), minute=int(daily[1]), second=0, microsecond=0)
    except ValueError:
        return None  # no time of a day
    return (due if due > local else due + timedelta(days=1)).isoformat(timespec="minutes")


def find_staleness(status: dict[str, Any], max_age: timedelta, max_kept: float) -> str | None:
    """Return the reason why the served state is stale; None if it is fresh.

    Args:
        status: result of `read_status`.
        max_age: maximum time since a run served or confirmed the latest date.
        max_kept: maximum share of products that the last run kept back because their photos could not be reached.
    """
    seconds = status["age_seconds"]
    if seconds is None:
        return "nothing was ever served"
    if timedelta(seconds=seconds) > max_age:
        return f"the served state is {timedelta(seconds=seconds)} old"
    if status["kept_share"] > max_kept:
        return f"{status['kept_share']:.1%} of the products were kept back, because their photos cannot be reached"
    return None


def find_damage(status: dict[str, Any]) -> str | None:
    """Return what is wrong with index and number of rows of the served collection; None where nothing is.

    Args:
        status: what `read_status` returns. While a run writes, the number says nothing.
    """
    if status["collection"] and not status["index"]:
        return describe_lost_index(status["collection"])
    held, wanted = status["rows"], status["ledger_rows"]
    if wanted is None or held == wanted or status["writer"]:
        return None
    return (
        f"{status['collection']} holds {held:,} rows, and the ledger says {wanted:,}: a run was killed while it wrote, "
        "somebody wrote without our lease, or Milvus was restored from a backup. Run the date again, or `moon repair`, "
        "which with --dry-run only says what differs"
    )


def _read_served(client: "MilvusClient", settings: Settings) -> dict[str, Any]:
    alias = settings.alias
    collection = read_alias_target(client, alias)
    if collection is None:
        return _describe_nothing(alias)
    properties = read_collection_properties(client, collection)
    check_fields(client, collection)
    load_collection(client, collection)
    index = client.describe_index(collection, VECTOR_FIELD) or {}
    return {
        "alias": alias,
        "collection": collection,
        "model": properties.get(PROPERTY_MODEL),
        "dimension": int(properties.get(PROPERTY_DIMENSION, 0)) or None,
        "checkpoint": properties.get(PROPERTY_CHECKPOINT),
        "index": index.get("index_type"),
        "tier": find_tier(client, settings.milvus_tier).name,
        "features": list(read_features(properties)),
        "rows": count_rows(client, collection),
        "aliases": sorted(client.list_aliases(collection)["aliases"]),
    }


def _list_collections(client: "MilvusClient") -> Iterator[dict[str, Any]]:
    """Yield our collections; their rows are those of the statistics, because counting them would load them."""
    for name in sorted(client.list_collections()):
        model = read_collection_properties(client, name).get(PROPERTY_MODEL)
        if model:
            yield {
                "name": name,
                "model": model,
                "rows": int(client.get_collection_stats(name)["row_count"]),
                "aliases": sorted(client.list_aliases(name)["aliases"]),
            }


def _measure_folder(folder: Path) -> int:
    """Return the bytes of all files in a folder; files that vanish during the count do not count."""
    total = 0
    for file in folder.rglob("*"):
        with suppress(OSError):
            total += file.stat().st_size if file.is_file() else 0
    return total


def _describe_nothing(alias: str) -> dict[str, Any]:
    """Return the result of `_read_served` if the alias names no collection."""
    names = ("collection", "model", "dimension", "checkpoint", "index", "tier")
    return {"alias": alias, **dict.fromkeys(names), "features": [], "rows": 0, "aliases": []}


def _is_run_of_latest(row: dict[str, Any], served: dict[str, Any], latest: Any) -> bool:
    """Return whether a record is of a run that served or confirmed the latest date."""
    collection = dict(row["details"]).get("collection") or ""
    of_collection = strip_schema_suffix(collection) == strip_schema_suffix(served["collection"] or "")
    return row["outcome"] == SUCCESS and of_collection and latest is not None and row["date"] == latest


def _find_last_attempt(rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the stage that ended last, whatever its outcome; the start of a run is none."""
    row = max((row for row in rows if row["stage"] != RUN_STAGE), key=lambda row: row["finished_at"], default=None)
    if row is None:
        return None
    names = ("run_id", "date", "stage", "outcome")
    finished_at = row["finished_at"].isoformat(timespec="seconds")
    return {
        **{name: row[name] for name in names},
        "finished_at": finished_at,
        "error": dict(row["details"]).get("error"),
    }


def _compute_kept_share(last_run: dict[str, Any] | None) -> float:
    rows = last_run["rows"] if last_run else {}
    return float(rows.get("kept", 0) / max(rows.get("delivered", 0), 1))


def _find_last_run(runs: list[dict[str, Any]]) -> dict[str, Any] | None:
    if not runs:
        return None
    row = max(runs, key=lambda row: row["finished_at"])
    return {
        "run_id": row["run_id"],
        "date": row["date"],
        "outcome": row["outcome"],
        "finished_at": row["finished_at"].isoformat(timespec="seconds"),
        "rows": dict(row["counts"]),
    }
