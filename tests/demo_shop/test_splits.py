"""Seeds for training and held-out product types."""

from demo_shop.splits import HELD_OUT_TYPES, TRAIN_SEEDS
from demo_shop.vocabulary import PRODUCT_TYPES


def test_two_whole_types_are_held_out_and_seeds_differ() -> None:
    assert len(set(HELD_OUT_TYPES)) == 2
    assert set(HELD_OUT_TYPES) < set(PRODUCT_TYPES)
    assert len(set(TRAIN_SEEDS)) == len(TRAIN_SEEDS)
