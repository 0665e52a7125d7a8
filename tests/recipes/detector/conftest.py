"""Drawn products and backgrounds, and a folder with the layout of the real data."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from recipes.detector.backgrounds import Backgrounds
from recipes.detector.samples import SampleSources


def disc(colour: str, size: int = 120) -> Image.Image:
    """A round RGBA product with a stripe."""
    picture = Image.new("RGBA", (size, size))
    draw = ImageDraw.Draw(picture)
    draw.ellipse((0, 0, size - 1, size - 1), fill=colour)
    draw.rectangle((10, size // 2 - 8, size - 11, size // 2 + 8), fill="white")
    return picture


@pytest.fixture(scope="session")
def cutouts() -> list[Image.Image]:
    return [disc("navy"), disc("firebrick", 80), disc("olive", 160).resize((60, 160))]


@pytest.fixture(scope="session")
def fake_data(tmp_path_factory: pytest.TempPathFactory, cutouts: list[Image.Image]) -> Path:
    """The folders of ``shared/data`` with a handful of drawn photos each."""
    data = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)

    def noise(path: Path, size: tuple[int, int] = (96, 128)) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = rng.integers(0, 256, (8, 6, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize(size).save(path)

    for index in range(20):
        noise(data / "clothing" / "images" / f"{index}.jpg")
    for split in ("train", "val"):
        for index in range(4):
            noise(data / "grocery" / split / "Fruit" / f"{index}.jpg")
    for index in range(1, 9):
        photo = Image.new("RGB", (200, 200), (244, 244, 244))
        photo.paste(cutouts[index % 3].convert("RGB"), (30, 20), cutouts[index % 3])
        for path in (
            data / "eshop" / "Pics" / f"{index}.webp",
            data / "grocery" / "iconic-images-and-descriptions" / "Fruit" / f"{index}.jpg",
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            photo.save(path)
    for index in range(8):
        noise(data / "product_boxes" / f"{index}.jpg", (200, 300))
        (data / "product_boxes" / f"{index}.bboxes.tsv").write_text("20\t30\t60\t90\n100\t150\t180\t240\n")
    return data


@pytest.fixture(scope="session")
def sources(fake_data: Path, cutouts: list[Image.Image]) -> SampleSources:
    """Composites only."""
    return SampleSources(cutouts=cutouts, backgrounds=Backgrounds.find(fake_data, held_out=False))
