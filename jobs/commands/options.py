"""Command-line options that several commands share, and what a shell completes for them.

Completion reads names of folders only: it opens neither a table nor Milvus, and creates nothing.
"""

from typing import Annotated, Any

import typer


def complete_dates(context: typer.Context, incomplete: str) -> list[str]:
    """Return the snapshot dates of the lake that begin so, the latest first."""
    return sorted(_list_partitions(context, "products", "date", incomplete), reverse=True)


def complete_collections(context: typer.Context, incomplete: str) -> list[str]:
    """Return the collections that the lake has a ledger of and whose names begin so."""
    return sorted(_list_partitions(context, "served", "collection", incomplete))


def complete_reasons(incomplete: str) -> list[str]:
    """Return the reason codes that begin so."""
    from validation.reasons import Reason

    return [reason.value for reason in Reason if reason.startswith(incomplete)]


def _list_partitions(context: typer.Context, table: str, column: str, incomplete: str) -> list[str]:
    """Return the values of a partition column by the folders of a local lake; nothing where it cannot be read."""
    from pathlib import Path

    from pydantic import ValidationError

    from jobs.settings import Settings

    try:
        lake = Path((context.params or {}).get("lake") or Settings().lake)
    except ValidationError:
        return []
    values = (folder.name.removeprefix(f"{column}=") for folder in (lake / table).glob(f"{column}=*"))
    return [value for value in values if value.startswith(incomplete)]


def make_share_option(name: str, text: str) -> Any:
    """Return an option that takes a share from 0 to 1 and lifts a breaker."""
    return typer.Option(name, metavar="SHARE", min=0, max=1, help=f"{text}; with --reason.")


DateOption = Annotated[
    str | None,
    typer.Option(
        "--date",
        metavar="YYYY-MM-DD",
        help="Snapshot date. Default: today in the shop's time zone.",
        autocompletion=complete_dates,
    ),
]
CatalogOption = Annotated[
    str | None,
    typer.Option(
        "--catalog", help="Catalogue file, folder or URI (Parquet, JSON Lines, JSON, CSV); {date} is replaced."
    ),
]
MappingOption = Annotated[
    str | None, typer.Option("--mapping", help="Mapping file (TOML). Default: mapping.toml next to the catalogue.")
]
LakeOption = Annotated[str | None, typer.Option("--lake", help="Folder or object-store URI of the lake.")]
MilvusOption = Annotated[
    str | None, typer.Option("--milvus", help="Milvus Lite path, or http://host:port of a server.")
]
CollectionOption = Annotated[
    str | None,
    typer.Option(
        "--collection",
        metavar="NAME",
        help="Another collection or alias than the one readers query.",
        autocompletion=complete_collections,
    ),
]
ModelOption = Annotated[
    str | None, typer.Option("--model", help="Checkpoint folder. Default: the model behind the alias.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else there.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]
ReasonOption = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; kept in the lake's history.")]
OverrideReasonOption = Annotated[
    str, typer.Option("--reason", help="Why a breaker is lifted; kept in the run's record.")
]
AllowDeletesOption = Annotated[
    float | None, make_share_option("--allow-deletes", "Let this run delete up to this share of the served products")
]
AllowRefusalsOption = Annotated[
    float | None, make_share_option("--allow-refusals", "Let this run refuse up to this share of its rows, and photos")
]
AllowShiftOption = Annotated[
    float | None,
    make_share_option("--allow-shift", "Let untouched products lose up to this share of their neighbours"),
]
