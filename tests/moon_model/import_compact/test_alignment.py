"""The projector's ridge regression learns what there is to learn."""

import pytest
import torch
from PIL import Image

from moon_model import checkpoint_dir
from moon_model.encoder import MoonEncoder
from moon_model.import_compact.alignment import Captioned, Measured, demo_photos, fit_projector, measure


@pytest.fixture
def encoder() -> MoonEncoder:
    return MoonEncoder.from_pretrained(checkpoint_dir("moon-tiny"), detector=False, dtype="float32", device="cpu")


def test_photos_are_measured_with_their_words(encoder: MoonEncoder) -> None:
    pairs = [Captioned(Image.new("RGB", (30, 40), colour), colour) for colour in ("red", "blue", "red")]
    photos = measure(encoder.model, encoder.processor, pairs)
    assert photos.cells.shape == (3, 16, 1280)
    assert photos.targets.shape == (3, encoder.dim)
    assert torch.equal(photos.targets[0], photos.targets[2])
    assert not torch.equal(photos.targets[0], photos.targets[1])


def test_a_learnable_relation_is_learned_and_generalises(encoder: MoonEncoder) -> None:
    draw = torch.Generator().manual_seed(0)
    kinds, centres = 8, torch.randn(8, 1280, generator=draw)
    words = torch.randn(8, encoder.dim, generator=draw)

    def photos(count: int) -> tuple[Measured, torch.Tensor]:
        kind = torch.randint(kinds, (count,), generator=draw)
        cells = centres[kind][:, None] + 0.5 * torch.randn(count, 16, 1280, generator=draw)
        return Measured(cells, words[kind]), kind

    training, _ = photos(300)
    assert fit_projector(encoder.model, training) > 0.9
    unseen, kind = photos(40)
    with torch.no_grad():
        projector = encoder.model.backbone.projector
        tokens = projector.fc2(torch.nn.functional.gelu(projector.fc1(unseen.cells))).mean(1)
    assert torch.equal(torch.cdist(tokens, words).argmin(1), kind)


def test_demo_photos_repeat_themselves() -> None:
    (one,), (again,) = ([*demo_photos(3, 1)] for _ in range(2))
    assert one.text == again.text
    assert one.image.tobytes() == again.image.tobytes()
