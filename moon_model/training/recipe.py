"""From raw data to ``checkpoints/moon-tiny`` in one command: ``python -m moon_model.training.recipe``.

1. the untrained start (``moon_model.import_compact``), 2. corpora of the teachers (``corpora.py``), 3. first stage
(``configs/moon-tiny-teachers.toml``), 4. second stage (``configs/moon-tiny.toml``) on the pairs of ``moon make-pairs``,
5. stored as int8 with its card. What is done is skipped and a broken-off training goes on from its checkpoint, so the
command is repeated until it ends.
"""

import logging
import os
import platform
from pathlib import Path
from typing import Annotated

import torch
import typer

from moon_model import checkpoint_dir
from moon_model.checkpoint import save_state
from moon_model.import_compact.__main__ import main as import_compact
from moon_model.modeling_moon import MoonModel
from moon_model.processing_moon import MoonProcessor
from moon_model.training import corpora
from moon_model.training.config import ConfigError, TrainingConfig
from moon_model.training.metric_log import METRICS, read_curve
from moon_model.training.pairs import MANIFEST, Manifest
from moon_model.training.run import MODEL, train
from moon_model.training.teachers import ABOUT

log = logging.getLogger(__name__)

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def run_stage(config: TrainingConfig) -> Path:
    """Train a stage to its end: start, go on, or skip if its model is there.

    Raises:
        ConfigError: the run was stopped before its end.
    """
    folder = config.run.out / MODEL
    if (folder / "config.json").is_file():
        log.info("%s is there already", folder)
        return folder
    begun = any((config.run.out / "checkpoints").glob("step-*/about.json"))
    finished = train(config, resume=begun)
    if finished is None:
        raise ConfigError("stopped; the same command goes on from the checkpoint")
    return finished


def check_stages(first: TrainingConfig, second: TrainingConfig) -> None:
    """See that the second stage follows the first and its pairs lie there, before hours are spent.

    Raises:
        ConfigError: they do not fit together.
        PairDataError: the manifest of the pairs is damaged.
    """
    if first.teachers is None or second.teachers is None or second.data is None:
        raise ConfigError("the first stage needs [teachers], the second [data] and [teachers]")
    if first.teachers.corpora != second.teachers.corpora:
        raise ConfigError("both stages need the same teachers.corpora")
    if Path(second.model.path) != first.run.out / MODEL:
        raise ConfigError(f"the second stage starts from {second.model.path}, the first writes {first.run.out / MODEL}")
    if not (second.data.pairs / MANIFEST).is_file():
        raise ConfigError(f"no training pairs in {second.data.pairs}; `moon make-pairs --help` tells how to write them")
    Manifest.read(second.data.pairs)


def store(model_folder: Path, out: Path, made: str) -> Path:
    """Store a trained model compactly, with its card, where ``MoonEncoder`` loads it from.

    Args:
        model_folder: as training wrote it.
        out: such as ``checkpoints/moon-tiny``.
        made: how the weights came about, for the card.
    """
    from moon_model.model_card import write_model_card  # noqa: PLC0415  # jinja2 is in .venv alone

    model = MoonModel.from_pretrained(model_folder)
    save_state(model.state_dict(), model.config, out)
    MoonProcessor.from_pretrained(model_folder, model.config).save_pretrained(out)
    write_model_card(out, made)
    return out


def describe(first: TrainingConfig, second: TrainingConfig) -> str:
    """Tell for the card how the two stages went: steps, time, losses, hardware."""
    said: list[str] = []
    for name, config in (("teachers", first), ("contrast on purchases", second)):
        curve = read_curve(config.run.out / METRICS)
        hours = sum(line["seconds"] for line in curve) / 3600
        tail = curve[-50:]
        losses = ", ".join(
            f"{key.removesuffix('/loss').replace('_', ' ')} {sum(line[key] for line in tail) / len(tail):.3f}"
            for key in curve[-1]
            if key.endswith("/loss")
        )
        said.append(f"Stage {len(said) + 1}, {name}: {len(curve)} steps, {hours:.1f} h; losses at the end: {losses}.")
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{os.cpu_count()} CPU cores"
    return " ".join([*said, f"Trained on {device} ({platform.machine()}), torch {torch.__version__}."])


def main(
    wheels: Annotated[Path, typer.Option(help="Folder with the wheels of moon_model.import_compact (see its --help).")],
    minilm: Annotated[Path, typer.Option(help=f"Folder of all-MiniLM-L6-v2: {corpora.DOWNLOAD}")],
    grocery: Annotated[Path | None, typer.Option(help="GroceryStoreDataset; its train list is used.")] = None,
    clothing: Annotated[Path | None, typer.Option(help="clothing-dataset.")] = None,
    first: Annotated[Path, typer.Option(help="First stage.")] = CONFIGS / "moon-tiny-teachers.toml",
    second: Annotated[Path, typer.Option(help="Second stage.")] = CONFIGS / "moon-tiny.toml",
    out: Annotated[Path, typer.Option(help="Checkpoint to write.")] = checkpoint_dir("moon-tiny"),  # noqa: B008
) -> None:
    """Train moon-tiny: teachers first, purchases second, then store it with its card."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    stages = TrainingConfig.read(first), TrainingConfig.read(second)
    try:
        check_stages(*stages)
        assert stages[0].teachers is not None  # noqa: S101  # checked above
        start, folder = Path(stages[0].model.path), stages[0].teachers.corpora
        if not (start / "config.json").is_file():
            import_compact(wheels=wheels, out=start, grocery=grocery)
        if not (folder / ABOUT).is_file():
            corpora.main(out=folder, minilm=minilm, grocery=grocery, clothing=clothing)
        for stage in stages:
            model = run_stage(stage)
        log.info("stored in %s", store(model, out, describe(*stages)))
    except (ValueError, FileNotFoundError) as error:
        raise typer.BadParameter(str(error)) from error


if __name__ == "__main__":
    typer.run(main)
