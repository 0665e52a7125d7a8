"""The runs of the ablation, trained and evaluated in two processes that `benchmarks.ablation` starts."""

import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from itertools import islice
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
from moon_model.training.pairs import Pair, PairSource
from moon_model.training.reader_arrow import ArrowPairs
from moon_model.training.trainer import Trainer

KEEP_PHOTOS = 20_000
EVALUATION_BATCH = 64


class FirstBatches:
    """The first batches of a source, repeated in every epoch, so that the features of their photos fit into memory."""

    def __init__(self, source: PairSource, batches: int, *, seed: int, crops: bool) -> None:
        self._seed = seed
        self._crops = crops
        self._batches = list(islice(source.iter_epoch(0), batches))
        self.batches_per_epoch = len(self._batches)

    def iter_epoch(self, epoch: int, start: int = 0) -> Iterator[list[Pair]]:
        """Yield the batches without the first ``start``: the same ones in every epoch, in another order."""
        order = np.random.default_rng((self._seed, epoch)).permutation(len(self._batches))
        for index in order[start:]:
            batch = self._batches[index]
            yield batch if self._crops else [_remove_crops(pair) for pair in batch]


def _remove_crops(pair: Pair) -> Pair:
    query, item, *negatives = (replace(one, regions=()) for one in (pair.query, pair.item, *pair.negatives))
    return replace(pair, query=query, item=item, negatives=tuple(negatives))


class RetrievalBenchmark:
    """The retrieval tasks of a demo shop; products are prepared once for all models.

    Args:
        plan: seed and number of products of the demo shop.
        encoder: finds regions and prepares products for all models; its vectors are not used.
    """

    def __init__(self, plan: AblationPlan, encoder: MoonEncoder) -> None:
        tasks = build_demo_benchmark(plan.world, plan.products).tasks
        retrieval = (task for task in tasks if isinstance(task, RetrievalTask))
        self._tasks = [task for task in retrieval if task.name in HEADLINE_METRIC_BY_TASK]
        self._encoder = encoder
        self._prepared: dict[tuple[int, bool], list[PreparedProduct]] = {}

    def score_model(self, model: MoonModel, cache: FeatureCache, *, crops: bool) -> dict[str, float]:
        """Return a model's share of correct answers by task."""
        vectors: dict[int, Floats] = {}

        def embed(products: Products) -> Floats:
            if id(products) not in vectors:
                vectors[id(products)] = self._embed(model, cache, products, crops)
            return vectors[id(products)]

        scores = {task.name: dict(task.score(embed)) for task in self._tasks}
        return {name: float(np.mean(found[HEADLINE_METRIC_BY_TASK[name]])) for name, found in scores.items()}

    @torch.inference_mode()
    def _embed(self, model: MoonModel, cache: FeatureCache, products: Products, crops: bool) -> Floats:
        key = (id(products), crops)
        if key not in self._prepared:
            regions = None if crops else [None] * self._encoder.max_images
            self._prepared[key] = [self._encoder.prepare(product, regions) for product in products]
        prepared = self._prepared[key]
        parts = [prepared[start : start + EVALUATION_BATCH] for start in range(0, len(prepared), EVALUATION_BATCH)]
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
    """Train all runs in one of several processes; rank 0 evaluates and records them.

    Args:
        rank: rank of this process.
        ranks: number of processes.
        port: port of the process group on this machine.
        plan: settings of all runs.
        wanted: variant and seed of each run.
    """
    group = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": ranks, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ |= {name: str(value) for name, value in group.items()}
    accelerator = Accelerator(cpu=True)
    builder = StartModelBuilder(plan.start)
    first = builder.build(ABLATION_VARIANTS["full"], 0)
    processor = MoonProcessor.from_pretrained(plan.start, first.config)
    cache = FeatureCache(first, processor, plan.work / "features" / f"process-{rank}")
    examples = Examples(processor, plan.roots, keep_photos=KEEP_PHOTOS)
    benchmark = None
    if rank == 0:
        encoder = MoonEncoder(first, processor, ProductDetector.from_pretrained(), "ablation")
        benchmark = RetrievalBenchmark(plan, encoder)
    for name, seed in wanted:
        variant = ABLATION_VARIANTS[name]
        config = build_training_config(plan, variant, seed)
        model = builder.build(variant, seed)
        pairs = ArrowPairs(plan.pairs, plan.batch_size, rank=rank, ranks=ranks, seed=0)
        source = FirstBatches(pairs, plan.batches, seed=seed, crops=variant.crops)
        contrast = ContrastiveObjective(
            source, examples, config.loss, hard_negatives=variant.hard_negatives, dimension=model.config.hidden_size
        )
        with bypass_tower(model):
            trainer = Trainer(model, [contrast], partial(collate_cached, processor, cache), config, accelerator)
            started = time.monotonic()
            for step in range(plan.steps):
                trainer.train_step(step, {contrast.name: contrast.prepare_step(step)})
            seconds = time.monotonic() - started
            if benchmark is not None:
                scores = benchmark.score_model(model.eval(), cache, crops=variant.crops)
                _record_run(plan, AblationRun(name, seed, scores, round(seconds, 1)))
        accelerator.wait_for_everyone()
    os._exit(0)  # torch may wait forever when it frees the group; see tests/moon_model/training/test_negatives.py


def _record_run(plan: AblationPlan, run: AblationRun) -> None:
    with plan.runs_file.open("a") as stream:
        stream.write(json.dumps(asdict(run)) + "\n")
    shown: dict[str, Any] = {task: round(score, 3) for task, score in run.scores.items()}
    print(f"{run.variant}, seed {run.seed}: {shown}, {run.seconds:.0f} s", flush=True)
