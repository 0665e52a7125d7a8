"""Tests of one training step: the gradients of a plain computation, and clear messages when it cannot continue."""

from functools import partial
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from moon_model.processing_moon import PreparedProduct
from moon_model.product import Product
from moon_model.training.config import TrainingConfig
from moon_model.training.contrast import ContrastiveObjective
from moon_model.training.examples import Examples
from moon_model.training.objective import Objective, StepInput
from moon_model.training.pairs import TrainingItem
from moon_model.training.run import open_pairs
from moon_model.training.trainable_model import TrainableModel
from moon_model.training.trainer import Trainer, TrainingError, split_by_length
from tests.moon_model.training.tiny_run import tiny_config


class Sum(Objective):
    """An objective whose gradient is known."""

    name = "sum"

    def __init__(self, prepared: list[PreparedProduct], factor: float, weight: float = 1.0) -> None:
        super().__init__()
        self.prepared, self.factor, self.weight = prepared, factor, weight
        self.finished: list[int] = []

    def prepare_step(self, step: int) -> StepInput:
        return StepInput(self.prepared, self._loss)

    def _loss(self, embeddings: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        weights = torch.arange(1, len(embeddings) + 1)[:, None]  # the order of the products matters
        return (embeddings * weights).sum() * self.factor, {"rows": torch.tensor(len(embeddings))}

    def after_step(self, step: int) -> None:
        self.finished.append(step)


def start(shop: Path, out: Path, chunk: int = 3) -> tuple[TrainingConfig, TrainableModel, list[PreparedProduct]]:
    config = tiny_config(shop, out, run={"chunk": chunk})
    assert config.data is not None
    trainable = TrainableModel.load(config.model)
    pairs = next(open_pairs(config.data).iter_epoch(0))
    prepared = Examples(trainable.processor, config.data.image_roots).prepare([pair.item for pair in pairs])
    return config, trainable, prepared


def test_a_step_has_the_gradients_of_the_plain_computation(shop: Path, tmp_path: Path) -> None:
    config, trainable, prepared = start(shop, tmp_path)
    model = trainable.model
    output = model(**trainable.processor(prepared))
    loss = 2 * (output.embedding * torch.arange(1, 9)[:, None]).sum() * 0.5
    loss.backward()
    wanted = {name: one.grad.clone() for name, one in model.named_parameters() if one.grad is not None}
    norm = torch.nn.utils.get_total_norm(wanted.values())
    model.config.router_aux_loss_coef = 0.0
    objective = Sum(prepared, 0.5, weight=2.0)
    trainer = Trainer(model, [objective], trainable.processor, config, Accelerator(cpu=True))
    values = trainer.train_step(0, {"sum": objective.prepare_step(0)})
    assert values["sum/loss"] == pytest.approx(loss.item() / 2, rel=1e-4)
    assert values["loss"] == pytest.approx(loss.item(), rel=1e-4)
    assert values["gradient_norm"] == pytest.approx(norm.item(), rel=1e-3)
    assert values["sum/rows"] == 8
    found = torch.cat([one.grad.flatten() for name, one in model.named_parameters() if name in wanted]) * norm
    expected = torch.cat([one.flatten() for one in wanted.values()])
    assert (found - expected).norm() < 1e-3 * norm  # clipped to length 1, hence · norm
    assert objective.finished == [0]


def test_the_balance_term_reaches_the_routers(shop: Path, tmp_path: Path) -> None:
    config, trainable, prepared = start(shop, tmp_path)
    trainable.model.config.router_aux_loss_coef = 0.5
    objective = Sum(prepared, 0.0)
    trainer = Trainer(trainable.model, [objective], trainable.processor, config, Accelerator(cpu=True))
    values = trainer.train_step(0, {"sum": objective.prepare_step(0)})
    assert values["balance"] >= 0.5 * 0.99
    assert trainable.model.moe_layers()[0].router.weight.grad.abs().sum() > 0


def test_a_loss_that_is_no_number_stops_training(shop: Path, tmp_path: Path) -> None:
    config, trainable, prepared = start(shop, tmp_path)
    before = {name: one.clone() for name, one in trainable.model.state_dict().items()}
    objective = Sum(prepared, float("nan"))
    trainer = Trainer(trainable.model, [objective], trainable.processor, config, Accelerator(cpu=True))
    with pytest.raises(TrainingError, match=r"the loss is nan at step 5; resume .* lower optimiser.learning_rate"):
        trainer.train_step(4, {"sum": objective.prepare_step(4)})
    for name, one in trainable.model.state_dict().items():
        assert torch.equal(one, before[name])


def test_a_learnable_temperature_moves_with_the_model(shop: Path, tmp_path: Path) -> None:
    config = tiny_config(shop, tmp_path, loss={"learn_temperature": True}, optimiser={"warm_up": 0.0})
    assert config.data is not None
    trainable = TrainableModel.load(config.model)
    examples = Examples(trainable.processor, config.data.image_roots)
    contrast = ContrastiveObjective(open_pairs(config.data), examples, config.loss, hard_negatives=1, dimension=32)
    trainer = Trainer(trainable.model, [contrast], partial(trainable.processor), config, Accelerator(cpu=True))
    before = contrast.loss.temperature.item()
    trainer.train_step(0, {"contrast": contrast.prepare_step(0)})
    assert contrast.loss.temperature.item() != before


@given(st.lists(st.integers(1, 200), max_size=80).map(sorted))
def test_cuts_of_similar_length_cover_the_batch_in_order(lengths: list[int]) -> None:
    cuts = split_by_length(lengths, min_size=12)
    assert [length for cut in cuts for length in lengths[cut]] == lengths
    assert all(cut.stop - cut.start >= 12 for cut in cuts[:-1])


def test_short_queries_are_not_padded_to_the_length_of_photos() -> None:
    assert split_by_length([9] * 20 + [33] * 20, min_size=12) == [slice(0, 20), slice(20, 40)]
    assert split_by_length([9] * 20 + [33] * 3, min_size=12) == [slice(0, 23)]


def test_a_batch_cut_by_length_gives_the_gradients_of_the_whole(shop: Path, tmp_path: Path) -> None:
    config, trainable, prepared = start(shop, tmp_path, chunk=100)
    texts = [TrainingItem(0, Product("query", title="mug " * (1 + place % 2))) for place in range(16)]
    examples = Examples(trainable.processor, [tmp_path])
    many = [*prepared, *examples.prepare(texts), *prepared]
    lengths = sorted(one.num_tokens for one in many)
    assert len(split_by_length(lengths, min_size=12)) > 1
    output = trainable.model(**trainable.processor(many))
    (output.embedding * torch.arange(1, len(many) + 1)[:, None]).sum().backward()
    norm = torch.nn.utils.get_total_norm(one.grad for one in trainable.model.parameters() if one.grad is not None)
    trainable.model.config.router_aux_loss_coef = 0.0
    objective = Sum(many, 1.0)
    trainer = Trainer(trainable.model, [objective], trainable.processor, config, Accelerator(cpu=True))
    values = trainer.train_step(0, {"sum": objective.prepare_step(0)})
    assert values["gradient_norm"] == pytest.approx(norm.item(), rel=1e-3)
