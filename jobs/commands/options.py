"""Options that several commands share, worded once."""

from typing import Annotated

import typer

Date = Annotated[
    str | None,
    typer.Option("--date", metavar="YYYY-MM-DD", help="Snapshot date. Default: today in the shop's time zone."),
]
Catalog = Annotated[
    str | None,
    typer.Option(
        "--catalog",
        help="Catalogue file, folder or URI (Parquet, JSON Lines, JSON, CSV); {date} is replaced.",
    ),
]
Mapping = Annotated[
    str | None,
    typer.Option("--mapping", help="Mapping file (TOML). Default: mapping.toml beside the catalogue."),
]
Lake = Annotated[str | None, typer.Option("--lake", help="Folder or object-store URI of the lake.")]
Milvus = Annotated[str | None, typer.Option("--milvus", help="Milvus Lite path, or http://host:port of a server.")]
Model = Annotated[str | None, typer.Option("--model", help="Checkpoint folder. Default: the model behind the alias.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else there.")]
AllowDeletes = Annotated[
    float | None,
    typer.Option(
        "--allow-deletes",
        metavar="SHARE",
        min=0,
        max=1,
        help="Let this run delete up to this share; with --reason.",
    ),
]
AllowRefusals = Annotated[
    float | None,
    typer.Option(
        "--allow-refusals",
        metavar="SHARE",
        min=0,
        max=1,
        help="Let this run refuse up to this share; with --reason.",
    ),
]
AllowShift = Annotated[
    float | None,
    typer.Option(
        "--allow-shift",
        metavar="SHARE",
        min=0,
        max=1,
        help="Let untouched products lose up to this share of their neighbours; with --reason.",
    ),
]
Reason = Annotated[str, typer.Option("--reason", help="Why a breaker is lifted; kept in the run's record.")]
