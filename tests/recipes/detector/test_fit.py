import numpy as np
import pytest
import torch

from recipes.detector.fit import FitConfig, RenderedSet, fit_network, shrink_photos
from recipes.detector.loss import compute_detection_loss
from recipes.detector.network import FROZEN_BLOCKS, ProductNet

QUICK = FitConfig(epochs=2, coarse_epochs=1, coarse_size=32, batch_size=4)


@pytest.fixture(scope="module")
def squares(tmp_path_factory):
    """Bright squares on dark noise, in two folders."""
    rng = np.random.default_rng(0)
    folders = []
    for count in (8, 5):
        folder = tmp_path_factory.mktemp("squares")
        photos = rng.integers(0, 60, (count, 64, 64, 3), dtype=np.uint8)
        labels = np.zeros((count, 2, 5), np.float32)
        for photo, rows in zip(photos, labels, strict=True):
            x, y = rng.integers(4, 28, 2)
            photo[y : y + 30, x : x + 30] = 220
            rows[0] = (x / 64, y / 64, (x + 30) / 64, (y + 30) / 64, 1.0)
        np.save(folder / "photos.npy", photos)
        np.save(folder / "labels.npy", labels)
        folders.append(folder)
    return RenderedSet.open(folders)


def test_a_pass_visits_every_sample_once_in_an_order_of_its_own(squares):
    assert len(squares) == 13
    first, again, other = (
        torch.cat([labels[:, 0] for _, labels in squares.iter_batches(4, seed)]) for seed in (0, 0, 1)
    )
    assert len(first) == 12  # the short tail waits for another pass
    assert len({tuple(row) for row in first.tolist()}) == 12
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_photos_and_labels_stay_together(squares):
    for photos, labels in squares.iter_batches(4, 0):
        for photo, row in zip(photos.numpy(), labels[:, 0].numpy(), strict=True):
            x, y = (row[:2] * 64).round().astype(int)
            assert photo[y, x].min() > 200 and photo[y - 1, x - 1].max() < 100


def test_shrinking_keeps_the_average_and_never_enlarges():
    photos = torch.rand(2, 64, 64, 3) * 255
    small = shrink_photos(photos, 32)
    assert small.shape == (2, 32, 32, 3)
    assert small.mean() == pytest.approx(photos.mean().item(), rel=0.02)
    assert shrink_photos(photos, 96) is photos


def test_training_lowers_the_loss_moves_the_head_and_spares_the_frozen_blocks(squares, tmp_path, caplog):
    torch.manual_seed(0)
    network = ProductNet(width=16)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    average = fit_network(network, squares, QUICK, tmp_path / "last.pt")
    after = network.state_dict()
    frozen = ("trunk.stem", *(f"trunk.blocks.{index}." for index in range(FROZEN_BLOCKS)))
    assert all(torch.equal(value, after[name]) for name, value in before.items() if name.startswith(frozen))
    assert not torch.equal(before["score.1.weight"], after["score.1.weight"])
    saved = torch.load(tmp_path / "last.pt", weights_only=True)["network"]
    assert all(torch.equal(value, saved[name]) for name, value in average.state_dict().items())


def test_too_little_data_and_nonsense_recipes_are_refused(squares, tmp_path):
    with pytest.raises(ValueError, match="render more"):
        fit_network(ProductNet(16), squares, FitConfig(batch_size=64), tmp_path / "last.pt")
    with pytest.raises(ValueError, match="epochs"):
        FitConfig(epochs=0)
    with pytest.raises(ValueError, match="coarse_size"):
        FitConfig(coarse_size=100)


@pytest.mark.long
def test_training_lowers_the_loss(squares, tmp_path):
    torch.manual_seed(0)
    network = ProductNet(width=16)
    photos, labels = next(squares.iter_batches(12, 0))

    def loss() -> float:
        with torch.no_grad():
            return compute_detection_loss(*network(photos), labels, (8, 8))["loss"].item()

    before = loss()
    fit_network(network, squares, FitConfig(epochs=60, coarse_epochs=0, batch_size=12), tmp_path / "last.pt")
    assert loss() < 0.6 * before
