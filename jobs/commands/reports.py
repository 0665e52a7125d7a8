"""``moon report``: finds, opens or serves the page of a run, and writes it where it is missing."""

import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.commands import options
from jobs.commands.nightly import collect_overrides, parse_snapshot_date, run_nightly_stages
from jobs.commands.output import print_json, print_line
from jobs.errors import NightStoppedError, UsageError

if TYPE_CHECKING:
    from jobs.lake.store import Lake


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("report", rich_help_panel="Single stages")(report)


def report(
    date: Annotated[
        str | None,
        typer.Option("--date", metavar="YYYY-MM-DD", help="Snapshot date. Default: the latest.", show_default=False),
    ] = None,
    catalog: options.CatalogOption = None,
    mapping: options.MappingOption = None,
    lake: options.LakeOption = None,
    milvus: options.MilvusOption = None,
    model: options.ModelOption = None,
    allow_deletes: options.AllowDeletesOption = None,
    allow_refusals: options.AllowRefusalsOption = None,
    allow_shift: options.AllowShiftOption = None,
    reason: options.OverrideReasonOption = "",
    show: Annotated[bool, typer.Option("--open", help="Open the page in the browser of this machine.")] = False,
    serve: Annotated[bool, typer.Option("--serve", help="Serve all pages on 127.0.0.1 until Ctrl-C.")] = False,
    port: Annotated[int, typer.Option("--port", min=0, max=65_535, help="With --serve; 0: a free one.")] = 0,
    ended: Annotated[
        bool,
        typer.Option(
            "--ended", help="No process works on the date any more: a run without an end was killed. For schedulers."
        ),
    ] = False,
    as_json: options.JsonOption = False,
) -> None:
    """Print where the page of a run is; open it or serve all pages.

    A missing page is written first: that of a killed run, and that of a run that is served and has no report yet. The
    latter is the last stage, which checks that no row was lost.

    [dim]moon report[/]
    [dim]moon report --date 2026-11-22 --open[/]
    [dim]moon report --serve[/]
    """
    from jobs.lake.store import open_lake
    from jobs.pages.report_index import INDEX_PAGE, find_report, write_missing_reports
    from jobs.settings import Settings

    settings = Settings().replace(catalog=catalog, mapping=mapping, lake=lake, milvus=milvus, model=model)
    if ended and not date:
        raise UsageError("--ended says that a date's run has ended: add --date")
    lifted = collect_overrides(allow_deletes, allow_refusals, allow_shift, reason)
    day = parse_snapshot_date(date, settings) if date else None
    store = open_lake(settings)
    if due := _find_due_date(store, day):
        run_nightly_stages(settings, due, ["report"], lifted)
    write_missing_reports(store, settings, has_ended=ended, date=day or "")
    name = find_report(store, day)
    if name is None:
        which = f"of {day} " if day else ""
        raise NightStoppedError(f"there is no run {which}in the lake {settings.lake}: run `moon nightly` first")
    if as_json:
        print_json({"page": store.storage.uri(name), "index": store.storage.uri(INDEX_PAGE)})
    else:
        print_line(store.storage.uri(name))
    if show:
        _open(store, name)
    if serve:
        _serve(store, name, port)


def _find_due_date(lake: "Lake", date: str | None) -> str | None:
    """Return the date whose current run is published and did not get to its stage `report`; None if there is none."""
    from jobs.pages.run_history import INTERRUPTED, KILLED, PLANNED, read_history
    from jobs.state.plan_record import read_current_plan

    runs = [run for run in read_history(lake) if date in (None, run.date)]
    if not runs or runs[-1].outcome not in (PLANNED, KILLED, INTERRUPTED):
        return None
    plan = read_current_plan(lake, runs[-1].date)
    if plan is None or plan.run_id != runs[-1].run_id or "publish" not in runs[-1].seconds:
        return None
    return plan.date


def _open(lake: "Lake", name: str) -> None:
    if not lake.storage.is_local:
        raise UsageError("the lake is in an object store, whose pages a browser cannot open: `moon report --serve`")
    webbrowser.open(Path(lake.storage.uri(name)).as_uri())


def _serve(lake: "Lake", name: str, port: int) -> None:
    from jobs.pages.report_server import make_report_server

    try:
        server = make_report_server(lake.storage, port)
    except OSError as error:
        raise UsageError(f"port {port} cannot be used ({error.strerror}): name another one with --port") from error
    with server:
        print_line(f"http://127.0.0.1:{server.server_port}/{name} (Ctrl-C ends)")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return
