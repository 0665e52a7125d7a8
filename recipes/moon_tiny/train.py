"""Runs one training stage of moon-tiny, from its configuration to a saved model.

    python -m recipes.moon_tiny.train --config configs/moon-tiny-1-teachers.toml

``recipes.moon_tiny.pipeline`` runs all stages. On several GPUs: accelerate launch -m recipes.moon_tiny.train --config …
"""

import logging
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from moon_model.training.checkpointing import CheckpointError
from moon_model.training.config import ConfigError
from moon_model.training.pairs import PairDataError
from moon_model.training.run import run_training
from moon_model.training.trainer import TrainingError
from recipes.moon_tiny.config import DistillationConfig
from recipes.moon_tiny.teachers import build_teacher_objectives

log = logging.getLogger(__name__)


def run_distillation(config: DistillationConfig, *, resume: bool = False, steps: int | None = None) -> Path | None:
    """Train a model on the teachers' objectives, and on purchases if the configuration has pairs.

    Args, Returns and Raises: see ``moon_model.training.run.run_training``.
    """
    build = partial(build_teacher_objectives, config.teachers)
    return run_training(config, resume=resume, steps=steps, build_objectives=build)


def main(
    config: Annotated[Path, typer.Option(help="Settings of the stage (TOML) with a [teachers] table; see configs/.")],
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the newest checkpoint of the run.")] = False,
    steps: Annotated[int | None, typer.Option(min=1, help="Stop when this number of steps is done in total.")] = None,
) -> None:
    """Train one stage of moon-tiny: distillation from teachers, and contrast on purchases if there are pairs.

    The folder run.out gets checkpoints, metrics.jsonl, TensorBoard events and at the end the model. Ctrl-C finishes the
    current step and writes a checkpoint.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        folder = run_distillation(DistillationConfig.read(config), resume=resume, steps=steps)
    except (ConfigError, CheckpointError, PairDataError, TrainingError) as error:
        raise typer.BadParameter(str(error)) from error
    if folder is None:
        log.info("not finished; continue with: python -m recipes.moon_tiny.train --config %s --resume", config)
    else:
        log.info("the model is in %s", folder)


if __name__ == "__main__":
    typer.run(main)
