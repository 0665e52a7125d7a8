"""Trains and measures the ablation's runs, two processes side by side; `benchmarks.ablation` starts them."""

import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from benchmarks.ablation_plan import ABLATION_VARIANTS, AblationPlan, AblationVariant
from benchmarks.ablation_report import HEADLINE_METRIC_BY_TASK, AblationRun
from benchmarks.ablation_start import StartModelBuilder
from moon_model.detection.detector import ProductDetector
from moon_model.encoder import MoonEncoder
from moon_model.evaluation.demo_shop import build_demo_benchmark
from moon_model.evaluation.metrics import Floats
from moon_model.evaluation.tasks import Products, RetrievalTask
from moon_model.modeling_moon import MoonModel
from moon_model.processing_moon import MoonProcessor, PreparedProduct
from moon_model.training.config import TrainingConfig
from moon_model.training.contrast import ContrastiveObjective
from moon_model.training.examples import Examples
from moon_model.training.feature_cache import FeatureCache, bypass_tower, collate_cached
from moon_model.training.pairs import Pair, PairSource, TrainingItem
from moon_model.training.reader_arrow import ArrowPairs
from moon_model.training.trainer import Trainer

KEEP_PHOTOS = 20_000
EVALUATION_BATCH = 64


class FirstBatches:
    """The first batches of a source, again every epoch: so few photos that their features fit into memory."""

    def __init__(self, source: PairSource, batches: int, *, seed: int, crops: bool) -> None:
        self._seed = seed
        self._batches = [batch for batch, _ in zip(source.epoch(0), range(batches), strict=False)]
        self._crops = crops
        self.batches_per_epoch = len(self._batches)

    def epoch(self, number: int, start: int = 0) -> Iterator[list[Pair]]:
        """Yield the batches from ``start`` on: the same ones in every epoch, in another order."""
        order = np.random.default_rng((self._seed, number)).permutation(len(self._batches))
        for place in order[start:]:
            batch = self._batches[place]
            yield batch if self._crops else [_without_crops(pair) for pair in batch]


def _without_crops(pair: Pair) -> Pair:
    def bare(item: TrainingItem) -> TrainingItem:
        return replace(item, regions=())

    return replace(pair, query=bare(pair.query), item=bare(pair.item), negatives=tuple(map(bare, pair.negatives)))


class RetrievalBenchmark:
    """The demo world's retrieval tasks, prepared once for all models.

    Args:
        plan: its world and products.
        encoder: finds regions and prepares for all small models; its own vectors are not used.
    """

    def __init__(self, plan: AblationPlan, encoder: MoonEncoder) -> None:
        tasks = build_demo_benchmark(plan.world, plan.products).tasks
        self._tasks = [
            task for task in tasks if isinstance(task, RetrievalTask) and task.name in HEADLINE_METRIC_BY_TASK
        ]
        self._encoder = encoder
        self._prepared: dict[tuple[int, bool], list[PreparedProduct]] = {}

    def scores(self, model: MoonModel, cache: FeatureCache, *, crops: bool) -> dict[str, float]:
        """Return the share of right answers of each task."""
        kept: dict[int, Floats] = {}

        def embed(products: Products) -> Floats:
            if id(products) not in kept:
                kept[id(products)] = self._embed(model, cache, products, crops)
            return kept[id(products)]

        return {
            task.name: float(np.mean(dict(task.score(embed))[HEADLINE_METRIC_BY_TASK[task.name]]))
            for task in self._tasks
        }

    @torch.inference_mode()
    def _embed(self, model: MoonModel, cache: FeatureCache, products: Products, crops: bool) -> Floats:
        key = (id(products), crops)
        if key not in self._prepared:
            regions = None if crops else [None] * self._encoder.max_images
            self._prepared[key] = [self._encoder.prepare(product, regions) for product in products]
        ready = self._prepared[key]
        parts = [ready[at : at + EVALUATION_BATCH] for at in range(0, len(ready), EVALUATION_BATCH)]
        vectors = [model(**collate_cached(self._encoder.processor, cache, part)).embedding.numpy() for part in parts]
        return np.concatenate(vectors)


def build_training_config(plan: AblationPlan, variant: AblationVariant, seed: int) -> TrainingConfig:
    """Return the settings of one run."""
    loss = {"temperature": 0.05, "learn_temperature": True, "queue_size": 2048, "queue_age": 60, "queue_warm_up": 20}
    return TrainingConfig.model_validate({
        "seed": seed,
        "data": {"pairs": plan.pairs, "image_roots": plan.roots, "batch_size": plan.batch_size,
                 "hard_negatives": variant.hard_negatives},
        "loss": {**loss, **variant.loss},
        "optimiser": {"learning_rate": 1e-3, "warm_up": 0.06},
        "run": {"out": plan.work / "run", "steps": plan.steps, "chunk": 256},
    })  # fmt: skip


def run_ablation_process(
    rank: int, ranks: int, port: int, plan: AblationPlan, wanted: Sequence[tuple[str, int]]
) -> None:
    """Do all runs, one after the other, as one of several processes; the first one measures and notes them.

    Args:
        rank, ranks, port: of this process, of all, where they meet.
        plan: what the runs share.
        wanted: variants and seeds.
    """
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": ranks, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ |= {name: str(value) for name, value in place.items()}
    accelerator = Accelerator(cpu=True)
    start = StartModelBuilder(plan.start)
    first = start.model(ABLATION_VARIANTS["full"], 0)
    processor = MoonProcessor.from_pretrained(plan.start, first.config)
    cache = FeatureCache(first, processor, plan.work / "features" / f"process-{rank}")
    examples = Examples(processor, plan.roots, keep_photos=KEEP_PHOTOS)
    measure = None
    if rank == 0:
        measure = RetrievalBenchmark(plan, MoonEncoder(first, processor, ProductDetector.from_pretrained(), "ablation"))
    for name, seed in wanted:
        variant = ABLATION_VARIANTS[name]
        config, model = build_training_config(plan, variant, seed), start.model(variant, seed)
        pairs = ArrowPairs(plan.pairs, plan.batch_size, rank=rank, ranks=ranks, seed=0)
        source = FirstBatches(pairs, plan.batches, seed=seed, crops=variant.crops)
        contrast = ContrastiveObjective(
            source, examples, config.loss, hard_negatives=variant.hard_negatives, dimension=model.config.hidden_size
        )
        with bypass_tower(model):
            trainer = Trainer(model, [contrast], partial(collate_cached, processor, cache), config, accelerator)
            began = time.monotonic()
            for step in range(plan.steps):
                trainer.train_step(step, {contrast.name: contrast.work(step)})
            seconds = time.monotonic() - began
            if measure is not None:
                model.eval()
                _note(
                    plan, AblationRun(name, seed, measure.scores(model, cache, crops=variant.crops), round(seconds, 1))
                )
        accelerator.wait_for_everyone()
    os._exit(0)  # torch may wait for ever when it frees the group; see tests/moon_model/training/test_negatives.py


def _note(plan: AblationPlan, run: AblationRun) -> None:
    with plan.runs.open("a") as stream:
        stream.write(json.dumps(asdict(run)) + "\n")
    shown: dict[str, Any] = {task: round(score, 3) for task, score in run.scores.items()}
    print(f"{run.variant}, seed {run.seed}: {shown}, {run.seconds:.0f} s", flush=True)
