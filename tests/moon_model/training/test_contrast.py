"""Tests of the contrastive objective: reference loss, padded hard negatives, the queue, the position in the data."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from moon_model.processing_moon import MoonProcessor
from moon_model.product import Product
from moon_model.training.config import LossSection
from moon_model.training.contrast import ContrastiveObjective
from moon_model.training.examples import Examples
from moon_model.training.loss import Candidates, ContrastiveLoss
from moon_model.training.pairs import Pair, TrainingItem


class Pairs:
    """Two batches of two pairs in each epoch; records how epochs were opened."""

    batches_per_epoch = 2

    def __init__(self, negatives: int = 1) -> None:
        self.negatives = negatives
        self.opened: list[tuple[int, int]] = []

    def iter_epoch(self, number: int, start: int = 0) -> Iterator[list[Pair]]:
        self.opened.append((number, start))
        for batch in range(start, 2):
            yield [self.pair(10 * number + 2 * batch + place, place) for place in (0, 1)]

    def pair(self, number: int, place: int) -> Pair:
        def item(identity: int, title: str) -> TrainingItem:
            return TrainingItem(identity, Product(title, title=title))

        hard = tuple(item(100 + number * 5 + one, f"hard {number} {one}") for one in range(self.negatives * place))
        return Pair(number, "text", item(number, f"query {number}"), item(number, f"item {number}"), hard)


@pytest.fixture
def make(shop: Path):
    def build(source: Pairs, **settings) -> ContrastiveObjective:
        examples = Examples(MoonProcessor.from_pretrained(shop / "model"), [shop / "images"])
        return ContrastiveObjective(source, examples, LossSection(**settings), hard_negatives=2, dimension=8)

    return build


def vectors(count: int, seed: int = 0) -> torch.Tensor:
    return F.normalize(torch.randn(count, 8, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_the_loss_is_that_of_all_items_and_padding_counts_for_nothing(make) -> None:
    """The first pair has no hard negative, the second has two: six items, each query told apart from its own five."""
    contrast = make(Pairs(negatives=2), temperature=0.1, margin=-1, queue_size=0)
    work = contrast.prepare_step(0)
    assert [one.id for one in work.prepared] == ["query 0", "query 1", "item 0", "item 1", "hard 1 0", "hard 1 1"]
    embeddings = vectors(6)
    loss, seen = work.loss(embeddings)
    others = Candidates(embeddings[2:], torch.tensor([0, 1, 105, 106]))
    wanted = ContrastiveLoss(0.1, margin=None)(
        embeddings[:2], Candidates(embeddings[2:4], torch.tensor([0, 1])), others
    )
    assert loss.item() == pytest.approx(wanted.loss.item())
    assert seen["negatives"] == 3


def test_items_of_a_step_are_negatives_of_the_next(make) -> None:
    contrast = make(Pairs(negatives=2), queue_size=16, queue_age=1, queue_warm_up=0, margin=-1)
    seen = []
    for step in range(3):
        seen.append(int(contrast.prepare_step(step).loss(vectors(6, step))[1]["negatives"]))
        contrast.after_step(step)
    assert seen == [3, 7, 7]  # positives and hard negatives of one step ago, no older ones


def test_without_hard_negatives_none_is_embedded(make) -> None:
    contrast = make(Pairs(negatives=0), queue_size=0, margin=-1)
    work = contrast.prepare_step(0)
    assert len(work.prepared) == 4
    assert work.loss(vectors(4))[1]["negatives"] == 1


def test_the_step_is_the_position_in_the_data(make) -> None:
    source = Pairs()
    contrast = make(source)
    read = [contrast.prepare_step(step).prepared[0].id for step in (0, 1, 2, 3)]
    assert read == ["query 0", "query 2", "query 10", "query 12"]
    assert source.opened == [(0, 0), (1, 0)]
    again = make(late := Pairs())
    assert again.prepare_step(3).prepared[0].id == "query 12"
    assert late.opened == [(1, 1)]


def test_queue_and_temperature_travel_in_the_state(make) -> None:
    contrast = make(Pairs(), queue_size=4, learn_temperature=True)
    contrast.prepare_step(0).loss(vectors(5))
    contrast.after_step(0)
    other = make(Pairs(), queue_size=4, learn_temperature=True)
    other.load_state_dict(contrast.state_dict())
    assert sorted(other.queue.ids.tolist()) == [-1, 0, 1, 105]
