"""From raw data to ``checkpoints/moon-tiny`` in one command: ``python -m recipes.moon_tiny.pipeline``.

1. corpora of the teachers (``corpora.py``), 2. the untrained start (``recipes.weight_import``), 3. the stages of
``configs/moon-tiny*.toml`` in turn, those with purchases on the pairs of ``moon make-pairs``, 4. stored as int8 with
its card. What is done is skipped and a broken-off training goes on from its checkpoint, so the command is repeated
until it ends.
"""

import logging
import os
import platform
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import torch
import typer

from moon_model import checkpoint_dir
from moon_model.checkpoint import save_state
from moon_model.evaluation.minilm import MINILM_DOWNLOAD_COMMAND
from moon_model.modeling_moon import MoonModel
from moon_model.processing_moon import MoonProcessor
from moon_model.runtime import resolve_device
from moon_model.training.config import ConfigError, TrainingConfig
from moon_model.training.metric_log import METRICS_FILE, read_curve
from moon_model.training.pairs import MANIFEST_FILE, Manifest
from moon_model.training.run import MODEL_FOLDER, run_training
from recipes.moon_tiny import corpora
from recipes.moon_tiny.teachers import CORPORA_ABOUT_FILE
from recipes.weight_import.__main__ import main as import_compact

log = logging.getLogger(__name__)

CONFIG_FOLDER = Path(__file__).resolve().parents[2] / "configs"
STAGE_CONFIGS = {
    "cpu": ("moon-tiny-1-teachers.toml", "moon-tiny-2-contrast.toml", "moon-tiny.toml"),
    "cuda": ("moon-tiny-gpu-1-teachers.toml", "moon-tiny-gpu-2-contrast.toml"),
}

CURVE_ROWS = 6
"""Of each stage in the card."""


def build_start_model(first: TrainingConfig, wheels: Path, minilm: Path, corpora: Path) -> None:
    """Build the untrained model that the first stage starts from, unless it is there and whole.

    Raises:
        ConfigError: the stage has no ``model.cache``.
    """
    from moon_model.model_card import CARD_FILE  # noqa: PLC0415  # jinja2 is in .venv alone

    start = Path(first.model.path)
    if (start / CARD_FILE).is_file():  # the card is written last
        return
    if first.model.cache is None:
        raise ConfigError("the first stage needs model.cache, where the start leaves what the tower saw")
    import_compact(wheels=wheels, minilm=minilm, corpora=corpora, cache=first.model.cache, out=start)


def run_training_stage(config: TrainingConfig) -> Path:
    """Train a stage to its end: start, go on, or skip if its model is there.

    Raises:
        ConfigError: the run was stopped before its end.
    """
    folder = config.run.out / MODEL_FOLDER
    if (folder / "config.json").is_file():
        log.info("%s is there already", folder)
        return folder
    begun = any((config.run.out / "checkpoints").glob("step-*/about.json"))
    finished = run_training(config, resume=begun)
    if finished is None:
        raise ConfigError("stopped; the same command goes on from the checkpoint")
    return finished


def check_training_stages(stages: Sequence[TrainingConfig]) -> None:
    """See that each stage follows the one before and that all pairs lie there, before hours are spent.

    Raises:
        ConfigError: they do not fit together.
        PairDataError: the manifest of the pairs is damaged.
    """
    if not stages or any(stage.teachers is None for stage in stages):
        raise ConfigError("every stage needs [teachers]")
    if len({stage.teachers.corpora for stage in stages if stage.teachers}) > 1:
        raise ConfigError("all stages need the same teachers.corpora")
    for before, stage in pairwise(stages):
        if Path(stage.model.path) != before.run.out / MODEL_FOLDER:
            raise ConfigError(
                f"a stage starts from {stage.model.path}, the one before writes {before.run.out / MODEL_FOLDER}"
            )
    for data in (stage.data for stage in stages if stage.data is not None):
        if not (data.pairs / MANIFEST_FILE).is_file():
            raise ConfigError(f"no training pairs in {data.pairs}; `moon make-pairs --help` tells how to write them")
        Manifest.read(data.pairs)


def store_model(model_folder: Path, out: Path, made: str, results: str = "") -> Path:
    """Store a trained model compactly, with its card, where ``MoonEncoder`` loads it from.

    Args:
        model_folder: as training wrote it.
        out: such as ``checkpoints/moon-tiny``.
        made: how the weights came about, for the card.
        results: Markdown with measurements, for the card.
    """
    from moon_model.model_card import write_model_card  # noqa: PLC0415  # jinja2 is in .venv alone

    model = MoonModel.from_pretrained(model_folder)
    save_state(model.state_dict(), model.config, out)
    MoonProcessor.from_pretrained(model_folder, model.config).save_pretrained(out)
    write_model_card(out, made, results)
    return out


