"""``moon search``, ``status``, ``export`` and ``maintain``: commands on the served collection and the lake."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from jobs.commands import options
from jobs.commands.output import make_console, make_table, print_error, print_json, print_line
from jobs.commands.products import HtmlOption
from jobs.commands.session import open_context

PANEL = "Serving"
SHOWN_ROWS = 50
"""Refused rows that `moon quarantine` shows."""
SHOWN_FIELDS = ("product_id", "title", "category", "brand")
"""Fields of a product that `moon search` shows as a table."""


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    for command in (search, status, quarantine, export, maintain):
        app.command(command.__name__, rich_help_panel=PANEL)(command)


def search(
    text: Annotated[str | None, typer.Argument(help="What to look for, in words.", show_default=False)] = None,
    image: Annotated[
        Path | None, typer.Option("--image", metavar="FILE", help="A photo to look for, alone or with the words.")
    ] = None,
    k: Annotated[int, typer.Option("--k", min=1, max=16_384, help="How many products.")] = 10,
    expression: Annotated[
        str, typer.Option("--filter", metavar="EXPR", help="Milvus filter over the fields of a product.")
    ] = "",
    collection: Annotated[
        str | None,
        typer.Option("--collection", metavar="NAME", help="Another collection or alias than the one readers query."),
    ] = None,
    lake: options.LakeOption = None,
    milvus: options.MilvusOption = None,
    model: options.ModelOption = None,
    html: HtmlOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Find the products nearest to a text, a photo, or both.

    The score is a cosine: 1 is identical. Fields to filter by: title, category (the whole path), category_1 to
    category_3, brand, group_id (of a variant the product id of its parent), snapshot_date, content_hash.

    [dim]moon search "red striped t-shirt" --k 5[/]
    [dim]moon search --image boot.jpg --filter 'category_1 == "Shoes" and brand in ["A", "B"]'[/]
    [dim]moon search "waterproof" --image jacket.jpg --filter 'category like "Outdoor/%"'[/]
    [dim]moon search "red striped t-shirt" --k 50 --html hits.html   # a page of pictures[/]
    [dim]moon search "waterproof" --collection moon_scratch_1f2e3d4c_5b6a7988   # of `moon backfill --scratch`[/]
    """
    from jobs.serving.search import search_products as find
    from jobs.settings import Settings

    settings = Settings().replace(alias=collection, lake=lake, milvus=milvus, model=model)
    hits = find(settings, text=text, image=image, k=k, expression=expression)
    if html is not None:
        from jobs.pages.page import save_page
        from jobs.pages.products.search_page import draw_search

        save_page(html, draw_search(settings, hits, text=text, image=image, expression=expression))
    if as_json:
        print_json(hits)
        return
    groups = [_name_group(hit) for hit in hits]
    heads = ("score", "product", *(["group"] if any(groups) else []), "title", "category", "brand")
    table = make_table(*heads, title=text or str(image))
    for hit, group in zip(hits, groups, strict=True):
        score, product, *texts = f"{hit['score']:.3f}", *(str(hit[name]) for name in SHOWN_FIELDS)
        table.add_row(score, product, *([group] if any(groups) else []), *texts)
    make_console().print(table if hits else "Nothing matches the filter." if expression else "The collection is empty.")


def _name_group(hit: dict[str, Any]) -> str:
    """Return the group of a hit where it is another than the product itself."""
    group = str(hit.get("group_id") or "")
    return "" if group == hit["product_id"] else group


def status(
    lake: options.LakeOption = None,
    milvus: options.MilvusOption = None,
    max_age: Annotated[
        str | None,
        typer.Option("--max-age", metavar="AGE", help="Exit with 1 when the served state is older: 26h, 90m, 2d."),
    ] = None,
    as_json: options.JsonOption = False,
) -> None:
    """Show the served collection, its model, and the age of its data.

    The age is the time since a night last brought, or confirmed, the latest snapshot date. A state of which more than
    MOON_MAX_KEPT was kept back, because photos could not be reached, is not fresh. The command also fails where the
    collection holds more or fewer rows than the ledger says.

    [dim]moon status --json --max-age 26h   # for a monitor: fails when a nightly run was missed[/]
    """
    from jobs.lake.store import open_lake
    from jobs.pages.report_index import refresh_reports
    from jobs.serving.status import find_damage, find_staleness, parse_age
    from jobs.serving.status import read_status as look
    from jobs.settings import Settings

    most = parse_age(max_age) if max_age else None
    settings = Settings().replace(lake=lake, milvus=milvus)
    found = {**look(settings), "report": refresh_reports(open_lake(settings), settings)}
    staleness = None if most is None else find_staleness(found, most, settings.max_kept)
    damage = find_damage(found)
    if as_json:
        print_json(found | {"damage": damage} | ({} if most is None else {"fresh": staleness is None}))
    else:
        _print_status(found)
    if damage:
        print_error(damage)
    if staleness:
        print_error(f"not fresh by --max-age {max_age}: {staleness}; look at the last run")
    if damage or staleness:
        raise typer.Exit(1)


