"""``moon audit`` and ``moon check-lake``: commands that look for damage."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import Progress

from jobs.commands import options
from jobs.commands.output import make_console, print_error, print_json, print_line
from jobs.commands.session import open_context

if TYPE_CHECKING:
    from jobs.serving.audit import AuditResult

PANEL = "When something went wrong"


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    app.command("audit", rich_help_panel=PANEL)(audit)
    app.command("check-lake", rich_help_panel=PANEL)(check_lake)


def audit(
    lake: options.LakeOption = None,
    milvus: options.MilvusOption = None,
    collection: options.CollectionOption = None,
    sample: Annotated[
        int,
        typer.Option("--sample", metavar="N", min=0, help="Also compare the vectors of N products with the lake."),
    ] = 0,
    full: Annotated[
        bool, typer.Option("--full", help="Compare every vector with the lake; reads all of both.")
    ] = False,
    examples: Annotated[int, typer.Option("--examples", min=0, help="How many ids of each fault to name.")] = 5,
    as_json: options.JsonOption = False,
) -> None:
    """Look for rows of the served collection that are not as the ledger says; exit with 1 if there are any.

    It compares ids, content hashes and epochs by a sum, and counts rows that are missing, orphaned, doubled, stale or
    of another model. It finds what the number of rows in `moon status` cannot: one row deleted and a foreign one added.
    With --sample or --full it also compares vectors: their length, and their numbers with the lake's; --sample takes
    the same products each time. Nothing is written, and no run has to wait. Exit status: 0 for all as it should be, 1
    for something that is not, 75 while a run is writing (try again later), 3 where collection or lake cannot be read.

    [dim]moon audit                        # weekly, seconds[/]
    [dim]moon audit --sample 1000 --json   # for a monitor[/]
    [dim]moon audit --full                 # after a restore of Milvus; reads everything[/]
    """
    from jobs.serving.audit import audit_served
    from jobs.serving.row_faults import suggest_remedy
    from jobs.settings import Settings

    settings = Settings().replace(lake=lake, milvus=milvus, alias=collection)
    with open_context(settings, "audit", needs_lake=True, needs_milvus=True) as context:
        found = audit_served(context, max_examples=examples, sample=sample, full=full)
    remedy = "" if found.is_sound else suggest_remedy(found.counts)
    if as_json:
        print_json({**found.as_dict(), "remedy": remedy})
    else:
        looked = f", {found.compared:,} vectors compared with the lake" if found.compared else ""
        end = "" if not found.is_sound else ": as the ledger says"
        print_line(f"{found.collection}: {found.held.rows:,} rows, sum {found.held.total:016x}{looked}{end}")
    if not found.is_sound:
        for text in describe_audit(found, remedy):
            print_error(text)
        raise typer.Exit(1)


def describe_audit(found: "AuditResult", remedy: str) -> list[str]:
    """Return what an audit found as sentences: first the whole collection, then its rows with the remedy."""
    if not found.counts:
        return found.problems
    from jobs.serving.row_faults import FAULTS

    lines = list[str]()
    for fault, meaning in FAULTS.items():
        if number := found.counts[fault]:
            ids = found.examples.get(fault) or []
            named = f": {', '.join(map(repr, ids))}{', …' if number > len(ids) else ''}" if ids else ""
            lines.append(f"{number:,} {fault.replace('_', ' ')} ({meaning}){named}")
    return [
        *found.problems,
        f"{found.collection} does not hold what the ledger says ({found.wanted.rows:,} rows, sum "
        f"{found.wanted.total:016x}), so readers see wrong or too few products. {'; '.join(lines)}. {remedy}",
    ]


def check_lake(
    lake: options.LakeOption = None,
    milvus: options.MilvusOption = None,
    deep: Annotated[bool, typer.Option("--deep", help="Read all bytes and compare checksums, not only sizes.")] = False,
    forget: Annotated[
        bool,
        typer.Option(
            "--forget",
            help="Take damaged files out of the lake where no backup has them, and say what brings their rows back.",
        ),
    ] = False,
    as_json: options.JsonOption = False,
) -> None:
    """Look for damaged files in the lake, its image store, and Milvus Lite; exit with 1 if there are any.

    Checks that the log of each table can be read without gaps, and each live file by its size in the log and its
    footer. Nothing is changed without --forget, which needs that no run writes.

    [dim]moon check-lake[/]
    [dim]moon check-lake --deep --json[/]
    """
    from jobs.commands.preflight import check_lake as check_lake_path
    from jobs.lake.store import open_lake
    from jobs.serving.forgetting import forget_damage
    from jobs.serving.lake_check import find_all_damage
    from jobs.settings import Settings

    settings = Settings().replace(lake=lake, milvus=milvus)
    check_lake_path(settings, must_exist=True)
    store = open_lake(settings)
    with Progress(console=make_console(stderr=True), transient=True) as progress:
        task = progress.add_task("check-lake")

        def advance(table: str, done: int, files: int) -> None:
            progress.update(task, description=f"check-lake {table}", completed=done, total=files)

        found = list(find_all_damage(store, settings, deep=deep, advance=advance))
    done = forget_damage(store, found) if forget else []
    if as_json:
        damages = [damage.as_dict() for damage in found]
        print_json({"lake": store.storage.uri(), "damage": damages, "forgotten": [one.as_dict() for one in done]})
    elif not found:
        print_line(f"{store.storage.uri()}: no file is damaged")
    for damage in () if forget else found:
        print_error(str(damage))
    for one in done:
        print_error(f"{one.file} {'was taken out' if one.is_done else 'was left as it is'}. Now: {one.next_step}")
    if found:
        raise typer.Exit(1)
