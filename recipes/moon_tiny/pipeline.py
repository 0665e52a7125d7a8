"""All steps from raw data to ``checkpoints/moon-tiny``: ``python -m recipes.moon_tiny.pipeline``.

1. The corpora for distillation (``corpora.py``).
2. The untrained start model (``recipes.weight_import``).
3. The stages of ``configs/moon-tiny*.toml`` in order; stages with purchases read the pairs of ``moon make-pairs``.
4. The int8 checkpoint with its model card.

Finished steps are skipped and an interrupted stage continues from its checkpoint: repeat the command until it ends.
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
from moon_model.training.config import ConfigError
from moon_model.training.metric_log import METRICS_FILE, read_curve
from moon_model.training.pairs import MANIFEST_FILE, Manifest
from moon_model.training.run import MODEL_FOLDER
from recipes.moon_tiny import corpora
from recipes.moon_tiny.config import DistillationConfig
from recipes.moon_tiny.teachers import CORPORA_ABOUT_FILE
from recipes.moon_tiny.train import run_distillation
from recipes.weight_import.__main__ import main as import_compact

log = logging.getLogger(__name__)

CONFIG_FOLDER = Path(__file__).resolve().parents[2] / "configs"
STAGE_CONFIGS = {
    "cpu": ("moon-tiny-1-teachers.toml", "moon-tiny-2-contrast.toml", "moon-tiny.toml"),
    "cuda": ("moon-tiny-gpu-1-teachers.toml", "moon-tiny-gpu-2-contrast.toml"),
}

CURVE_ROWS = 6
"""Rows of each stage in the model card's table of losses."""
LAST_STEPS = 50
"""Number of steps at a stage's end over which the card averages the losses."""


def build_start_model(first: DistillationConfig, wheels: Path, minilm: Path, corpora: Path) -> None:
    """Build the untrained model from which the first stage starts, unless it exists and is complete.

    Raises:
        ConfigError: the stage has no ``model.cache``.
    """
    from moon_model.model_card import CARD_FILE  # noqa: PLC0415  # jinja2 is in .venv alone

    start = Path(first.model.path)
    if (start / CARD_FILE).is_file():  # the card is the last file that is written
        return
    if first.model.cache is None:
        raise ConfigError("the first stage needs model.cache: the start model's features are written there")
    import_compact(wheels=wheels, minilm=minilm, corpora=corpora, cache=first.model.cache, out=start)


def run_training_stage(config: DistillationConfig) -> Path:
    """Train a stage to its end, or continue it, or skip it if its model exists.

    Raises:
        ConfigError: the run was stopped before its end.
    """
    folder = config.run.out / MODEL_FOLDER
    if (folder / "config.json").is_file():
        log.info("%s exists: the stage is skipped", folder)
        return folder
    has_checkpoint = any((config.run.out / "checkpoints").glob("step-*/about.json"))
    finished = run_distillation(config, resume=has_checkpoint)
    if finished is None:
        raise ConfigError("training was stopped; the same command continues from the checkpoint")
    return finished


def check_training_stages(stages: Sequence[DistillationConfig]) -> None:
    """Check, before hours of training, that each stage starts from the stage before it and that all pairs exist.

    Raises:
        ConfigError: the stages do not fit together.
        PairDataError: the manifest of the pairs is damaged.
    """
    if len({stage.teachers.corpora for stage in stages}) > 1:
        raise ConfigError("all stages need the same teachers.corpora")
    for before, stage in pairwise(stages):
        if Path(stage.model.path) != before.run.out / MODEL_FOLDER:
            written = before.run.out / MODEL_FOLDER
            raise ConfigError(f"a stage starts from {stage.model.path}, the one before writes {written}")
    for data in (stage.data for stage in stages if stage.data is not None):
        if not (data.pairs / MANIFEST_FILE).is_file():
            raise ConfigError(f"no training pairs in {data.pairs}; `moon make-pairs --help` says how to write them")
        Manifest.read(data.pairs)


