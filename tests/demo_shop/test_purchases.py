"""Purchases: repeatable, in the paper's mix of queries, by taste, with a little noise."""

from collections import Counter

import numpy as np

from demo_shop import DemoWorld
from demo_shop.purchases import FIRST_QUERY_PHOTO, NOISE_PROB, draw_purchases

WORLD = DemoWorld(seed=8)
DRAWN = list(draw_purchases(WORLD, 120, 10))


def test_the_same_world_gives_the_same_purchases() -> None:
    assert DRAWN[:40] == list(draw_purchases(DemoWorld(seed=8), 120, 10))[:40]
    assert len(DRAWN) == 1200


def test_queries_come_in_the_papers_mix_and_never_empty() -> None:
    kinds = Counter((one.photo is not None, bool(one.query)) for one in DRAWN)
    assert not kinds[False, False]
    for kind, share in {(True, False): 12 / 17, (False, True): 3 / 17, (True, True): 2 / 17}.items():
        assert abs(kinds[kind] / len(DRAWN) - share) < 0.05
    assert all(one.photo is None or one.photo >= FIRST_QUERY_PHOTO for one in DRAWN)


def test_a_photo_buys_the_product_or_a_size_of_it_but_for_noise() -> None:
    noise = sum(one.is_noise for one in DRAWN) / len(DRAWN)
    assert abs(noise - NOISE_PROB) < 0.03
    family = [WORLD.get_product(index).family for index in range(120)]
    assert all(family[one.product] == family[one.wanted] for one in DRAWN if one.photo is not None and not one.is_noise)
    assert any(one.product != one.wanted for one in DRAWN if one.photo is not None and not one.is_noise)


def test_words_buy_by_taste_among_what_fits() -> None:
    taste = np.array([WORLD.get_product(index).taste for index in range(120)])
    texts = [one for one in DRAWN if one.photo is None and not one.is_noise and one.product != one.wanted]
    assert texts  # words alone do not name one product
    chosen = np.mean([np.linalg.norm(taste[one.product] - taste[one.wanted]) for one in texts])
    any_two = np.mean(np.linalg.norm(taste[:, None] - taste[None], axis=-1))
    assert chosen < 0.8 * any_two
