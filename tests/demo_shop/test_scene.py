import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from demo_shop.scene import compose_scene, encode_jpeg, save_jpeg, simulate_camera


def patch(width: int, height: int) -> Image.Image:
    return Image.new("RGBA", (width, height), (255, 0, 0, 255))


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 200),
    st.integers(1, 200),
    st.integers(40, 120),
    st.integers(40, 120),
    st.integers(0, 99),
    st.booleans(),
)
def test_the_box_is_exactly_where_the_product_is(w, h, width, height, seed, free) -> None:
    background = Image.new("RGB", (width, height), "white")
    picture, (x0, y0, x1, y1) = compose_scene(
        patch(w, h), background, np.random.default_rng(seed), scale=(0.3, 0.9) if free else None
    )
    red = np.asarray(picture).astype(int)
    rows, columns = np.nonzero((red[..., 0] > 200) & (red[..., 1] < 60))
    assert picture.size == background.size
    assert (columns.min() / width, rows.min() / height) == pytest.approx((x0, y0))
    assert ((columns.max() + 1) / width, (rows.max() + 1) / height) == pytest.approx((x1, y1))


def test_scale_is_a_share_of_the_shorter_side() -> None:
    background = Image.new("RGB", (300, 200), "white")
    for seed in range(10):
        _, (x0, _, x1, _) = compose_scene(patch(50, 20), background, np.random.default_rng(seed), scale=(0.5, 0.6))
        assert 0.48 * 200 <= (x1 - x0) * 300 <= 0.6 * 200


def test_the_product_casts_a_shadow_and_the_ground_is_left_alone() -> None:
    background = Image.new("RGB", (100, 100), "white")
    picture, _ = compose_scene(patch(40, 40), background, np.random.default_rng(1), scale=None)
    grey = np.asarray(picture)[np.asarray(picture)[..., 1] > 60]
    assert grey.min() < 235
    assert np.asarray(background).min() == 255


def test_transparent_margins_do_not_count() -> None:
    cutout = Image.new("RGBA", (40, 40), (0, 0, 0, 0))
    cutout.paste((255, 0, 0, 255), (10, 10, 20, 30))
    _, (x0, y0, x1, y1) = compose_scene(cutout, Image.new("RGB", (80, 80)), np.random.default_rng(0), scale=None)
    assert ((x1 - x0) * 80, (y1 - y0) * 80) == pytest.approx((10, 20))


def test_an_empty_cutout_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        compose_scene(Image.new("RGBA", (9, 9)), Image.new("RGB", (50, 50)), np.random.default_rng(0))


def test_developing_keeps_the_picture_recognisable() -> None:
    picture = Image.linear_gradient("L").convert("RGB").resize((64, 64))
    for seed in range(20):
        out = simulate_camera(picture, np.random.default_rng(seed))
        assert out.size == picture.size
        assert np.corrcoef(np.asarray(out).ravel(), np.asarray(picture).ravel())[0, 1] > 0.97


def test_jpeg_bytes_repeat_and_decode() -> None:
    picture = Image.linear_gradient("L").convert("RGB")
    assert encode_jpeg(picture) == encode_jpeg(picture.copy())
    assert Image.open(io.BytesIO(encode_jpeg(picture))).format == "JPEG"


def test_a_saved_picture_is_whole_and_leaves_nothing_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture, path = Image.new("RGB", (20, 30), "red"), tmp_path / "a.jpg"
    save_jpeg(picture, path)
    assert path.read_bytes() == encode_jpeg(picture)
    assert list(tmp_path.iterdir()) == [path]
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        save_jpeg(picture, tmp_path / "b.jpg")
    assert not (tmp_path / "b.jpg").exists()
