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
KIND_TEXTS = {"missing": "missing", "changed": "with another content", "surplus": "not to be there"}


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    app.command("audit", rich_help_panel=PANEL)(audit)
    app.command("check-lake", rich_help_panel=PANEL)(check_lake)


def audit(
    lake: options.LakeOption = None,
    milvus: options.MilvusOption = None,
    collection: options.CollectionOption = None,
    examples: Annotated[int, typer.Option("--examples", min=0, help="How many ids of each difference to name.")] = 5,
    as_json: options.JsonOption = False,
) -> None:
    """Compare ids and content hashes of the served collection with the ledger, by a sum; exit with 1 if they differ.

    It also finds what the number of rows in `moon status` cannot: one row deleted and a foreign one added. Nothing is
    changed. Run it weekly; nightly runs wait until it ends.

    [dim]moon audit[/]
    """
    from jobs.operations.repair import audit_served
    from jobs.settings import Settings

    settings = Settings().replace(lake=lake, milvus=milvus, alias=collection)
    with open_context(settings, "audit", needs_lake=True, needs_milvus=True) as context:
        found, remedy = audit_served(context, examples)
    if as_json:
        print_json({**found.as_dict(), "remedy": remedy})
    else:
        print_line(f"{found.collection}: {found.held.rows:,} rows, sum {found.held.total:016x}")
    if remedy:
        print_error(_describe_audit(found, remedy))
        raise typer.Exit(1)


def _describe_audit(found: "AuditResult", remedy: str) -> str:
    if found.is_equal:
        return remedy
    named = "; ".join(f"{KIND_TEXTS[kind]}: {', '.join(map(repr, ids))}" for kind, ids in found.examples.items())
    return (
        f"{found.collection} does not hold what the ledger says ({found.wanted.rows:,} rows, sum "
        f"{found.wanted.total:016x}), so readers see wrong or too few products. Rows {named}. {remedy}"
    )


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
