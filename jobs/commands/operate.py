"""``moon repair``, ``restore``, ``release``, ``rollback`` and ``retire``: actions of an operator."""

from typing import Annotated

import typer

from jobs.commands import options
from jobs.commands.nightly import parse_snapshot_date
from jobs.commands.output import print_json, print_line
from jobs.commands.session import open_context

PANEL = "When something went wrong"


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    for command in (repair, restore, release, rollback):
        app.command(command.__name__, rich_help_panel=PANEL)(command)
    app.command("retire", rich_help_panel="Serving")(retire)


def repair(
    lake: options.LakeOption = None,
    milvus: options.MilvusOption = None,
    deep: Annotated[
        bool, typer.Option("--deep", help="Compare every field and vector, not only id, hash and epoch; reads all.")
    ] = False,
    rewrite_ledger: Annotated[
        bool,
        typer.Option("--rewrite-ledger", help="Write a damaged or outdated ledger again from the collection."),
    ] = False,
    dry_run: options.DryRunOption = False,
    as_json: options.JsonOption = False,
) -> None:
    """Compare the served collection with the ledger and repair rows that were deleted, changed or added.

    Rows are restored from the lake; nothing is encoded. Nightly runs wait until it ends. A ledger that is behind the
    last successful run is refused; --rewrite-ledger replaces it by what the collection holds.

    [dim]moon repair --dry-run[/]
    [dim]moon repair --deep --json[/]
    """
    from jobs.operations.repair import repair_collection as run_repair
    from jobs.operations.repair import rewrite_ledger as rewrite
    from jobs.settings import Settings

    settings = Settings().replace(lake=lake, milvus=milvus)
    with open_context(settings, "repair", needs_lake=True, needs_milvus=True) as context:
        if rewrite_ledger:
            again = rewrite(context, dry_run=dry_run)
            verb = "would be" if dry_run else "is"
            text = f"the ledger of {again.collection} {verb} written again: {again.rows:,} rows, served {again.date}"
            print_json(again.as_dict()) if as_json else print_line(text)
            return
        done = run_repair(context, deep=deep, dry_run=dry_run)
    if as_json:
        print_json(done.as_dict())
        return
    found = done.found
    kinds = f"{found.missing:,} missing, {found.changed:,} changed, {found.surplus:,} not to be there"
    what = "nothing differs" if not found.rows else f"{kinds}; {'nothing was repaired' if dry_run else 'all repaired'}"
    print_line(f"{done.collection}, {done.rows:,} rows: {what}")


def restore(
    date: Annotated[
        str,
        typer.Option(
            "--date",
            metavar="YYYY-MM-DD",
            help="The date whose state is to come back.",
            autocompletion=options.complete_dates,
        ),
    ],
    reason: options.ReasonOption,
    lake: options.LakeOption = None,
    milvus: options.MilvusOption = None,
    dry_run: options.DryRunOption = False,
    as_json: options.JsonOption = False,
) -> None:
    """Reset the served collection to an earlier date, and hold nightly runs until `moon release`.

    For a date whose bad data was served. Nothing is encoded. Every nightly run stops with a message while the hold
    lasts; `moon status` shows it. Correct the catalogue, release, then run the date with the bad data again.

    [dim]moon restore --date 2026-11-21 --reason "prices in the titles" --dry-run[/]
    [dim]moon restore --date 2026-11-21 --reason "prices in the titles"[/]
    """
    from jobs.operations.restore import restore_date as bring_back
    from jobs.settings import Settings

    settings = Settings().replace(lake=lake, milvus=milvus)
    day = parse_snapshot_date(date, settings)
    with open_context(settings, "restore", day, reason=reason, needs_lake=True, needs_milvus=True) as context:
        done = bring_back(context, dry_run=dry_run)
    if as_json:
        print_json(done.as_dict())
        return
    how = "would go" if dry_run else "went"
    print_line(
        f"{done.collection} {how} from {done.before} back to {done.date}: {done.rows:,} rows, {done.brought_back:,} "
        f"brought back, {done.deleted:,} deleted",
    )
    if not dry_run:
        print_line("Nights are held until `moon release`.")


