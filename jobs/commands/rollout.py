"""``moon rollout``: moves readers to another model."""

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from jobs.commands import options
from jobs.commands.analyst import print_comparison
from jobs.commands.nightly import collect_overrides
from jobs.commands.output import make_console, print_json
from jobs.commands.session import open_context

if TYPE_CHECKING:
    from jobs.operations.rollout import Rollout
    from jobs.settings import Settings

PANEL = "Serving"


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(rich_help_panel=PANEL)(rollout)


def rollout(
    model: Annotated[str, typer.Option("--model", metavar="DIR", help="Checkpoint folder of the new model.")],
    approve: Annotated[
        bool, typer.Option("--approve", help="Switch what was prepared: catch up and move the alias.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Prepare and switch in one go, without asking.")] = False,
    reason: Annotated[str, typer.Option("--reason", help="Why; kept in the record.")] = "",
    sample: Annotated[
        int, typer.Option("--sample", min=2, max=200_000, help="Products that old and new are compared on.")
    ] = 10_000,
    allow_deletes: Annotated[
        float | None,
        options.make_share_option("--allow-deletes", "Switch though up to this share of products has no new vector"),
    ] = None,
    catalog: options.CatalogOption = None,
    mapping: options.MappingOption = None,
    lake: options.LakeOption = None,
    milvus: options.MilvusOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Move readers to another model: re-embed while nightly runs continue, compare, ask, move the alias.

    Fills the new model's collection with the served products, while the old one serves and nightly runs continue. Then
    compares the neighbours of both and writes a page to the lake. Readers are not affected until somebody approves: in
    the terminal, by --approve later, or by --yes at once. The switch catches up with runs that finished since.

    Interrupted, it continues when it is run again: finished vectors are kept. `moon rollback` moves the alias back.

    [dim]moon rollout --model models/next --reason "better on shoes"[/]
    [dim]moon rollout --model models/next --reason "better on shoes" --approve[/]
    """
    from jobs.settings import Settings

    if approve and yes:
        raise typer.BadParameter("--approve switches what was prepared, --yes does both steps: say one")
    lifted = collect_overrides(allow_deletes, None, None, reason)
    settings = Settings().replace(catalog=catalog, mapping=mapping, lake=lake, milvus=milvus)
    document = _rollout(settings, model, lifted, sample, approve=approve, yes=yes, quiet=as_json)
    if as_json:
        print_json(document)


def _rollout(
    settings: "Settings",
    folder: str,
    lifted: dict[str, Any],
    sample: int,
    *,
    approve: bool,
    yes: bool,
    quiet: bool,
) -> dict[str, Any]:
    from jobs.operations import rollout as work

    console = make_console(quiet=quiet)
    with open_context(settings, "rollout", needs_lake=True, needs_milvus=True, **lifted) as context:
        ours = work.begin_rollout(context, folder, context.reason)
        document: dict[str, Any] = {
            "alias": settings.alias,
            "before": ours.served,
            "after": ours.model.collection,
            "model": ours.model.model_version,
            "state": work.ROLLOUT_ALREADY_SERVED,
        }
        if ours.is_done:
            console.print(
                f"{settings.alias} serves {ours.model.model_version[:12]} already: nothing to do", soft_wrap=True
            )
            return document
        if not approve:
            prepared = work.prepare_rollout(ours, sample=sample)
            document |= {"state": work.ROLLOUT_PREPARED, **vars(prepared)}
            _print_prepared(console, document)
            if not (yes or _confirm_switch(ours, is_silent=quiet)):
                console.print(
                    "Readers see nothing of it yet. To switch: the same command with --approve", soft_wrap=True
                )
                return document
        work.switch_rollout(ours)
        console.print(
            f"{settings.alias} → {ours.model.collection}, model {ours.model.model_version[:12]}", soft_wrap=True
        )
        if settings.model:
            console.print(
                f"MOON_MODEL names {settings.model}: unset it, or nights will stop at another model", soft_wrap=True
            )
        return document | {"state": work.ROLLOUT_SWITCHED}


def _confirm_switch(rollout_plan: "Rollout", *, is_silent: bool) -> bool:
    """Return whether the user approves in the terminal; False without a terminal."""
    if is_silent or not sys.stdin.isatty():
        return False
    return typer.confirm(f"Shall {rollout_plan.model.uri} serve the readers of {rollout_plan.context.settings.alias}?")


def _print_prepared(console: Console, document: dict[str, Any]) -> None:
    rows = ", ".join(f"{count:,} {name}" for name, count in document["rows"].items())
    console.print(f"{document['after']} holds the products of {document['date']}: {rows}", soft_wrap=True)
    if document["comparison"]:
        print_comparison(document["comparison"], console)
    console.print(f"Page: {document['page']}", soft_wrap=True)
