"""Options that several commands share, worded once."""

from typing import Annotated

import typer

DateOption = Annotated[
    str | None,
    typer.Option("--date", metavar="YYYY-MM-DD", help="Snapshot date. Default: today in the shop's time zone."),
]
CatalogOption = Annotated[
    str | None,
    typer.Option(
        "--catalog",
        help="Catalogue file, folder or URI (Parquet, JSON Lines, JSON, CSV); {date} is replaced.",
    ),
]
MappingOption = Annotated[
    str | None,
    typer.Option("--mapping", help="Mapping file (TOML). Default: mapping.toml beside the catalogue."),
]
LakeOption = Annotated[str | None, typer.Option("--lake", help="Folder or object-store URI of the lake.")]
MilvusOption = Annotated[
    str | None, typer.Option("--milvus", help="Milvus Lite path, or http://host:port of a server.")
]
ModelOption = Annotated[
    str | None, typer.Option("--model", help="Checkpoint folder. Default: the model behind the alias.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else there.")]
AllowDeletesOption = Annotated[
    float | None,
    typer.Option(
        "--allow-deletes",
        metavar="SHARE",
        min=0,
        max=1,
        help="Let this run delete up to this share; with --reason.",
    ),
]
AllowRefusalsOption = Annotated[
    float | None,
    typer.Option(
        "--allow-refusals",
        metavar="SHARE",
        min=0,
        max=1,
        help="Let this run refuse up to this share; with --reason.",
    ),
]
AllowShiftOption = Annotated[
    float | None,
    typer.Option(
        "--allow-shift",
        metavar="SHARE",
        min=0,
        max=1,
        help="Let untouched products lose up to this share of their neighbours; with --reason.",
    ),
]
OverrideReasonOption = Annotated[
    str, typer.Option("--reason", help="Why a breaker is lifted; kept in the run's record.")
]
