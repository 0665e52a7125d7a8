"""``moon backfill`` and ``moon compare``: commands of analysts for past snapshots."""

import sys
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from jobs.commands import options
from jobs.commands.nightly import collect_overrides, parse_snapshot_date
from jobs.commands.output import make_console, make_table, print_json, print_line
from jobs.commands.session import open_context
from jobs.errors import NightStoppedError, UsageError

if TYPE_CHECKING:
    from jobs.operations.backfill import BackfillPlan
    from jobs.settings import Settings

PANEL = "Past snapshots"


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    for command in (backfill, compare):
        app.command(command.__name__, rich_help_panel=PANEL)(command)


def backfill(
    first: Annotated[str, typer.Option("--from", metavar="YYYY-MM-DD", help="First snapshot date.")],
    last: Annotated[str, typer.Option("--to", metavar="YYYY-MM-DD", help="Last snapshot date, included.")],
    catalog: options.CatalogOption = None,
    mapping: options.MappingOption = None,
    lake: options.LakeOption = None,
    milvus: options.MilvusOption = None,
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="DIR", help="Re-embed with this checkpoint; nothing is served."),
    ] = None,
    where: Annotated[
        str, typer.Option("--where", metavar="EXPR", help="Only these products; with --model. See below.")
    ] = "",
    scratch: Annotated[
        int | None,
        typer.Option(
            "--scratch", metavar="DAYS", min=1, max=365, help="With --model: also make a collection to search."
        ),
    ] = None,
    dry_run: options.DryRunOption = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask, however long it takes.")] = False,
    allow_deletes: options.AllowDeletesOption = None,
    allow_refusals: options.AllowRefusalsOption = None,
    allow_shift: options.AllowShiftOption = None,
    reason: options.OverrideReasonOption = "",
    as_json: options.JsonOption = False,
) -> None:
    """Run missed dates in order, or re-embed past snapshots with another model.

    Without --model every date of the range without a finished run is run, the oldest first. A date older than the
    served one gets its vectors, replaces no newer row and deletes nothing. It serves only products whose rows every
    later run refused.

    With --model the snapshots of the range are encoded with that checkpoint, in the lake only. Dates that the lake
    lacks are pulled if a catalogue is named. --where selects some of the products: fields are product_id,
    title, description, category (the whole path), category_1 to category_3, brand and images (how many). --scratch
    also writes each product's latest row of the range to a separate collection for `moon search --collection`. It
    expires after this number of days; `moon maintain` drops it then.

    --dry-run pulls and validates missing snapshots, but encodes and serves nothing. If it is interrupted, run the same
    command again: finished work is skipped. Work of more than MOON_BACKFILL_ASK_HOURS, or of unknown length, must be
    confirmed first.

    [dim]moon backfill --from 2026-11-01 --to 2026-11-07 --dry-run[/]
    [dim]moon backfill --from 2026-11-01 --to 2026-11-07 --model models/moon-3b --where 'category_1 == "Shoes"'[/]
    [dim]moon backfill --from 2026-11-07 --to 2026-11-07 --model models/moon-3b --scratch 7[/]
    """
    from jobs.settings import Settings

    asked = _BackfillOptions(model, where, scratch, dry_run=dry_run, yes=yes)
    asked.check(lifts_breaker=(allow_deletes, allow_refusals, allow_shift) != (None, None, None))
    settings = Settings().replace(catalog=catalog, mapping=mapping, lake=lake, milvus=milvus, model=model)
    dates = parse_snapshot_date(first, settings), parse_snapshot_date(last, settings)
    lifted = collect_overrides(allow_deletes, allow_refusals, allow_shift, reason)
    document = _backfill(settings, dates, asked, lifted, quiet=as_json)
    if as_json:
        print_json(document)


