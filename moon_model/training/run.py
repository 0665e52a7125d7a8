"""A complete training run: from a configuration to a saved model."""

import importlib.util
import logging
from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Protocol

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed

from moon_model.training.checkpointing import find_latest_checkpoint
from moon_model.training.config import ConfigError, DataSection, TrainingConfig
from moon_model.training.contrast import ContrastiveObjective
from moon_model.training.examples import Examples
from moon_model.training.feature_cache import FeatureCache, bypass_tower, collate_cached
from moon_model.training.objective import Objective
from moon_model.training.pairs import Manifest, PairSource
from moon_model.training.trainable_model import TrainableModel, bypass_decoder_layers
from moon_model.training.trainer import Collate, Trainer

log = logging.getLogger(__name__)

MODEL_FOLDER = "model"


class ObjectiveBuilder(Protocol):
    """A function that builds the objectives of a recipe for the loaded model.

    Args:
        trainable: model and processor of the run.
        cache: features of the frozen tower; None without ``model.cache``.
        seed: seed of this process.
        pool: threads that prepare examples.
        keep_photos: as ``run.keep_photos``.
    """

    def __call__(  # noqa: D102  # described above
        self, trainable: TrainableModel, cache: FeatureCache | None, *, seed: int, pool: Executor, keep_photos: int
    ) -> Sequence[Objective]: ...


def run_training(
    config: TrainingConfig,
    *,
    resume: bool = False,
    steps: int | None = None,
    build_objectives: ObjectiveBuilder | None = None,
) -> Path | None:
    """Train a model on purchases (``config.data``) and on the objectives of a recipe, and save it.

    Args:
        config: settings of the run. Under ``accelerate launch`` every process calls this with the same settings.
        resume: continue from the newest checkpoint in ``run.out``.
        steps: stop when this number of steps is done in total; the schedule does not change.
        build_objectives: builds further objectives, which follow the contrastive one.

    Returns:
        Folder of the trained model (``run.out/model``); None if steps of the schedule are left.

    Raises:
        ConfigError: the settings do not work here, or ``run.out`` contains another run.
        PairDataError: the pairs differ from their manifest.
        CheckpointError: there is no checkpoint, or it was made with other settings.
        TrainingError: the loss is not finite.
    """
    config = _resolve_reader(config)
    checkpoint = find_latest_checkpoint(config.run.out / "checkpoints") if resume else None
    if checkpoint is None and (config.run.out / "checkpoints").exists():
        raise ConfigError(f"{config.run.out} holds a run already: add --resume, or choose another run.out")
    # 1. The model. The same seed on all processes gives new weights (LoRA) the same values.
    accelerator = Accelerator(mixed_precision=config.run.precision)
    rank = accelerator.process_index
    set_seed(config.seed)
    trainable = TrainableModel.load(config.model)
    trainable.model.to(accelerator.device)
    with ExitStack() as stack:
        # 2. Resources of the run: bypassed parts of the model, cached features, threads.
        if config.model.bypass_layers:
            stack.enter_context(bypass_decoder_layers(trainable.model))
        cache = _open_feature_cache(config, trainable, rank, stack)
        pool = stack.enter_context(ThreadPoolExecutor(config.run.workers))
        collate: Collate = trainable.processor if cache is None else partial(collate_cached, trainable.processor, cache)
        # 3. The objectives.
        objectives: list[Objective] = []
        if config.data is not None:
            objectives.append(_build_contrast(config, config.data, trainable, accelerator, pool))
        if build_objectives is not None:
            seed = config.seed * accelerator.num_processes + rank
            objectives += build_objectives(trainable, cache, seed=seed, pool=pool, keep_photos=config.run.keep_photos)
        # 4. The training. Dropout differs between the processes.
        trainer = Trainer(trainable.model, objectives, collate, config, accelerator)
        torch.manual_seed(config.seed + rank)
        if checkpoint is not None:
            trainer.resume(checkpoint)
            log.info("resumed from %s", checkpoint)
        trainer.run(steps)
    return None if trainer.steps_done < config.run.steps else _save(config, trainable, accelerator)


def _save(config: TrainingConfig, trainable: TrainableModel, accelerator: Accelerator) -> Path:
    """Save the trained model in one process, and return its folder when all processes may read it."""
    folder = config.run.out / MODEL_FOLDER
    if accelerator.is_main_process:
        trainable.save(folder)
    accelerator.wait_for_everyone()
    return folder


def open_pairs(data: DataSection, *, rank: int = 0, ranks: int = 1, seed: int = 0) -> PairSource:
    """Return the pairs with the reader that ``data.reader`` names; "auto" is pyarrow here.

    Raises:
        PairDataError: the files differ from the manifest.
        ConfigError: petastorm is configured but not installed.
        ValueError: there are too few pairs for one batch per rank.
    """
    if data.verify and rank == 0:
        Manifest.read(data.pairs).verify(data.pairs)
    try:
        if data.reader == "petastorm":
            from moon_model.training.reader_petastorm import PetastormPairs  # noqa: PLC0415  # .venv-train

            return PetastormPairs(data.pairs, data.batch_size, rank=rank, ranks=ranks, seed=seed)
        from moon_model.training.reader_arrow import ArrowPairs  # noqa: PLC0415  # one reader is enough

        return ArrowPairs(data.pairs, data.batch_size, rank=rank, ranks=ranks, seed=seed)
    except ImportError as error:
        raise ConfigError(f"data.reader {data.reader!r}: {error}; `make setup-train` builds .venv-train") from error


def _resolve_reader(config: TrainingConfig) -> TrainingConfig:
    """Replace the reader "auto" by this environment's reader, because a checkpoint must record which reader it used."""
    if config.data is None or config.data.reader != "auto":
        return config
    reader = "petastorm" if importlib.util.find_spec("petastorm") else "arrow"
    return config.model_copy(update={"data": config.data.model_copy(update={"reader": reader})})


def _build_contrast(
    config: TrainingConfig, data: DataSection, trainable: TrainableModel, accelerator: Accelerator, pool: Executor
) -> ContrastiveObjective:
    examples = Examples(trainable.processor, data.image_roots, pool=pool, keep_photos=config.run.keep_photos)
    source = open_pairs(data, rank=accelerator.process_index, ranks=accelerator.num_processes, seed=config.seed)
    dimension = trainable.model.config.hidden_size
    return ContrastiveObjective(source, examples, config.loss, hard_negatives=data.hard_negatives, dimension=dimension)


def _open_feature_cache(
    config: TrainingConfig, trainable: TrainableModel, rank: int, stack: ExitStack
) -> FeatureCache | None:
    """Return the cache of ``model.cache``, one per process, and bypass the tower until ``stack`` is closed."""
    if config.model.cache is None:
        return None
    try:
        cache = FeatureCache(trainable.model, trainable.processor, config.model.cache / f"process-{rank}")
    except ValueError as error:
        raise ConfigError(f"model.cache: {error}") from error
    stack.callback(cache.close)
    stack.enter_context(bypass_tower(trainable.model))
    return cache
