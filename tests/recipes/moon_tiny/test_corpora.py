"""Tests of the corpora: broad, without held-out types, readable by the trainer."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from demo_shop.splits import HELD_OUT_TYPES, TRAIN_SEEDS
from demo_shop.vocabulary import PRODUCT_TYPES
from moon_model.detection.detector import ProductDetector
from moon_model.detection.region import Region
from moon_model.images import decode_image
from moon_model.product import Product, join_text
from recipes.moon_tiny import corpora
from recipes.moon_tiny.teachers import Corpora


class Teacher:
    def encode(self, texts):
        return np.eye(len(texts), 384, dtype=np.float16)


def regions(count: int) -> list[Region]:
    """A detector that finds a product in every second photo."""
    return [Region.whole_image() if number % 2 else Region((0.1, 0.2, 0.6, 0.9), 0.8) for number in range(count)]


def test_demo_photos_are_of_train_seeds_without_the_held_out_types(tmp_path: Path) -> None:
    corpora.draw_demo_photos(tmp_path, 6)
    photos = list(corpora.iter_demo_photos(tmp_path, 6))
    assert len(photos) == 12
    seeds = {photo.image.name.split("-")[1] for photo in photos}
    assert seeds == {str(seed) for seed in TRAIN_SEEDS}
    assert set(HELD_OUT_TYPES) < set(PRODUCT_TYPES)
    for photo in photos:
        assert Image.open(photo.image).format == "JPEG"
        said = " ".join(map(join_text, photo.captions)).lower()
        assert not any(name in said for name in HELD_OUT_TYPES)
    written = photos[0].image.stat().st_mtime_ns
    corpora.draw_demo_photos(tmp_path, 6)
    assert list(corpora.iter_demo_photos(tmp_path, 6)) == photos
    assert photos[0].image.stat().st_mtime_ns == written


def test_real_photos_never_come_from_the_measuring_lists(shared_data: Path) -> None:
    grocery = list(corpora.iter_grocery_photos(shared_data / "grocery", 1000))
    val = {line.split(",")[0] for line in (shared_data / "grocery" / "val.txt").read_text().splitlines()}
    assert len({photo.identity for photo in grocery}) == 81
    assert not {str(photo.image.relative_to(shared_data / "grocery")) for photo in grocery} & val
    assert all(photo.image.is_file() for photo in grocery[::50])
    clothing = list(corpora.iter_clothing_photos(shared_data / "clothing", 2000))
    assert len(clothing) > 1400
    assert all(photo.image.is_file() for photo in clothing)
    assert min(photo.identity for photo in clothing) == 2000


def test_regions_are_those_of_the_detector_in_order(tmp_path: Path) -> None:
    corpora.draw_demo_photos(tmp_path, 3)
    with ThreadPoolExecutor(2) as pool:
        photos = [one.image for one in corpora.iter_demo_photos(tmp_path, 3)]
        found = list(corpora.find_regions(photos, pool))
    detector = ProductDetector.from_pretrained()
    assert found == [detector.detect([decode_image(photo)])[0] for photo in photos]


def test_what_is_written_the_trainer_reads(tmp_path: Path) -> None:
    photos = list(corpora.iter_demo_photos(tmp_path / "demo", 2))
    texts = [Product("", "a"), Product("", "b", "long", ("x", "y"), {"colour": "red"}), Product("", "c")]
    corpora.write_corpora(tmp_path / "out", texts, Teacher(), photos, regions(len(photos)), [tmp_path / "demo"])
    found = Corpora.read(tmp_path / "out")
    assert list(found.texts) == texts
    assert found.text_vectors.shape == (3, 384)
    assert [photo.item.regions for photo in found.photos[:2]] == [((0.1, 0.2, 0.6, 0.9),), (None,)]
    assert [tuple(photo.captions) for photo in found.photos] == [photo.captions for photo in photos]
    assert all(photo.is_drawn for photo in found.photos)
    said = {
        join_text(text): vector.argmax()
        for photo in found.photos
        for text, vector in zip(photo.captions, photo.caption_vectors, strict=True)
    }
    assert len(set(said.values())) == len(said)  # each text has the vector made of it, wherever it is said
    about = json.loads((tmp_path / "out" / "about.json").read_text())
    assert (about["texts"], about["photos"]) == (3, 4)
