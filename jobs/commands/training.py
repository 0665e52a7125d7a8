"""``moon train``: train a model by a configuration file."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from jobs.errors import MoonError

PANEL = "Learning"


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    app.command("train", rich_help_panel=PANEL)(train)


def train(
    config: Annotated[Path, typer.Option("--config", metavar="FILE", help="Training run (TOML); see configs/.")],
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the newest checkpoint of the run; the curve continues exactly.")
    ] = False,
    steps: Annotated[
        int | None,
        typer.Option("--steps", min=1, help="Stop when so many steps are done in all. Default: the whole schedule."),
    ] = None,
) -> None:
    """Train a model by contrast on purchases, by teachers, or both, as a configuration file says.

    Checkpoints, metrics.jsonl, TensorBoard events and, at the end, the model lie in the file's run.out. Ctrl-C finishes
    the step in hand and writes a checkpoint. On several GPUs: accelerate launch -m jobs.cli train --config FILE.

    [dim]moon train --config configs/moon-tiny.toml[/]
    """
    from moon_model.training.config import ConfigError, TrainingConfig

    try:
        from moon_model.training.checkpointing import CheckpointError
        from moon_model.training.pairs import PairDataError
        from moon_model.training.run import train as run
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
    console = Console(highlight=False)
    if folder is None:
        console.print(f"not finished yet; go on with: moon train --config {config} --resume")
    else:
        console.print(f"model: {folder}\ncurve: {settings.run.out / 'metrics.jsonl'}")
