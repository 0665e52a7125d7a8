"""``moon search``, ``quarantine``, ``export`` and ``maintain``: commands on the served collection and the lake."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress

from jobs.commands import options
from jobs.commands.output import make_console, make_table, print_json, print_line
from jobs.commands.products import HtmlOption
from jobs.commands.session import open_context

PANEL = "Serving"
SHOWN_ROWS = 50
"""Refused rows that `moon quarantine` shows."""
SHOWN_FIELDS = ("product_id", "title", "category", "brand")
"""Fields of a product that `moon search` shows as a table."""


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    for command in (search, quarantine, export, maintain):
        app.command(command.__name__, rich_help_panel=PANEL)(command)


def search(
    text: Annotated[str | None, typer.Argument(help="What to look for, in words.", show_default=False)] = None,
    image: Annotated[
        str | None,
        typer.Option("--image", metavar="FILE|URL", help="A photo to look for, alone or with the words."),
    ] = None,
    k: Annotated[int, typer.Option("--k", min=1, max=16_384, help="How many products.")] = 10,
    expression: Annotated[
        str, typer.Option("--filter", metavar="EXPR", help="Milvus filter over the fields of a product.")
    ] = "",
    all_variants: Annotated[
        bool, typer.Option("--all-variants", help="Show every variant, not only the best of each group.")
    ] = False,
    hybrid: Annotated[
        bool, typer.Option("--hybrid", help="Also by words: put products first that contain every word.")
    ] = False,
    collection: options.CollectionOption = None,
    lake: options.LakeOption = None,
    milvus: options.MilvusOption = None,
    model: options.ModelOption = None,
    html: HtmlOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Find the products nearest to a text, a photo, or both.

    The score is a cosine: 1 is identical. Fields to filter by: title, category (the whole path), category_1 to
    category_3, brand, group_id (of a variant the product id of its parent), snapshot_date, content_hash, and the
    values of the mapping's payload: payload["price"]. Of variants only the best is shown. With
    --hybrid an article number, a name or a brand with a size is found by its words; the score stays the cosine.

    [dim]moon search "red striped t-shirt" --k 5[/]
    [dim]moon search --image boot.jpg --filter 'category_1 == "Shoes" and brand in ["A", "B"]'[/]
    [dim]moon search "red boots" --filter 'payload["price"] < 50 and payload["in_stock"] == true'[/]
    [dim]moon search "Volt9 400 ml" --hybrid[/]
    [dim]moon search "waterproof" --image jacket.jpg --filter 'category like "Outdoor/%"'[/]
    [dim]moon search "red striped t-shirt" --k 50 --html hits.html   # a page of pictures[/]
    [dim]moon search "waterproof" --collection moon_scratch_1f2e3d4c_5b6a7988   # of `moon backfill --scratch`[/]
    """
    from jobs.serving.search import search_products as find
    from jobs.settings import Settings

    settings = Settings().replace(alias=collection, lake=lake, milvus=milvus, model=model)
    hits = find(settings, text=text, image=image, k=k, expression=expression, all_variants=all_variants, hybrid=hybrid)
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


def quarantine(
    date: Annotated[
        str | None,
        typer.Option(
            "--date",
            metavar="YYYY-MM-DD",
            help="Snapshot date. Default: the latest.",
            show_default=False,
            autocompletion=options.complete_dates,
        ),
    ] = None,
    reason: Annotated[
        str | None,
        typer.Option(
            "--reason",
            metavar="CODE",
            help="Only rows of this reason code.",
            show_default=False,
            autocompletion=options.complete_reasons,
        ),
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
    from jobs.commands.preflight import check_lake
    from jobs.serving.quarantine import read_quarantine, write_quarantine
    from jobs.settings import Settings

    settings = Settings().replace(lake=lake)
    check_lake(settings)
    rows = read_quarantine(settings, date, reason)
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
    collection: options.CollectionOption = None,
    milvus: options.MilvusOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Write everything that is served into one Parquet file: product_id, content_hash, snapshot_date, group_id, vector.

    [dim]moon export --out served.parquet[/]
    """
    from jobs.serving.export import export_collection as write
    from jobs.settings import Settings

    settings = Settings().replace(alias=collection, milvus=milvus)
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
    from jobs.spark.progress import show_stage_progress

    settings = Settings().replace(lake=lake, milvus=milvus)
    with (
        open_context(settings, "maintain", needs_lake=True) as context,
        show_stage_progress(context.spark, "maintain"),
    ):
        done = maintain_lake(context.spark, context.lake, settings, dry_run=dry_run)
    actions = [action.as_dict() for action in done]
    if as_json:
        print_json({"dry_run": dry_run, "actions": actions})
        return
    table = make_table("table", "what", "files", "rows", title="due" if dry_run else "done")
    for action in actions:
        table.add_row(*(f"{value:,}" if isinstance(value, int) else str(value) for value in action.values()))
    make_console().print(table if actions else "Nothing is due.")
