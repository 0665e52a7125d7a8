"""Tests that two processes that share a batch train exactly as one process: spatial negatives, queue, gradients."""

import os
import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp
from accelerate import Accelerator
from safetensors.torch import load_file, save_file

from moon_model.training.contrast import ContrastiveObjective
from moon_model.training.examples import Examples
from moon_model.training.pairs import Pair
from moon_model.training.run import open_pairs
from moon_model.training.trainable_model import TrainableModel
from moon_model.training.trainer import Trainer
from tests.moon_model.training.tiny_run import tiny_config

STEPS = 3


class Half:
    """A process's half of every batch of a source."""

    def __init__(self, source, rank: int, ranks: int) -> None:
        self.source, self.rank, self.ranks = source, rank, ranks
        self.batches_per_epoch = source.batches_per_epoch

    def iter_epoch(self, number: int, start: int = 0) -> Iterator[list[Pair]]:
        for batch in self.source.iter_epoch(number, start):
            size = len(batch) // self.ranks
            yield batch[self.rank * size : (self.rank + 1) * size]


def train(rank: int, ranks: int, shop: Path, out: Path, port: int) -> None:
    torch.set_num_threads(1)
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": ranks, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    if ranks > 1:
        os.environ |= {name: str(value) for name, value in place.items()}
    config = tiny_config(
        shop, out, model={"frozen": ["backbone.vision"]}, loss={"margin": -1, "queue_warm_up": 1},
        optimiser={"warm_up": 0.0, "learning_rate": 1e-3},
    )  # fmt: skip
    assert config.data is not None
    accelerator = Accelerator(cpu=True)
    assert accelerator.num_processes == ranks
    trainable = TrainableModel.load(config.model)
    trainable.model.config.router_aux_loss_coef = 0.0  # a mean over chunks, which the processes cut differently
    source = Half(open_pairs(config.data), rank, ranks)
    examples = Examples(trainable.processor, config.data.image_roots)
    contrast = ContrastiveObjective(source, examples, config.loss, hard_negatives=1, dimension=32)
    trainer = Trainer(trainable.model, [contrast], partial(trainable.processor), config, accelerator)
    for group in trainer.state.optimiser.param_groups:
        group["eps"] = 1e-6  # with 1e-8 Adam makes a large step of a gradient that is nothing but float32 rounding
    for step in range(STEPS):
        trainer.train_step(step, {"contrast": contrast.prepare_step(step)})
    if rank == 0:
        trained = {name: one.detach() for name, one in trainer.state.get_trainable_parameters()}
        save_file({**trained, "queue": contrast.queue.embeddings}, out / f"{ranks}.safetensors")
    if ranks > 1:
        torch.distributed.barrier()
        os._exit(0)  # torch may wait for ever when it frees the group; see test_negatives.py


@pytest.mark.long
def test_two_processes_train_as_one(shop: Path, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(train, args=(2, shop, tmp_path, port), nprocs=2)
    train(0, 1, shop, tmp_path, port)
    two, one = (load_file(tmp_path / f"{ranks}.safetensors") for ranks in (2, 1))
    order = [torch.cat([part.sort(0).values for part in run.pop("queue").split(16)]) for run in (two, one)]
    torch.testing.assert_close(*order, atol=1e-4, rtol=0)  # the same items, each process's together
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, atol=1e-4, rtol=0, msg=lambda text, name=name: f"{name}: {text}")
