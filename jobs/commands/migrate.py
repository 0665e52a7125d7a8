"""``moon migrate``: upgrades lake and collection to the schema versions of this release."""

from typing import Annotated

import typer

from jobs.commands import options
from jobs.commands.output import make_console, make_table, print_error, print_json, print_line
from jobs.commands.session import open_context

PANEL = "When something went wrong"


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(rich_help_panel=PANEL)(migrate)


def migrate(
    lake: options.LakeOption = None,
    milvus: options.MilvusOption = None,
    model: options.ModelOption = None,
    detector: Annotated[
        str | None, typer.Option("--detector", metavar="DIR", help="Detector folder. Default: the shipped one.")
    ] = None,
    dry_run: options.DryRunOption = False,
    as_json: options.JsonOption = False,
) -> None:
    """Upgrade the lake of an earlier release to this one; run it once after an upgrade, before the next nightly run.

    Tables are changed by commits and nothing is encoded. If it is killed, run it again: it continues. It also copies
    the served model into the lake, so that later changes of its folder do not stop runs. If that folder has another
    model already, name folders with the served files by --model and --detector. If this release has other fields in
    Milvus, a new collection is filled from the lake and readers are moved to it; the old one stays until `moon retire`.

    [dim]moon migrate --dry-run[/]
    [dim]moon migrate --lake /data/moon/lake[/]
    """
    from jobs.operations.migrate import keep_served_model, migrate_lake
    from jobs.operations.migrate_collection import migrate_collection, plan_collection
    from jobs.settings import Settings

    settings = Settings().replace(lake=lake, milvus=milvus, model=model, detector=detector)
    done = migrate_lake(settings, dry_run=dry_run)
    warning = None if dry_run else keep_served_model(settings)
    successor = plan_collection(settings)
    if successor and not dry_run:
        with open_context(settings, "migrate") as context:
            migrate_collection(context, successor)
    if as_json:
        collection = successor.as_dict() if successor else None
        tables = [one.as_dict() for one in done]
        print_json({"dry_run": dry_run, "tables": tables, "collection": collection, "warning": warning})
    elif done:
        table = make_table("table", "version", "rows rewritten", title="to migrate" if dry_run else "migrated")
        for one in done:
            table.add_row(one.table, str(one.version), f"{one.rows:,}")
        make_console().print(table)
    else:
        print_line("The lake has this release's schema already.")
    if successor and not as_json:
        print_line(f"{successor.before} {'will be' if dry_run else 'is'} replaced by {successor.after}")
    if warning:
        print_error(warning)
