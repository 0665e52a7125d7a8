"""``moon explain`` and ``moon duplicates``: commands that look at single products."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group
from rich.progress import Progress
from rich.table import Table

from jobs.commands import options
from jobs.commands.output import make_console, make_table, print_error, print_json, print_line

if TYPE_CHECKING:
    from jobs.pages.product_cards import ShownProduct
    from jobs.serving.duplicates import Duplicate, ServedVectors
    from jobs.serving.explain import Explanation
    from jobs.settings import Settings

PANEL = "Serving"
SHOWN_GROUPS = 20
"""Groups of duplicates, and products of each, in a table."""
SHOWN_LETTERS = 60
"""Letters of a field of the served row in a table; hashes have 64."""

HtmlOption = Annotated[
    Path | None,
    typer.Option("--html", metavar="FILE", help="Also write a page with photos; replaced if there."),
]


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    for command in (explain, duplicates):
        app.command(command.__name__, rich_help_panel=PANEL)(command)


def explain(
    product_id: Annotated[str, typer.Argument(help="The product's id, as the catalogue delivers it.")],
    html: HtmlOption = None,
    collection: options.CollectionOption = None,
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
    from jobs.pages.page import save_page
    from jobs.pages.products.explain_page import draw_explanation
    from jobs.pages.products.explanation_text import describe_place
    from jobs.serving.explain import explain_product
    from jobs.settings import Settings

    settings = Settings().replace(lake=lake, milvus=milvus, alias=collection)
    found = explain_product(settings, product_id)
    if html is not None:
        save_page(html, draw_explanation(settings, found))
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


def duplicates(
    min_score: Annotated[
        float,
        typer.Option("--min-score", min=0.5, max=1, help="Cosine from which on two products are nearly the same."),
    ] = 0.95,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE.parquet", help="Write all groups to a Parquet file.")
    ] = None,
    html: HtmlOption = None,
    collection: options.CollectionOption = None,
    lake: options.LakeOption = None,
    milvus: options.MilvusOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Find served products that are nearly the same, in groups; variants of one product do not count.

    Every pair of products is compared by its vectors in the lake: 100,000 products take minutes, ten times as many a
    hundred times as long. A product belongs to a group if it reaches the score with one other product of it, so a group
    may be a chain: its score is the cosine to the most typical product of the group, which comes first. Nothing is
    changed.

    [dim]moon duplicates[/]
    [dim]moon duplicates --min-score 0.98 --html duplicates.html   # with photos, to look at[/]
    [dim]moon duplicates --out duplicates.parquet   # group, product, score, nearest: for the shop's own tools[/]
    """
    from jobs.errors import UsageError
    from jobs.lake.store import open_lake
    from jobs.pages.page import save_page
    from jobs.pages.products.duplicates_page import draw_duplicates, read_titles, write_duplicates
    from jobs.settings import Settings

    if out is not None and (out.suffix.lower() != ".parquet" or not out.parent.is_dir()):
        raise UsageError(f"{out} cannot be written: name a .parquet file in a folder that exists")
    settings = Settings().replace(lake=lake, milvus=milvus, alias=collection)
    store = open_lake(settings)
    vectors, groups = _find_groups(settings, min_score)
    if out is not None:
        write_duplicates(groups, read_titles(store, groups), out)
    if html is not None:
        compared = len(vectors.products)
        save_page(html, draw_duplicates(store, settings, groups, min_score=min_score, compared=compared))
    counts = {"products": len(vectors.products), "without_vector": vectors.missing, "groups": len(groups)}
    files = {"file": out and str(out), "page": html and str(html)}
    if as_json:
        ids = [[one.product.product_id for one in group] for group in groups]
        print_json({"min_score": min_score, **counts, **files, "duplicates": ids})
        return
    _print_duplicates(groups, read_titles(store, groups[:SHOWN_GROUPS]), counts)
    for name, path in files.items():
        if path:
            print_line(f"{name}: {path}")


def _find_groups(settings: "Settings", min_score: float) -> "tuple[ServedVectors, list[list[Duplicate]]]":
    """Return the served products with their vectors, and their groups of duplicates."""
    from jobs.lake.store import open_lake
    from jobs.milvus.client import connect_reader
    from jobs.serving.duplicates import find_duplicates, read_served_vectors
    from jobs.serving.search import read_served_collection

    with connect_reader(settings) as client:
        served = read_served_collection(client, settings.alias)
    vectors = read_served_vectors(open_lake(settings), served.collection, served.model_version)
    with Progress(console=make_console(stderr=True), transient=True) as progress:
        task = progress.add_task("duplicates")

        def advance(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        return vectors, find_duplicates(vectors, min_score, advance)


def _print_duplicates(
    groups: "list[list[Duplicate]]", products: "dict[str, ShownProduct]", counts: dict[str, int]
) -> None:
    """Print the largest groups as a table, and how many there are."""
    table = make_table("group", "score", "product", "title", "nearest")
    for number, group in enumerate(groups[:SHOWN_GROUPS], 1):
        for one in group[:SHOWN_GROUPS]:
            name = one.product.product_id
            title = products[name].title if name in products else ""
            table.add_row(str(number), f"{one.score:.3f}", name, title, f"{one.nearest_id} ({one.nearest_score:.3f})")
    if groups:
        make_console().print(table)
    members = sum(len(group) for group in groups)
    shown = f"; the {SHOWN_GROUPS} largest groups are shown, --out FILE.parquet writes all"
    print_line(
        f"{members:,} of {counts['products']:,} served products in {len(groups):,} groups"
        f"{shown if len(groups) > SHOWN_GROUPS else ''}"
    )
    if counts["without_vector"]:
        print_error(
            f"{counts['without_vector']:,} served products have no vector in the lake and were not compared: "
            "`moon audit --full` names some"
        )


def _make_tables(found: "Explanation") -> Group:
    """Return dates, vectors, the served row and neighbours as tables."""
    return Group(*(table for table in (_list_dates(found), _list_served(found), _list_neighbours(found)) if table))


def _list_dates(found: "Explanation") -> Table | None:
    from jobs.pages.products.explanation_text import describe_fate

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
        table.add_row(name, *(str(side.get(name, "nothing"))[:SHOWN_LETTERS] for side in (held, wanted)))
    for name in ("title", "category", "brand", "model_version") if held else ():
        table.add_row(name, str(held[name])[:SHOWN_LETTERS], "")
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