def describe_stages(stages: Sequence[TrainingConfig]) -> str:
    """Tell for the card how the stages went: steps, time, losses, hardware."""
    said: list[str] = []
    for config in stages:
        curve = read_curve(config.run.out / METRICS_FILE)
        minutes = sum(line["seconds"] for line in curve) / 60
        tail = curve[-50:]
        losses = ", ".join(
            f"{key.removesuffix('/loss').replace('_', ' ')} {sum(line[key] for line in tail) / len(tail):.3f}"
            for key in curve[-1]
            if key.endswith("/loss")
        )
        what = "teachers" if config.data is None else "contrast on purchases, with teachers"
        parts = "token embeddings and projector alone" if config.model.bypass_layers else "all layers"
        said.append(
            f"Stage {len(said) + 1}, {what}, {parts}: {len(curve)} steps, {minutes:.0f} min; "
            f"losses at the end: {losses}."
        )
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{os.cpu_count()} CPU cores"
    return " ".join([*said, f"Trained on {device} ({platform.machine()}), torch {torch.__version__}."])


def render_curve_table(stages: Sequence[TrainingConfig]) -> str:
    """The losses of all stages on their way, as a Markdown table; each is the mean of the steps since the row above."""
    curves = [read_curve(config.run.out / METRICS_FILE) for config in stages]
    names = list(dict.fromkeys(key for curve in curves for key in curve[-1] if key.endswith("/loss")))
    titles = (name.removesuffix("/loss").replace("_", " ") for name in names)
    lines = [f"| stage | steps | {' | '.join(titles)} |", "|--:|--:|" + "--:|" * len(names)]
    for number, curve in enumerate(curves, start=1):
        ends = sorted({-(-len(curve) * part // CURVE_ROWS) for part in range(CURVE_ROWS + 1)})
        for start, end in pairwise(ends):
            means = (_mean(curve[start:end], name) for name in names)
            lines.append(f"| {number} | {start + 1}–{end} | {' | '.join(means)} |")
    return "\n".join(lines)


def _mean(lines: Sequence[Mapping[str, float]], name: str) -> str:
    values = [line[name] for line in lines if name in line]
    return f"{sum(values) / len(values):.3f}" if values else ""


def main(
    wheels: Annotated[Path, typer.Option(help="Folder with the wheels of recipes.weight_import (see its --help).")],
    minilm: Annotated[Path, typer.Option(help=f"Folder of all-MiniLM-L6-v2: {MINILM_DOWNLOAD_COMMAND}")],
    demo: Annotated[Path | None, typer.Option(help="Folder of the demo photos: images/ of the training shop.")] = None,
    grocery: Annotated[Path | None, typer.Option(help="GroceryStoreDataset; its train list is used.")] = None,
    clothing: Annotated[Path | None, typer.Option(help="clothing-dataset.")] = None,
    products: Annotated[int, typer.Option(min=10, help="Demo products, two photos each.")] = corpora.DEMO_PRODUCTS,
    stage: Annotated[
        list[Path] | None, typer.Option(help="Repeatable: the stages in turn; default: those for this machine.")
    ] = None,
    results: Annotated[Path | None, typer.Option(help="Markdown for the card, as `moon evaluate` writes it.")] = None,
    out: Annotated[Path, typer.Option(help="Checkpoint to write.")] = checkpoint_dir("moon-tiny"),  # noqa: B008
) -> None:
    """Train moon-tiny: teachers first, purchases second, then store it with its card."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    default = [CONFIG_FOLDER / name for name in STAGE_CONFIGS[resolve_device().type]]
    stages = [TrainingConfig.read(path) for path in stage or default]
    try:
        check_training_stages(stages)
        first = stages[0]
        assert first.teachers is not None  # noqa: S101  # checked above
        folder = first.teachers.corpora
        if not (folder / CORPORA_ABOUT_FILE).is_file():
            corpora.main(folder, wheels, minilm, demo, grocery, clothing, products=products)
        build_start_model(first, wheels, minilm, folder)
        for one in stages:
            model = run_training_stage(one)
        measured = results.read_text(encoding="utf-8") if results is not None else ""
        made = f"{describe_stages(stages)}\n\n{render_curve_table(stages)}"
        log.info("stored in %s", store_model(model, out, made, measured))
    except (ValueError, FileNotFoundError) as error:
        raise typer.BadParameter(str(error)) from error


if __name__ == "__main__":
    typer.run(main)
