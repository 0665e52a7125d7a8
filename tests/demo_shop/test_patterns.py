import numpy as np
import pytest

from demo_shop.patterns import PatternStyle, draw_pattern_sheet
from demo_shop.vocabulary import PATTERNS

RED, WHITE, GOLD = (200, 30, 30), (240, 240, 240), (250, 200, 60)


def sheet(pattern: str, seed: int = 0, angle: float = 10.0) -> np.ndarray:
    how = PatternStyle(RED, WHITE, GOLD, 20.0, angle, np.random.default_rng(seed))
    return np.asarray(draw_pattern_sheet(pattern, how, 160, 120)).astype(int)


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("angle", [0.0, 45.0, 90.0])
def test_the_main_colour_dominates_every_pattern(pattern: str, angle: float) -> None:
    pixels = sheet(pattern, angle=angle)
    assert pixels.shape == (120, 160, 3)
    nearer_main = np.abs(pixels - RED).sum(-1) < np.abs(pixels - WHITE).sum(-1)
    assert nearer_main.mean() > 0.55
    if pattern != "plain":
        assert nearer_main.mean() < 0.95


def test_patterns_differ_and_repeat_by_seed() -> None:
    for pattern in PATTERNS:
        assert (sheet(pattern, 4) == sheet(pattern, 4)).all()
    different = {sheet(pattern).tobytes() for pattern in PATTERNS}
    assert len(different) == len(PATTERNS)


def test_an_unknown_pattern_is_refused() -> None:
    with pytest.raises(KeyError):
        sheet("tartan-ish")
