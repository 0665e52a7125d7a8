"""``moon demo-catalog`` and ``moon check-source``: write a demo catalogue, and check a catalogue before a run."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from jobs.commands import options
from jobs.commands.nightly import parse_snapshot_date
from jobs.commands.output import make_console, print_json, print_line
from jobs.errors import MoonError

PANEL = "Catalogues"


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    app.command("check-source", rich_help_panel=PANEL)(check_catalog)
    app.command("demo-catalog", rich_help_panel=PANEL)(demo_catalog)


def check_catalog(
    catalog: options.CatalogOption = None,
    mapping: options.MappingOption = None,
    date: Annotated[
        str | None,
        typer.Option("--date", metavar="YYYY-MM-DD", help="Date that {date} in the catalogue's name stands for."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Save the suggested mapping here (TOML).")
    ] = None,
    rows: Annotated[int, typer.Option("--rows", min=1, max=100, help="Rows to show.")] = 5,
    read_rows: Annotated[
        int, typer.Option("--read-rows", min=1, help="Rows to read of all files together; all: the forecast is exact.")
    ] = 100_000,
    as_json: options.JsonOption = False,
) -> None:
    """Show how a catalogue would be read, suggest a mapping if there is none, and predict the nightly run.

    Reads all files and a few image headers; writes only --out. Exit status 1: a nightly run would stop.

    [dim]moon check-source --catalog shop/products.csv --out shop/mapping.toml[/]
    """
    from jobs.operations.check_report import build_check_document, print_check
    from jobs.operations.check_source import check_source
    from jobs.settings import Settings

    settings = Settings().replace(catalog=catalog, mapping=mapping)
    if not settings.catalog:
        raise typer.BadParameter("name the catalogue: --catalog PATH, or the variable MOON_CATALOG")
    where = settings.catalog.replace("{date}", parse_snapshot_date(date, settings)) if date else settings.catalog
    with Progress(
        SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(),
        console=make_console(stderr=True, quiet=as_json), transient=True,
    ) as progress:  # fmt: skip
        task = progress.add_task("")

        def show(count: int, part: int) -> None:
            progress.update(task, description=f"{count:,} rows read, file {part:,}")

        found = check_source(where, settings, max_rows=rows, read_rows=read_rows, show_progress=show)
    if as_json:
        print_json(build_check_document(found))
    else:
        print_check(found, make_console())
    if out is not None:
        _save(out, found.mapping_text, found.mapping_file)
    if not found.is_usable:
        raise typer.Exit(1)


def _save(out: Path, text: str | None, mapping_file: str | None) -> None:
    """Write the suggestion; never over a file that an analyst may have corrected."""
    if text is None:
        why = f"{mapping_file} is the mapping already" if mapping_file else "there is no suggestion"
        raise MoonError(f"nothing to save: {why}")
    try:
        with out.open("x", encoding="utf-8") as file:
            file.write(f"# Suggested by moon check-source; see docs/mapping.md.\n{text}")
    except FileExistsError as error:
        raise MoonError(f"{out} exists; name another file, or delete it first") from error
    except OSError as error:
        raise MoonError(f"cannot write {out}: {error.strerror}") from error
    print_line(f"mapping saved to {out}", stderr=True)


def demo_catalog(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the shop; made where missing.")],
    products: Annotated[int, typer.Option("--products", min=1, help="Good products on the first day.")] = 500,
    days: Annotated[int, typer.Option("--days", min=1, help="Daily snapshots.")] = 2,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Decides everything; same seed, same shop.")] = 1,
    start: Annotated[
        str | None, typer.Option("--start", metavar="YYYY-MM-DD", help="First day. Default: so that the last is today.")
    ] = None,
    broken: Annotated[bool, typer.Option("--broken/--no-broken", help="Put in rows that must be refused.")] = True,
    as_json: options.JsonOption = False,
) -> None:
    """Draw a made-up shop: products of 20 types with photos, snapshots for several days, true boxes with them.

    Day by day some products change, appear and disappear, and a few rows are broken on purpose (expected.jsonl).

    [dim]moon demo-catalog --out var/demo --products 500 --days 2 --seed 1[/]
    """
    from datetime import timedelta

    from jobs.datasets.demo_catalog import write_demo_catalog

    first = _parse_day(start) if start else datetime.now(UTC).date() - timedelta(days=days - 1)
    summary = write_demo_catalog(
        out, products=products, days=days, seed=seed, start=first, broken=broken, progress=not as_json
    )
    if as_json:
        print_json({**vars(summary), "folder": str(summary.folder)})
        return
    for day, count in summary.rows.items():
        print_line(f"{day}  {count} rows  {summary.folder / day / 'catalog.jsonl'}")
    print_line(
        f"{summary.photos} photos ({summary.drawn} drawn now), {sum(summary.broken.values())} rows broken on purpose, "
        f"{summary.seconds:.0f} s; look at {summary.folder / 'contact_sheet.png'}"
    )


def _parse_day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no date; write it as 2026-11-22", param_hint="--start") from error