def compare(
    models: Annotated[
        list[str],
        typer.Option("--model", metavar="MODEL", help="Twice: checkpoint folders, or first digits of model versions."),
    ],
    date: options.DateOption = None,
    k: Annotated[int, typer.Option("--k", min=1, max=1000, help="Neighbours of each product.")] = 10,
    sample: Annotated[
        int, typer.Option("--sample", min=2, max=200_000, help="Products that are searched; both sets fit into memory.")
    ] = 10_000,
    seed: Annotated[int, typer.Option("--seed", help="Of the sample; the same seed is the same sample.")] = 0,
    lake: options.LakeOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Show how differently two models see the products of one date.

    Up to 1,000 products of a sample are each given their k nearest neighbours within it, exactly, by either model.
    Overlap is the share of neighbours that both name: 1 means that services will see no difference.

    [dim]moon backfill --from 2026-11-22 --to 2026-11-22 --model models/next   # its vectors, nothing is served[/]
    [dim]moon compare --model checkpoints/moon-tiny --model models/next --date 2026-11-22[/]
    """
    from jobs.operations.compare import compare_models, resolve_model_version
    from jobs.settings import Settings

    if len(models) != 2:
        raise typer.BadParameter(f"compare takes two models, not {len(models)}", param_hint="--model")
    settings = Settings().replace(lake=lake)
    day = parse_snapshot_date(date, settings)
    with open_context(settings, f"compare {day}", day, needs_lake=True) as context:
        first, second = (resolve_model_version(context.lake, settings, name) for name in models)
        found = compare_models(context.spark, context.lake, (first, second), day, k=k, sample_size=sample, seed=seed)
    if as_json:
        print_json(found)
    else:
        print_comparison(found, make_console())


def print_comparison(found: dict[str, Any], console: Console) -> None:
    """Show what `jobs.operations.compare.compare_models` found."""
    first, second = (version[:12] for version in found["models"])
    console.print(
        f"{found['date']}: {found['products']:,} products have vectors of both models "
        f"({found['only_first']:,} of {first} alone, {found['only_second']:,} of {second})"
    )
    console.print(
        f"Of {found['queries']:,} products in a sample of {found['sample']:,}: overlap@{found['k']} "
        f"{found['overlap']:.3f} (a tenth has {found['overlap_p10']:.3f} or less); the nearest neighbour is the same "
        f"for {found['first']:.1%}"
    )
    if None not in found["same_category"]:
        shares = " and ".join(f"{share:.1%}" for share in found["same_category"])
        console.print(f"Neighbours of the product's own category: {shares}")
    table = make_table("product", "overlap", first, second, title="Changed most")
    for row in found["changed"]:
        lists = ("\n".join(other["title"] for other in row[side]) for side in ("first", "second"))
        table.add_row(f"{row['product_id']} {row['title']}", f"{row['overlap']:.2f}", *lists)
    console.print(table if found["changed"] else "No product has other neighbours.")


@dataclass(frozen=True)
class _BackfillOptions:
    """Options of `moon backfill` besides the range."""

    model: str | None
    where: str
    scratch: int | None
    dry_run: bool
    yes: bool

    def check(self, *, lifts_breaker: bool) -> None:
        """Check that the options can be combined.

        Raises:
            UsageError: they cannot; the message has the reason.
        """
        if self.where and not self.model:
            raise UsageError(
                "--where needs --model: a night always takes the whole catalogue, or it would delete the rest"
            )
        if self.scratch and not self.model:
            raise UsageError("--scratch needs --model: what a night makes is served, `moon search` finds it there")
        if self.model and lifts_breaker:
            raise UsageError("--model re-embeds and serves nothing: there is no breaker to lift")


def _backfill(
    settings: "Settings", dates: tuple[str, str], asked: _BackfillOptions, lifted: dict[str, Any], *, quiet: bool
) -> dict[str, Any]:
    from jobs.operations.backfill import list_dates, plan_backfill, run_backfill
    from jobs.operations.scratch import fill_scratch
    from jobs.state.metrics import write_metrics

    days = list_dates(*dates)
    console = make_console(quiet=quiet)
    with open_context(settings, f"backfill {dates[0]} {dates[1]}", days[0], **lifted) as base:
        plan = plan_backfill(base, days, asked.model, asked.where)
        console.print(_build_days_table(plan))
        document: dict[str, Any] = {**plan.document(), "dry_run": asked.dry_run, "seconds_taken": {}, "scratch": None}
        console.print(_summarise_days(document))
        if asked.dry_run:
            return document
        if plan.due_dates and not asked.yes:
            _confirm_long_work(plan, settings.backfill_ask_hours, is_silent=quiet)
        for number, (date, outcome) in enumerate(run_backfill(base, plan, asked.model, asked.where), 1):
            document["seconds_taken"][date] = round(sum(outcome.seconds.values()), 1)
            if not asked.model:
                write_metrics(base.lake, settings, date)
            console.print(
                f"{date} done in {document['seconds_taken'][date]:.1f} s, {number} of {len(plan.due_dates)} dates"
                f"{_describe_time_left(document['seconds_taken'], len(plan.due_dates) - number)}"
            )
        if asked.scratch:
            made = fill_scratch(base, plan.model, days, asked.where, asked.scratch)
            document["scratch"] = made.as_dict()
            print_line(
                f'{made.rows:,} products in {made.collection} until {made.expires_at}: moon search "…" --collection '
                f"{made.collection}",
                quiet=quiet,
            )
    return document


def _describe_time_left(seconds_taken: dict[str, float], dates_left: int) -> str:
    """Return how long the dates that are left take, at the mean of those that are done; empty after the last one."""
    if not dates_left:
        return ""
    seconds = sum(seconds_taken.values()) / len(seconds_taken) * dates_left
    return f", about {timedelta(seconds=round(seconds))} left"


def _confirm_long_work(plan: "BackfillPlan", hours: float, *, is_silent: bool) -> None:
    """Ask for confirmation of long work; without a terminal, stop with a message that says how to continue.

    Raises:
        NightStoppedError: there is no terminal to ask.
        typer.Abort: the answer was no.
    """
    if plan.seconds is not None and plan.seconds <= hours * 3600:
        return
    length = "an unknown time" if plan.seconds is None else f"about {plan.seconds / 3600:.1f} hours"
    if is_silent or not sys.stdin.isatty():
        raise NightStoppedError(
            f"this takes {length} (asked for above {hours:g} hours, MOON_BACKFILL_ASK_HOURS): add --yes to continue"
        )
    typer.confirm(f"This takes {length}. Continue?", abort=True)


def _build_days_table(plan: "BackfillPlan") -> Table:
    table = make_table("date", "", "products", "images", "seconds", title="Backfill")
    for day in plan.days:
        seconds = "unknown" if day.seconds is None else f"{day.seconds:,.0f}"
        table.add_row(day.date, day.state, f"{day.products:,}", f"{day.images:,}", seconds)
    return table


def _summarise_days(document: dict[str, Any]) -> str:
    work = f"{document['due']:,} days, {document['products']:,} products with {document['images']:,} images to encode"
    if document["seconds"] is None:
        return f"{work}; no run of this model was measured yet, so no time is known"
    gpus = f"{document['gpu_hours']:.2f} GPU-hours" if document["gpus"] else "no GPU here"
    return f"{work}: about {document['seconds']:,.0f} s by earlier runs, {gpus}"
