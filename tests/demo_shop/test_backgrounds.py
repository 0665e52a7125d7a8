import numpy as np

from demo_shop.backgrounds import draw_background


def edges(pixels: np.ndarray) -> float:
    return float(
        np.abs(np.diff(pixels.astype(int), axis=1)).mean() + np.abs(np.diff(pixels.astype(int), axis=0)).mean()
    )


def test_grounds_have_the_asked_size_and_repeat_by_seed() -> None:
    for cluttered in (False, True):
        for seed in range(8):
            first, again = (draw_background(np.random.default_rng(seed), (90, 70), cluttered) for _ in range(2))
            assert (first.size, first.mode) == ((90, 70), "RGB")
            assert first.tobytes() == again.tobytes()


def test_clutter_has_more_to_see_than_a_studio() -> None:
    plain, busy = (
        [edges(np.asarray(draw_background(np.random.default_rng(s), (96, 96), cluttered))) for s in range(12)]
        for cluttered in (False, True)
    )
    assert max(plain) < np.median(busy)
    assert np.median(busy) > 5 * np.median(plain)


def test_studio_grounds_are_light() -> None:
    assert all(np.asarray(draw_background(np.random.default_rng(s), (32, 32), False)).mean() > 150 for s in range(12))


def test_small_grounds_do_not_fail() -> None:
    for seed in range(40):
        side = 16 + seed % 9
        assert draw_background(np.random.default_rng(seed), (side, 40), seed % 4 > 0).size == (side, 40)
