"""``moon explain`` and ``moon duplicates``: commands that look at single products."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group
from rich.table import Table

from jobs.commands import options
from jobs.commands.output import make_console, make_table, print_error, print_json, print_line

if TYPE_CHECKING:
    from jobs.serving.explain import Explanation

PANEL = "Serving"

HtmlOption = Annotated[
    Path | None,
    typer.Option("--html", metavar="FILE", help="Also write a page with photos; replaced if there."),
]


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    app.command("explain", rich_help_panel=PANEL)(explain)


def explain(
    product_id: Annotated[str, typer.Argument(help="The product's id, as the catalogue delivers it.")],
    html: HtmlOption = None,
    collection: Annotated[
        str | None,
        typer.Option("--collection", metavar="NAME", help="Another collection or alias than the one readers query."),
    ] = None,
    lake: options.LakeOption = None,
    milvus: options.MilvusOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Say where one product is: served since when, or why not, and what each date did with it.

    The first line answers in one sentence: refused and why, kept, held back, deleted because the delivery lacked it,
    left out by `where`, missing although the ledger has it, or never delivered, with ids like it. Below are its dates
    with what changed (title, photo 2, …), runs, vectors, what Milvus holds and its nearest products. Nothing is
    changed. Exit status: 1 where the row in Milvus is not as the ledger says.

    [dim]moon explain 84291[/]
    [dim]moon explain 84291 --html 84291.html   # with photos, boxes and crops[/]
    [dim]moon explain 84291 --json | jq .dates[/]
    """
    from jobs.pages.explain_page import draw_explanation
    from jobs.pages.explanation_text import describe_place
    from jobs.serving.explain import explain_product
    from jobs.settings import Settings

    settings = Settings().replace(lake=lake, milvus=milvus, alias=collection)
    found = explain_product(settings, product_id)
    if html is not None:
        write_file(html, draw_explanation(settings, found))
    if as_json:
        print_json({"sentence": describe_place(found), **found.as_dict(), "page": str(html) if html else None})
    else:
        print_line(describe_place(found))
        make_console().print(_make_tables(found))
        if html is not None:
            print_line(f"page: {html}")
    for problem in found.problems:
        print_error(problem)
    if found.faults:
        raise typer.Exit(1)


def write_file(path: Path, text: str) -> None:
    """Write a text file.

    Raises:
        UsageError: there is no such folder, or the path is one.
    """
    from jobs.errors import UsageError

    if not path.parent.is_dir() or path.is_dir():
        raise UsageError(f"{path} cannot be written: name a file in a folder that exists")
    path.write_text(text, encoding="utf-8")


def _make_tables(found: "Explanation") -> Group:
    """Return dates, vectors, the served row and neighbours as tables."""
    return Group(*(table for table in (_list_dates(found), _list_served(found), _list_neighbours(found)) if table))


def _list_dates(found: "Explanation") -> Table | None:
    from jobs.pages.explanation_text import describe_fate

    vectors = {(row["content_hash"], row["model_version"]) for row in found.history.vectors}
    table = make_table("date", "row", "fate", "changed", "content", "vector", "run", title="dates")
    for one in found.history.dates:
        has_vector = (one.content_hash, one.model_version) in vectors
        photos = [f"photo {row['image_index'] + 1}: {row['reason']}" for row in one.image_refusals]
        table.add_row(
            one.date,
            ", ".join(map(str, one.source_rows)),
            "; ".join([describe_fate(one), *photos]),
            ", ".join(change.part for change in one.changes),
            one.content_hash[:12],
            "yes" if has_vector else "",
            f"{one.run_id} {one.outcome}".strip(),
        )
    return table if found.history.dates else None


def _list_served(found: "Explanation") -> Table | None:
    if not found.collection:
        return None
    held = found.held.fields if found.held else {}
    wanted = found.wanted or {}
    table = make_table("field", "Milvus holds", "the ledger says", title=f"{found.alias} → {found.collection}")
    for name in ("content_hash", "snapshot_date", "epoch", "group_id"):
        table.add_row(name, str(held.get(name, "nothing")), str(wanted.get(name, "nothing")))
    for name in ("title", "category", "brand", "model_version") if held else ():
        table.add_row(name, str(held[name]), "")
    if found.held:
        table.add_row("norm", f"{found.held.norm:.6f}", "")
    return table


def _list_neighbours(found: "Explanation") -> Table | None:
    if not found.held or not found.held.neighbours:
        return None
    table = make_table("score", "product", "title", "category", title="nearest products")
    for hit in found.held.neighbours:
        table.add_row(f"{hit['score']:.3f}", str(hit["product_id"]), str(hit["title"]), str(hit["category"]))
    return table