def quarantine(
    date: Annotated[
        str | None,
        typer.Option("--date", metavar="YYYY-MM-DD", help="Snapshot date. Default: the latest.", show_default=False),
    ] = None,
    reason: Annotated[
        str | None, typer.Option("--reason", metavar="CODE", help="Only rows of this reason code.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write all of them to a .csv or .parquet file.")
    ] = None,
    lake: options.LakeOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """List the rows and images that a date refused, with the reason of each; by default of the latest date.

    [dim]moon quarantine --reason malformed_row[/]
    [dim]moon quarantine --date 2026-11-22 --out refused.csv[/]
    """
    from jobs.serving.quarantine import read_quarantine, write_quarantine
    from jobs.settings import Settings

    rows = read_quarantine(Settings().replace(lake=lake), date, reason)
    if out is not None:
        write_quarantine(rows, out)
    if as_json:
        print_json(rows.to_pylist())
        return
    table = make_table("row", "product", "image", "stage", "reason", "detail", title=f"{rows.num_rows:,} refused")
    for row in rows.slice(0, SHOWN_ROWS).to_pylist():
        cells = (row[name] for name in ("source_row", "product_id", "image_index", "stage", "reason", "detail"))
        table.add_row(*("" if cell is None else str(cell) for cell in cells))
    make_console().print(table if rows.num_rows else "Nothing was refused.")
    if out is not None:
        print_line(f"{rows.num_rows:,} rows in {out}")
    elif rows.num_rows > SHOWN_ROWS:
        print_line(f"The first {SHOWN_ROWS} are shown; --out FILE writes all {rows.num_rows:,}.")


def export(
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Parquet file to write; replaced if there.")],
    milvus: options.MilvusOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Write everything that is served into one Parquet file: product_id, content_hash, snapshot_date, group_id, vector.

    [dim]moon export --out served.parquet[/]
    """
    from jobs.serving.export import export_collection as write
    from jobs.settings import Settings

    settings = Settings().replace(milvus=milvus)
    with Progress(console=make_console(stderr=True), transient=True) as progress:
        task = progress.add_task("export")
        rows = write(settings, out, lambda done, total: progress.update(task, completed=done, total=total))
    if as_json:
        print_json({"file": str(out), "rows": rows})
    else:
        print_line(f"{rows:,} rows in {out}")


def maintain(
    lake: options.LakeOption = None,
    milvus: options.MilvusOption = None,
    dry_run: options.DryRunOption = False,
    as_json: options.JsonOption = False,
) -> None:
    """Apply retention, compact tables and delete old files; run it weekly, also during a nightly run.

    [dim]moon maintain --dry-run[/]

    Drops dates past retention (MOON_RETENTION_DAYS before the latest snapshot) and superseded vectors, compacts the
    ledger, regions and runs, writes checkpoints, and deletes files of killed runs once they are two days old. Served
    products, and the data needed to repair them, are always kept. Milvus is used only if a backfill has created a
    scratch collection before: expired ones are dropped.
    """
    from jobs.operations.maintain import maintain_lake
    from jobs.settings import Settings

    settings = Settings().replace(lake=lake, milvus=milvus)
    with open_context(settings, "maintain") as context:
        done = maintain_lake(context.spark, context.lake, settings, dry_run=dry_run)
    actions = [action.as_dict() for action in done]
    if as_json:
        print_json({"dry_run": dry_run, "actions": actions})
        return
    table = make_table("table", "what", "files", "rows", title="due" if dry_run else "done")
    for action in actions:
        table.add_row(*(f"{value:,}" if isinstance(value, int) else str(value) for value in action.values()))
    make_console().print(table if actions else "Nothing is due.")


def _print_status(found: dict[str, Any]) -> None:
    """Show a status as two columns."""
    last, attempt = found["last_run"], found["last_attempt"]
    seconds, hold = found["age_seconds"], found["hold"]
    rows = {
        "alias": f"{found['alias']} → {found['collection'] or 'nothing: run `moon nightly`'}",
        "model": found["model"],
        "checkpoint": found["checkpoint"],
        "products": f"{found['rows']:,}",
        **({"being written": f"by {found['writer']}"} if found["writer"] else {}),
        "index": found["index"],
        "snapshot": found["snapshot_date"],
        "age": None if seconds is None else f"{timedelta(seconds=seconds)} (since {found['served_at']})",
        "last run": last and f"{last['run_id']} {last['outcome']} at {last['finished_at']}",
        "its rows": last and ", ".join(f"{count:,} {name}" for name, count in last["rows"].items()),
        "last attempt": attempt
        and f"{attempt['date']} {attempt['stage']} {attempt['outcome']} at {attempt['finished_at']}",
        **({"its error": attempt["error"]} if attempt and attempt["error"] else {}),
        **({"nights are held": f"by {hold['by']} since {hold['since']}: {hold['reason']}"} if hold else {}),
        "report": found["report"],
        "milvus": found["milvus"],
        "lake": found["lake"],
    }
    table = Table(show_header=False, box=None)
    for name, value in rows.items():
        table.add_row(Text(name, "bold"), str(value or "none"))
    make_console().print(table)
