"""``moon make-pairs``, ``moon train`` and ``moon training-shop``: training pairs, training, and a demo purchase log."""

from pathlib import Path
from typing import Annotated

import typer

from jobs.commands import options
from jobs.commands.output import print_json, print_line
from jobs.commands.session import open_context
from jobs.errors import MoonError

PANEL = "Learning"


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    app.command("make-pairs", rich_help_panel=PANEL)(make_pairs)
    app.command("train", rich_help_panel=PANEL)(train)
    app.command("training-shop", rich_help_panel=PANEL)(training_shop)


def make_pairs(
    purchases: Annotated[
        Path, typer.Option("--purchases", metavar="FILE", help="Purchase log (.jsonl or .parquet), see below.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the pairs; replaced where it exists.")],
    variants: Annotated[
        Path | None, typer.Option("--variants", metavar="FILE", help="product_id and family: sizes of one product.")
    ] = None,
    date: options.DateOption = None,
    catalog: options.CatalogOption = None,
    mapping: options.MappingOption = None,
    lake: options.LakeOption = None,
    hard_negatives: Annotated[int, typer.Option("--hard-negatives", min=0, help="Of each pair, at most.")] = 2,
    rows_per_group: Annotated[int, typer.Option("--rows-per-group", min=1, help="Pairs of a row group.")] = 64,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Decides everything drawn by chance.")] = 0,
    as_json: options.JsonOption = False,
) -> None:
    """Turn a purchase log into training pairs: query, purchased product, hard negatives of its category.

    The log has the columns product_id, time, and query (text) or query_image (path or URI) or both. The products are
    those of a date that `moon prepare` has validated; core regions come from the lake or are detected now.

    [dim]moon make-pairs --purchases shop/purchases.jsonl --date 2026-11-22 --catalog shop/catalog.jsonl --out pairs[/]
    """
    from jobs.commands.nightly import parse_snapshot_date
    from jobs.datasets.make_pairs import PairOptions, write_training_pairs
    from jobs.datasets.purchases import PurchaseLog
    from jobs.settings import Settings

    settings = Settings().replace(catalog=catalog, mapping=mapping, lake=lake)
    chosen = PairOptions(hard_negatives=hard_negatives, rows_per_group=rows_per_group, seed=seed)
    with open_context(settings, "make-pairs", parse_snapshot_date(date, settings)) as context:
        summary = write_training_pairs(context, PurchaseLog(purchases, variants), out, chosen)
    if as_json:
        print_json({"out": str(out), **vars(summary)})
        return
    kinds = ", ".join(f"{count:,} by {kind}" for kind, count in sorted(summary.kinds.items()))
    print_line(f"{summary.pairs:,} pairs in {out}: {kinds}")
    print_line(
        f"of {summary.purchases:,} purchases: {summary.unknown:,} of unknown products, {summary.unusable:,} without "
        f"text or readable image, {summary.thinned:,} left out for the mix of kinds and whole row groups"
    )


def training_shop(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the shop.")],
    products: Annotated[int, typer.Option("--products", min=10, help="Demo products of each training seed.")] = 600,
    purchases_each: Annotated[int, typer.Option("--purchases", min=1, help="With each demo product in mind.")] = 4,
    grocery: Annotated[
        Path | None, typer.Option("--grocery", metavar="DIR", help="GroceryStoreDataset; its train list is used.")
    ] = None,
) -> None:
    """Write the shop that moon-tiny learns from: demo products, grocery's train list, and purchases of both.

    [dim]moon training-shop --out var/train/shop --grocery ../shared/data/grocery[/]
    """
    from jobs.datasets.training_shop import CATALOG_FILE, write_training_shop

    counts = write_training_shop(
        out, products=products, purchases_per_product=purchases_each, grocery=grocery, progress=True
    )
    said = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    print_line(f"{said} in {out}; next: moon prepare and moon make-pairs with {out / CATALOG_FILE}")


def train(
    config: Annotated[Path, typer.Option("--config", metavar="FILE", help="Training run (TOML); see configs/.")],
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue from the run's newest checkpoint, with exactly the same curve.")
    ] = False,
    steps: Annotated[
        int | None,
        typer.Option("--steps", min=1, help="Stop after this many steps in all. Default: the whole schedule."),
    ] = None,
) -> None:
    """Train a model by contrast on purchases, with the settings of a configuration file.

    Checkpoints, metrics.jsonl, TensorBoard events and, at the end, the model lie in the file's run.out. Ctrl-C finishes
    the step in hand and writes a checkpoint. On several GPUs: accelerate launch -m jobs.cli train --config FILE.

    [dim]moon train --config configs/moon-3b.toml[/]
    """
    from moon_model.training.config import ConfigError, TrainingConfig

    try:
        from moon_model.training.checkpointing import CheckpointError
        from moon_model.training.pairs import PairDataError
        from moon_model.training.run import run_training as run
        from moon_model.training.trainer import TrainingError
    except ModuleNotFoundError as error:
        raise MoonError(
            f"training needs the package {error.name}: build .venv-train with `python3 scripts/setup_env.py train` and "
            "use .venv-train/bin/moon"
        ) from error
    try:
        settings = TrainingConfig.read(config)
        folder = run(settings, resume=resume, steps=steps)
    except (ConfigError, CheckpointError, PairDataError, TrainingError) as error:
        raise MoonError(str(error)) from error
    if folder is None:
        print_line(f"not finished yet; continue with: moon train --config {config} --resume")
    else:
        print_line(f"model: {folder}\ncurve: {settings.run.out / 'metrics.jsonl'}")
