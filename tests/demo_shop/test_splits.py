"""What is for training is known everywhere by one name."""

from demo_shop.splits import HELD_OUT, TRAIN_SEEDS
from demo_shop.vocabulary import TYPES


def test_two_whole_types_are_held_out_and_seeds_differ() -> None:
    assert len(set(HELD_OUT)) == 2
    assert set(HELD_OUT) < set(TYPES)
    assert len(set(TRAIN_SEEDS)) == len(TRAIN_SEEDS)
