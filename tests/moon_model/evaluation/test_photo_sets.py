"""Public photo sets: small ones of the same form, and the real ones if they are present."""

import json

import pytest

from moon_model.evaluation.photo_sets import (
    BenchmarkDataError,
    build_clothing_benchmark,
    build_eshop_benchmark,
    build_grocery_benchmark,
)
from tests.moon_model.evaluation.one_hot import OneHotEmbedder

CLASSES = (
    "Class Name (str),Class ID (int),Coarse Class Name (str),Coarse Class ID (int),"
    "Iconic Image Path (str),Product Description Path (str)\n"
)


@pytest.fixture
def grocery(tmp_path):
    """Three products of two coarse classes, each shown by photos of the val list; one photo is of the train list."""
    classes = [("Golden-Delicious", "Apple"), ("Pink-Lady", "Apple"), ("Kiwi", "Kiwi")]
    lines = [
        f"{name},{number},{coarse},0,/iconic-images/{number}.jpg,/texts/{number}.txt"
        for number, (name, coarse) in enumerate(classes)
    ]  # fmt: skip
    (tmp_path / "classes.csv").write_text(CLASSES + "\n".join(lines))
    for folder in ("iconic-images", "texts", "val", "train"):
        (tmp_path / folder).mkdir()
    for number in range(3):
        (tmp_path / "iconic-images" / f"{number}.jpg").write_bytes(b"iconic %d" % number)
        (tmp_path / "texts" / f"{number}.txt").write_text(f"About {number}.\n")
    listed = [(f"val/{number}.jpg", number % 3) for number in range(6)]
    for path, number in listed:
        (tmp_path / path).write_bytes(b"photo of %d" % number)
    (tmp_path / "train" / "x.jpg").write_bytes(b"never a query")
    (tmp_path / "val.txt").write_text("".join(f"{path}, {number}, 0\n" for path, number in listed))
    (tmp_path / "train.txt").write_text("train/x.jpg, 0, 0\n")
    return tmp_path


def test_grocery_photos_find_their_product(grocery):
    found = build_grocery_benchmark(grocery)
    assert found.about == {"photos": 6, "products": 3}
    item, name, coarse = found.tasks
    axes = {f"{number}.jpg": number % 3 for number in range(6)} | {str(number): number for number in range(3)}
    for task in (item, name):
        assert dict(task.score(lambda each: OneHotEmbedder(axes, 3).embed(each, [])))["R@1"].mean() == 1
    first = item.items[0]
    assert (first.title, first.description, first.category) == ("Golden Delicious", "About 0.", ("Apple",))
    assert [one.title for one in name.items] == ["Golden Delicious", "Pink Lady", "Kiwi"]
    assert not any(one.images or one.description for one in name.items)
    assert (coarse.name, [one.title for one in coarse.labels]) == ("coarse class, images only", ["Apple", "Kiwi"])
    assert list(coarse.actual) == ["Apple", "Apple", "Kiwi"] * 2
    shown = {path for one in item.queries for path in one.images}
    assert shown == {grocery / "val" / f"{number}.jpg" for number in range(6)}


def test_clothing_leaves_out_what_nobody_could_label(tmp_path):
    labels = ["T-Shirt", "Dress", "Not sure", "Skip", "Other"] * 8
    rows = [f"id{number},1,{label},False" for number, label in enumerate(labels)]
    (tmp_path / "images.csv").write_text("image,sender_id,label,kids\n" + "\n".join(rows))
    found = build_clothing_benchmark(tmp_path)
    assert found.about == {"photos": 16}
    (task,) = (task for task in found.tasks if task.name == "category 1, images only")
    assert [one.title for one in task.labels] == ["Dress", "T-Shirt"]
    assert task.products[0].images == (tmp_path / "images" / "id0.jpg",)
    assert build_clothing_benchmark(tmp_path, max_photos=12).about == {"photos": 12}


def test_eshop_is_read_field_by_field(tmp_path):
    kinds = ("Boots", "Ropes")
    rows = [
        {"Id": number, "Name": f"Thing {number}", "Description": "Good.", "Type": kinds[number % 2], "Brand": "Ours"}
        for number in range(1, 21)
    ]
    (tmp_path / "catalog.json").write_text(json.dumps(rows))
    found = build_eshop_benchmark(tmp_path)
    assert found.about == {"products": 20}
    (task,) = (task for task in found.tasks if task.name == "category 1")
    assert set(task.actual) == set(kinds)
    assert task.products[0].images == (tmp_path / "Pics" / "1.webp",)
    assert task.products[0].attributes == {"brand": "Ours"}


@pytest.mark.parametrize(
    ("load", "message"),
    [
        (build_grocery_benchmark, "is not the GroceryStoreDataset"),
        (build_clothing_benchmark, "is not the clothing-dataset"),
        (build_eshop_benchmark, "is not eShop's catalogue"),
    ],
)
def test_another_folder_is_named(tmp_path, load, message):
    with pytest.raises(BenchmarkDataError, match=f"{tmp_path} {message}"):
        load(tmp_path)
    for name in ("classes.csv", "images.csv", "catalog.json"):
        (tmp_path / name).write_text('[{"a": 1}]\n[]')
    with pytest.raises(BenchmarkDataError, match=f"{tmp_path} {message}"):
        load(tmp_path)


def test_the_real_sets(shared_data):
    grocery = build_grocery_benchmark(shared_data / "grocery")
    assert grocery.about == {"photos": 296, "products": 81}
    eshop = build_eshop_benchmark(shared_data / "eshop")
    assert eshop.about == {"products": 101}
    clothing = build_clothing_benchmark(shared_data / "clothing", max_photos=40)
    assert clothing.about == {"photos": 40}
    for one in (grocery, eshop, clothing):
        assert len(one.compute_digest()) == 16  # reads every image that is named
