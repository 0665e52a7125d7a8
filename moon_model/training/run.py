"""``moon train``: from a configuration to a trained model, one call."""

import importlib.util
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

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


def run_training(config: TrainingConfig, *, resume: bool = False, steps: int | None = None) -> Path | None:
    """Run or go on with a training run.

    Args:
        config: of the run. Under ``accelerate launch`` every process calls this with the same one.
        resume: from the newest checkpoint in ``run.out``.
        steps: stop when so many steps are done in all; the schedule stays the configuration's.

    Returns:
        Folder of the finished model (``run.out/model``); None while steps of the schedule are left.

    Raises:
        ConfigError: settings that do not work here, or a run that would overwrite another.
        PairDataError: the pairs are not what their manifest says.
        CheckpointError: nothing to resume, or a checkpoint of other settings.
        TrainingError: the loss is not finite.
    """
    config = _resolved(config)
    checkpoint = find_latest_checkpoint(config.run.out / "checkpoints") if resume else None
    if checkpoint is None and (config.run.out / "checkpoints").exists():
        raise ConfigError(f"{config.run.out} holds a run already: add --resume, or choose another run.out")
    accelerator = Accelerator(mixed_precision=config.run.precision)
    set_seed(config.seed)  # the same on all processes: LoRA starts alike
    learner = TrainableModel.load(config.model)
    learner.model.to(accelerator.device)
    with ExitStack() as stack:
        if config.model.bypass_layers:
            stack.enter_context(bypass_decoder_layers(learner.model))
        cache = stack.enter_context(_feature_cache(config, learner, accelerator.process_index))
        collate: Collate = learner.processor if cache is None else partial(collate_cached, learner.processor, cache)
        objectives = _objectives(config, learner, accelerator, cache, stack)
        trainer = Trainer(learner.model, objectives, collate, config, accelerator)
        torch.manual_seed(config.seed + accelerator.process_index)
        if checkpoint is not None:
            trainer.resume(checkpoint)
            log.info("resumed from %s", checkpoint)
        trainer.run(steps)
    if trainer.steps_done < config.run.steps:
        return None
    folder = config.run.out / MODEL_FOLDER
    if accelerator.is_main_process:
        learner.save(folder)
    accelerator.wait_for_everyone()
    return folder


def open_pairs(data: DataSection, *, rank: int = 0, ranks: int = 1, seed: int = 0) -> PairSource:
    """Open the pairs with the reader that the configuration names.

    Raises:
        PairDataError: files and manifest do not agree.
        ConfigError: petastorm is asked for and not installed, or there are too few pairs.
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


def _resolved(config: TrainingConfig) -> TrainingConfig:
    """Replace "auto" by the reader of this environment: a checkpoint must say which order it followed."""
    if config.data is None or config.data.reader != "auto":
        return config
    found = "petastorm" if importlib.util.find_spec("petastorm") else "arrow"
    return config.model_copy(update={"data": config.data.model_copy(update={"reader": found})})


def _objectives(
    config: TrainingConfig,
    learner: TrainableModel,
    accelerator: Accelerator,
    cache: FeatureCache | None,
    stack: ExitStack,
) -> list[Objective]:
    """The objectives that the configuration asks for; ``stack`` closes their threads."""
    rank, ranks = accelerator.process_index, accelerator.num_processes
    objectives: list[Objective] = []
    pool = stack.enter_context(ThreadPoolExecutor(config.run.workers))
    if config.data is not None:
        data = config.data
        examples = Examples(learner.processor, data.image_roots, pool=pool, keep_photos=config.run.keep_photos)
        source = open_pairs(data, rank=rank, ranks=ranks, seed=config.seed)
        dimension = learner.model.config.hidden_size
        objectives.append(
            ContrastiveObjective(source, examples, config.loss, hard_negatives=data.hard_negatives, dimension=dimension)
        )
    if config.teachers is not None:
        from recipes.moon_tiny.teachers import build_teacher_objectives  # noqa: PLC0415  # few runs have them

        objectives += build_teacher_objectives(
            config.teachers,
            learner,
            cache,
            seed=config.seed * ranks + rank,
            pool=pool,
            keep_photos=config.run.keep_photos,
        )
    return objectives


@contextmanager
def _feature_cache(config: TrainingConfig, learner: TrainableModel, rank: int) -> Iterator[FeatureCache | None]:
    """The cache that the configuration asks for; each process has its own folder."""
    if config.model.cache is None:
        yield None
        return
    try:
        cache = FeatureCache(learner.model, learner.processor, config.model.cache / f"process-{rank}")
    except ValueError as error:
        raise ConfigError(f"model.cache: {error}") from error
    try:
        with bypass_tower(learner.model):
            yield cache
    finally:
        cache.close()
