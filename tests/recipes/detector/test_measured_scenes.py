import numpy as np
import pytest

from recipes.detector.measured_scenes import blend_multi_band, compose_measured_scenes


@pytest.fixture(scope="module")
def made(fake_data):
    return compose_measured_scenes(fake_data, 6, seed=1)


def test_scenes_alternate_their_backgrounds_and_depend_on_the_seed_only(fake_data, made):
    assert [scene.background for scene in made] == ["clothing", "shelves"] * 3
    again = compose_measured_scenes(fake_data, 6, seed=1)
    assert [scene.box for scene in made] == [scene.box for scene in again]
    assert all(a.photo.tobytes() == b.photo.tobytes() for a, b in zip(made, again, strict=True))
    assert [scene.box for scene in compose_measured_scenes(fake_data, 6, seed=2)] != [scene.box for scene in made]


def test_the_true_box_lies_inside_the_photo(made):
    for scene in made:
        x0, y0, x1, y1 = scene.box
        assert 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1


def test_blending_keeps_both_photos_far_from_the_seam():
    rng = np.random.default_rng(0)
    back, front = (rng.uniform(0, 255, (96, 96, 3)).astype(np.float32) for _ in range(2))
    mask = np.zeros((96, 96))
    mask[20:76, 20:76] = 1
    joined = blend_multi_band(back, front, mask)
    np.testing.assert_allclose(joined[46:50, 46:50], front[46:50, 46:50], atol=1.0)
    np.testing.assert_allclose(joined[:2, :2], back[:2, :2], atol=1.0)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_mask_of_all_or_nothing_gives_one_photo_unchanged(value):
    rng = np.random.default_rng(1)
    back, front = (rng.uniform(0, 255, (40, 30, 3)).astype(np.float32) for _ in range(2))
    joined = blend_multi_band(back, front, np.full((40, 30), value))
    np.testing.assert_allclose(joined, front if value else back, atol=1e-2)
