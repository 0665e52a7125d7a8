"""``moon status``: what is served, how old it is, and how the last runs ended."""

from datetime import timedelta
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jobs.commands import options
from jobs.commands.output import make_console, make_table, print_error, print_json

MODEL_DIGITS = 12
"""Digits of a model version that the table of collections shows."""


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("status", rich_help_panel="Serving")(status)


def status(
    collection: options.CollectionOption = None,
    lake: options.LakeOption = None,
    milvus: options.MilvusOption = None,
    max_age: Annotated[
        str | None,
        typer.Option("--max-age", metavar="AGE", help="Exit with 1 when the served state is older: 26h, 90m, 2d."),
    ] = None,
    as_json: options.JsonOption = False,
) -> None:
    """Show what is served, how old it is, all collections with their models, and the last runs.

    The age is the time since a night last brought, or confirmed, the latest snapshot date. A state of which more than
    MOON_MAX_KEPT was kept back, because photos could not be reached, is not fresh. The command also fails where the
    collection holds more or fewer rows than the ledger says.

    [dim]moon status --json --max-age 26h   # for a monitor: fails when a nightly run was missed[/]
    """
    from jobs.commands.preflight import check_lake
    from jobs.lake.store import open_lake
    from jobs.pages.report_index import refresh_reports
    from jobs.serving.status import find_damage, find_staleness, parse_age
    from jobs.serving.status import read_status as look
    from jobs.settings import Settings

    most = parse_age(max_age) if max_age else None
    settings = Settings().replace(alias=collection, lake=lake, milvus=milvus)
    check_lake(settings)
    found = {**look(settings), "report": refresh_reports(open_lake(settings), settings)}
    staleness = None if most is None else find_staleness(found, most, settings.max_kept)
    damage = find_damage(found)
    if as_json:
        print_json(found | {"damage": damage} | ({} if most is None else {"fresh": staleness is None}))
    else:
        print_status(found, make_console())
    if damage:
        print_error(damage)
    if staleness:
        print_error(f"not fresh by --max-age {max_age}: {staleness}; look at the last run")
    if damage or staleness:
        raise typer.Exit(1)


def print_status(found: dict[str, Any], console: Console) -> None:
    """Show a status: its rows as two columns, then the collections."""
    table = Table(show_header=False, box=None)
    table.add_column()
    table.add_column(overflow="fold")  # paths are shown whole
    for name, value in list_status_rows(found).items():
        table.add_row(Text(name, "bold"), str(value or "none"))
    console.print(table)
    collections = make_table("collection", "model", "products", "aliases", title="Collections")
    for one in found["collections"]:
        aliases = ", ".join(one["aliases"])
        collections.add_row(one["name"], one["model"][:MODEL_DIGITS], f"{one['rows']:,}", aliases)
    if found["collections"]:
        console.print(collections)


def list_status_rows(found: dict[str, Any]) -> dict[str, Any]:
    """Return the names and values that `moon status` shows, in order; an empty value is shown as "none"."""
    last, attempt, seconds = found["last_run"], found["last_attempt"], found["age_seconds"]
    hold, rows = found["hold"], (found["last_run"] or {"rows": {}})["rows"]
    return {
        "alias": f"{found['alias']} → {found['collection'] or 'nothing: run `moon nightly`'}",
        "model": found["model"],
        "checkpoint": found["checkpoint"],
        "products": f"{found['rows']:,}",
        **({"being written": f"by {found['writer']}"} if found["writer"] else {}),
        "index": found["index"],
        "Milvus tier": found["tier"],
        "features": ", ".join(found["features"]),
        "snapshot": found["snapshot_date"],
        "age": None if seconds is None else f"{timedelta(seconds=seconds)} (since {found['served_at']})",
        "last attempt": attempt
        and f"{attempt['date']} {attempt['stage']} {attempt['outcome']} at {attempt['finished_at']}",
        **({"its error": attempt["error"]} if attempt and attempt["error"] else {}),
        "last success": _describe_run(found["last_success"]),
        **({} if last == found["last_success"] else {"last run": _describe_run(last)}),
        "its rows": ", ".join(f"{count:,} {name}" for name, count in rows.items()),
        "kept": f"{rows.get('kept', 0):,} products wait for their photos",
        "stale": f"{rows.get('stale', 0):,} products are served as on an earlier date",
        **({"nights are held": f"by {hold['by']} since {hold['since']}: {hold['reason']}"} if hold else {}),
        "next run": found["next_run"] or f"by cron {found['schedule']}",
        "report": found["report"],
        "milvus": f"{found['milvus']}{_describe_size(found['disk']['milvus'])}",
        "lake": f"{found['lake']}{_describe_size(found['disk']['lake'])}",
    }


def _describe_run(run: dict[str, Any] | None) -> str:
    return f"{run['date']} {run['run_id']} {run['outcome']} at {run['finished_at']}" if run else ""


def _describe_size(size: int | None) -> str:
    return "" if size is None else f" ({size / 2**20:,.1f} MiB on disk)"
