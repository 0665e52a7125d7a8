"""Tests that items become model input, and that images are read from allowed folders only."""

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from moon_model.configuration_moon import Segment
from moon_model.processing_moon import MoonProcessor
from moon_model.product import Product
from moon_model.training.examples import Examples
from moon_model.training.pairs import PairDataError, TrainingItem


@pytest.fixture
def processor(shop: Path) -> MoonProcessor:
    return MoonProcessor.from_pretrained(shop / "model")


def save(path: Path) -> Path:
    Image.new("RGB", (40, 60), "red").save(path)
    return path


def item(image: object, title: str = "") -> TrainingItem:
    return TrainingItem(1, Product("p", title=title, images=[image]))


def test_a_region_makes_a_crop_and_order_is_kept(processor: MoonProcessor, tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    with ThreadPoolExecutor(2) as pool:
        examples = Examples(processor, [tmp_path], pool=pool)
        bare, cropped = examples.prepare(
            [item("a.png"), TrainingItem(2, Product("q", images=[tmp_path / "a.png"]), ((0.1, 0.1, 0.6, 0.6),))]
        )
    assert (bare.id, len(bare.views), cropped.id, len(cropped.views)) == ("p", 1, "q", 2)
    assert Segment.CROP in cropped.segment_ids
    assert Segment.CROP not in bare.segment_ids


def test_kept_photos_are_read_once_and_stay_the_same_arrays(processor: MoonProcessor, tmp_path: Path) -> None:
    photo = save(tmp_path / "a.png")
    cropped = TrainingItem(1, Product("p", images=["a.png"]), ((0.1, 0.1, 0.6, 0.6),))
    (fresh,) = Examples(processor, [tmp_path]).prepare([cropped])
    examples = Examples(processor, [tmp_path], keep_photos=1)
    (first,) = examples.prepare([cropped])
    photo.unlink()
    (second,) = examples.prepare([cropped])
    assert [a is b for a, b in zip(first.views, second.views, strict=True)] == [True, True]
    assert all((a == b).all() for a, b in zip(fresh.views, second.views, strict=True))


@pytest.mark.parametrize("spelling", ["../secret.png", "{outside}", "file://{outside}", "link.png"])
def test_images_outside_the_roots_are_refused(processor: MoonProcessor, tmp_path: Path, spelling: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    outside = save(tmp_path / "secret.png")
    (root / "link.png").symlink_to(outside)
    with pytest.raises(PairDataError, match=r"outside data.image_roots"):
        Examples(processor, [root]).prepare([item(spelling.format(outside=outside))])


def test_addresses_are_refused(processor: MoonProcessor, tmp_path: Path) -> None:
    with pytest.raises(PairDataError, match=r"local folders only, not s3://bucket/a\.png"):
        Examples(processor, [tmp_path]).prepare([item("s3://bucket/a.png")])


def test_a_bad_image_is_left_out_with_a_warning_unless_nothing_remains(
    processor: MoonProcessor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"no image")
    examples = Examples(processor, [tmp_path])
    with caplog.at_level(logging.WARNING):
        (prepared,) = examples.prepare([item("bad.jpg", title="a mug")])
    assert prepared.failures[0].reason == "image_format"
    assert "image 0 is left out of training" in caplog.text
    with pytest.raises(PairDataError, match=r"p \(identity 1\) has neither text nor a readable image"):
        examples.prepare([item("bad.jpg")])


def test_a_missing_root_is_named(processor: MoonProcessor, tmp_path: Path) -> None:
    with pytest.raises(PairDataError, match=r"no such folder: .*nowhere"):
        Examples(processor, [tmp_path / "nowhere"])
