"""Tests of the corpora's labels: no held-out type, no evaluation photo, and no answer left in the texts."""

from pathlib import Path

from demo_shop import DemoWorld
from demo_shop.splits import HELD_OUT_TYPES
from demo_shop.vocabulary import COLOURS, PATTERNS, PRODUCT_TYPES
from moon_model.evaluation.photo_lists import read_grocery_photos
from moon_model.product import Product
from recipes.moon_tiny import corpora
from recipes.moon_tiny.corpus_labels import build_demo_rows, build_label_texts, build_photo_rows
from recipes.moon_tiny.labels import read_facets
from tests.recipes.moon_tiny.test_corpora import Teacher, regions


def test_label_texts_leave_out_what_is_held_out() -> None:
    texts = build_label_texts(None, None)
    assert set(texts) == {"type", "colour", "pattern"}
    assert set(texts["type"]) == set(PRODUCT_TYPES) - set(HELD_OUT_TYPES)
    assert set(texts["colour"]) == set(COLOURS)
    assert set(texts["pattern"]) == set(PATTERNS)


def test_texts_of_a_product_do_not_tell_the_facet(tmp_path: Path) -> None:
    world, seen = DemoWorld(seed=101), 0
    for index in range(40):
        product = world.get_product(index)
        for facet, label, row in build_demo_rows(1, product, tmp_path / "a.jpg", None):
            assert label == getattr(product, facet)
            said = f"{row.get('title', '')} {row.get('attributes', '')}".lower()
            if facet != "type":
                seen += bool(row["title"])
                assert facet not in row["attributes"]
                names = (COLOURS if facet == "colour" else PATTERNS)[label].names
                assert not any(f" {name.lower()} " in f" {said} " for name in names)
    assert seen > 40
    assert all("title" not in row for _, _, row in build_demo_rows(0, world.get_product(0), tmp_path / "a.jpg", None))


def test_photos_of_grocery_and_clothing_have_their_labels(shared_data: Path) -> None:
    grocery, clothing = shared_data / "grocery", shared_data / "clothing"

    class Regions(dict):
        def __missing__(self, image: str) -> None:
            return None

    rows = list(build_photo_rows(grocery, clothing, Regions()))
    texts = build_label_texts(grocery, clothing)
    assert all(label in texts[facet] for facet, label, _ in rows)
    assert len(read_grocery_photos(grocery, "train")) == 2640
    assert not any("/val/" in row["images"][0] for _, _, row in rows)


def test_the_corpora_command_writes_them_too(tmp_path: Path) -> None:
    out = tmp_path / "out"
    photos = list(corpora.iter_demo_photos(out / "demo", 3))
    corpora.write_corpora(out, [Product("", "a")], Teacher(), photos, regions(len(photos)), [out / "demo"])
    corpora.write_photo_labels(out, out / "demo", 3, None, None)
    facets = read_facets(out)
    assert {facet: len(one.items) for facet, one in facets.items()} == {"type": 6, "colour": 6, "pattern": 6}
    assert facets["colour"].items[0].regions == ((0.1, 0.2, 0.6, 0.9),)
