"""Command-line options that several commands share."""

from typing import Annotated, Any

import typer


def make_share_option(name: str, text: str) -> Any:
    """Return an option that takes a share from 0 to 1 and lifts a breaker."""
    return typer.Option(name, metavar="SHARE", min=0, max=1, help=f"{text}; with --reason.")


DateOption = Annotated[
    str | None,
    typer.Option("--date", metavar="YYYY-MM-DD", help="Snapshot date. Default: today in the shop's time zone."),
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