def store_model(model_folder: Path, out: Path, made: str, results: str = "") -> Path:
    """Write a trained model with int8 weights and its card, for ``MoonEncoder`` to load; returns the folder.

    Args:
        model_folder: folder of the trained model.
        out: folder to write, such as ``checkpoints/moon-tiny``.
        made: the card's text about the training.
        results: the card's measurements, Markdown.
    """
    from moon_model.model_card import write_model_card  # noqa: PLC0415  # jinja2 is in .venv alone

    model = MoonModel.from_pretrained(model_folder)
    save_state(model.state_dict(), model.config, out)
    MoonProcessor.from_pretrained(model_folder, model.config).save_pretrained(out)
    write_model_card(out, made, results)
    return out


def describe_stages(stages: Sequence[DistillationConfig]) -> str:
    """Return the card's text about the training: steps, time and final losses of each stage, and the hardware."""
    parts: list[str] = []
    for number, config in enumerate(stages, start=1):
        curve = read_curve(config.run.out / METRICS_FILE)
        minutes = sum(line["seconds"] for line in curve) / 60
        last = curve[-LAST_STEPS:]
        losses = ", ".join(f"{_make_title(name)} {_format_mean(last, name)}" for name in _list_losses(curve))
        objectives = "teachers" if config.data is None else "contrast on purchases, with teachers"
        trained = "token embeddings and projector alone" if config.model.bypass_layers else "all layers"
        parts.append(
            f"Stage {number}, {objectives}, {trained}: {len(curve)} steps, {minutes:.0f} min; "
            f"losses at the end: {losses}."
        )
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{os.cpu_count()} CPU cores"
    return " ".join([*parts, f"Trained on {device} ({platform.machine()}), torch {torch.__version__}."])


def render_curve_table(stages: Sequence[DistillationConfig]) -> str:
    """Return the losses of all stages as a Markdown table; each value is a mean over the steps of its row."""
    curves = [read_curve(config.run.out / METRICS_FILE) for config in stages]
    names = list(dict.fromkeys(name for curve in curves for name in _list_losses(curve)))
    lines = [f"| stage | steps | {' | '.join(map(_make_title, names))} |", "|--:|--:|" + "--:|" * len(names)]
    for number, curve in enumerate(curves, start=1):
        ends = sorted({-(-len(curve) * part // CURVE_ROWS) for part in range(CURVE_ROWS + 1)})
        for start, end in pairwise(ends):
            means = (_format_mean(curve[start:end], name) for name in names)
            lines.append(f"| {number} | {start + 1}–{end} | {' | '.join(means)} |")
    return "\n".join(lines)


def _list_losses(curve: Sequence[Mapping[str, float]]) -> list[str]:
    """Return the names of the objectives' losses in the last line of a curve."""
    return [name for name in curve[-1] if name.endswith("/loss")]


def _make_title(name: str) -> str:
    return name.removesuffix("/loss").replace("_", " ")


def _format_mean(lines: Sequence[Mapping[str, float]], name: str) -> str:
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
        list[Path] | None, typer.Option(help="Repeatable: the stages in order; default: those for this machine.")
    ] = None,
    results: Annotated[Path | None, typer.Option(help="Markdown for the card, as `moon evaluate` writes it.")] = None,
    out: Annotated[Path, typer.Option(help="Checkpoint to write.")] = checkpoint_dir("moon-tiny"),  # noqa: B008
) -> None:
    """Train moon-tiny: distillation from teachers first, purchases second; then store it with its card."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    default = [CONFIG_FOLDER / name for name in STAGE_CONFIGS[resolve_device().type]]
    try:
        stages = [DistillationConfig.read(path) for path in stage or default]
        check_training_stages(stages)
        folder = stages[0].teachers.corpora
        if not (folder / CORPORA_ABOUT_FILE).is_file():
            corpora.main(folder, wheels, minilm, demo, grocery, clothing, products=products)
        build_start_model(stages[0], wheels, minilm, folder)
        for one in stages:
            model = run_training_stage(one)
        measured = results.read_text(encoding="utf-8") if results is not None else ""
        made = f"{describe_stages(stages)}\n\n{render_curve_table(stages)}"
        log.info("stored in %s", store_model(model, out, made, measured))
    except (ValueError, FileNotFoundError) as error:
        raise typer.BadParameter(str(error)) from error


if __name__ == "__main__":
    typer.run(main)
