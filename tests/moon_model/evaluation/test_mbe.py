"""MBE in its published form: all fields are read, an image may be missing, the error names a wrong row."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from moon_model.evaluation.mbe import build_mbe_benchmark, make_mbe_product, parse_mbe_attributes
from moon_model.evaluation.photo_sets import BenchmarkDataError

SAMPLE = Path(__file__).parent / "mbe_sample"
"""Ten rows and pictures of our own (demo world 4242)."""


def rows() -> list[dict]:
    return [json.loads(line) for line in (SAMPLE / "rows.jsonl").read_text("utf-8").splitlines()]


def test_the_sample_makes_a_benchmark():
    found = build_mbe_benchmark(SAMPLE / "rows.jsonl")
    assert found.about == {"products": 10, "with picture": 10}
    tasks = {task.name: task for task in found.tasks}
    assert set(tasks) >= {"text → item", "image → item", "category 1", "category 3", "pattern", "colour, images only"}
    colours = tasks["colour"]
    assert "red, white" in {one.title for one in colours.labels}
    assert "绿色" not in " ".join(one.title for one in colours.products)  # written without spaces, masked all the same
    assert len(found.compute_digest()) == 16


def test_a_row_is_read_field_by_field():
    row = rows()[9]
    product = make_mbe_product(row, SAMPLE / "images")
    assert (product.id, product.title) == ("700009", row["doc_title"])
    assert product.category == ("Leisure", "Music", "Guitars", "Acoustic guitars")
    assert product.attributes == {"colour": "red", "material": "plastic", "pattern": "zigzag"}
    assert Image.open(product.images[0]).size == (128, 160)
    assert make_mbe_product(rows()[0], SAMPLE).category == ("Fashion", "Clothing", "Dresses")  # level 4 is empty


def test_attributes_have_several_values():
    assert parse_mbe_attributes("colour:red!!!blue,, size : L ,,url:a:b") == {
        "colour": ["red", "blue"], "size": [" L "], "url": ["a:b"],
    }  # fmt: skip
    assert parse_mbe_attributes("") == {}
    with pytest.raises(ValueError, match="'colour' has no value"):
        parse_mbe_attributes("size:L,,colour")


def test_a_picture_may_be_missing(tmp_path):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    for name in ("1.jpg", "2.jpg"):
        shutil.copy(SAMPLE / "images" / name, folder / name)
    found = build_mbe_benchmark(SAMPLE / "rows.jsonl", folder)
    assert found.about == {"products": 10, "with picture": 2}
    with pytest.raises(BenchmarkDataError, match="none of the 10 pictures"):
        build_mbe_benchmark(SAMPLE / "rows.jsonl", tmp_path)


def test_a_picture_is_looked_for_in_the_folder_only():
    row = rows()[0] | {"doc_image": "https://img.example/../../etc/passwd"}
    assert make_mbe_product(row, SAMPLE / "images").images == ()
    assert make_mbe_product(row | {"doc_image": None}, SAMPLE / "images").images == ()


@pytest.mark.parametrize("broken", ["{", '{"id": 1}', "[]", json.dumps({**rows()[0], "doc_attributes": "colour"})])
def test_a_wrong_line_is_named(tmp_path, broken):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(rows()[0]) + "\n\n" + broken)
    with pytest.raises(BenchmarkDataError, match=r"rows\.jsonl, line 3: no product of MBE"):
        build_mbe_benchmark(path, SAMPLE / "images")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(BenchmarkDataError, match=r"cannot read .*nothing"):
        build_mbe_benchmark(tmp_path / "nothing")