def release(lake: options.LakeOption = None, as_json: options.JsonOption = False) -> None:
    """Let nightly runs continue after `moon restore`.

    [dim]moon release[/]
    """
    import time

    from jobs.lake.store import open_lake
    from jobs.operations.operator_session import record_operation
    from jobs.settings import Settings
    from jobs.state.hold import release_hold as let_go
    from jobs.state.run_log import current_operator

    settings = Settings().replace(lake=lake)
    store, began = open_lake(settings), time.monotonic()
    ended = let_go(store, current_operator())
    if ended:
        record_operation(store, "release", ended.restored, {}, {"reason": ended.reason, "held_by": ended.by}, began)
    if as_json:
        print_json({"released": ended.as_dict() if ended else None})
    else:
        print_line(f"Nights continue; they were held by {ended.by}." if ended else "Nights were not held.")


def rollback(
    reason: options.ReasonOption = "",
    to: Annotated[
        str, typer.Option("--to", metavar="MODEL", help="First digits of a model version. Default: the one before.")
    ] = "",
    catalog: options.CatalogOption = None,
    mapping: options.MappingOption = None,
    lake: options.LakeOption = None,
    milvus: options.MilvusOption = None,
    dry_run: options.DryRunOption = False,
    as_json: options.JsonOption = False,
) -> None:
    """Move readers back to the previous model, after its collection has caught up with later runs.

    Products that are new or changed since then are encoded with that model, so the catalogue's images must be readable
    (--catalog, or MOON_ALLOWED_ROOTS). Readers use the newer model until the last step, which moves the alias. Later
    nightly runs use the previous model. --dry-run shows how far its collection is behind.

    [dim]moon rollback --dry-run[/]
    [dim]moon rollback --reason "worse for shoes"[/]
    """
    from jobs.operations.rollback import plan_rollback
    from jobs.operations.rollback import run_rollback as go_back
    from jobs.settings import Settings

    settings = Settings().replace(catalog=catalog, mapping=mapping, lake=lake, milvus=milvus)
    with open_context(settings, "rollback", reason=reason, needs_lake=True, needs_milvus=True) as context:
        way = plan_rollback(context, to)
        if not dry_run:
            go_back(context, way)
    if as_json:
        print_json({**way.as_dict(), "dry_run": dry_run})
        return
    behind = f"{way.to.collection} (model {way.to.model_version[:12]}, serving {way.to_date or 'nothing yet'})"
    print_line(
        f"{behind} is {way.behind:,} rows behind {way.served} at {way.date}: {way.work}"
        if dry_run
        else f"{settings.alias} names {way.to.collection} again, at {way.date}; it named {way.served}",
    )


def retire(
    model: Annotated[str, typer.Option("--model", metavar="MODEL", help="First digits of its model version.")],
    reason: options.ReasonOption,
    lake: options.LakeOption = None,
    milvus: options.MilvusOption = None,
    dry_run: options.DryRunOption = False,
    as_json: options.JsonOption = False,
) -> None:
    """Drop the collection of a model that is no longer served, and its pinned alias.

    The served collection, and one that any other alias names, is refused. The vectors stay in the lake: `moon rollout`
    of the same checkpoint rebuilds the collection and encodes only products that are new since then.

    [dim]moon retire --model 3f9a1c --reason "a month without complaints" --dry-run[/]
    """
    from jobs.operations.retire import retire_collection as drop
    from jobs.settings import Settings

    settings = Settings().replace(lake=lake, milvus=milvus)
    with open_context(settings, "retire", reason=reason, needs_lake=True, needs_milvus=True) as context:
        done = drop(context, model, dry_run=dry_run)
    if as_json:
        print_json({**done.as_dict(), "dry_run": dry_run})
        return
    verb = "would be dropped" if dry_run else "is dropped"
    print_line(
        f"{done.collection} (model {done.model_version[:12]}, {done.rows:,} rows of {done.date}) {verb}; its vectors "
        "stay in the lake",
    )
