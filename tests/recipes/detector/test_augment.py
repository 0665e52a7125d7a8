import torch

from recipes.detector.augment import augment_batch, mirror_labels


def batch(count=64):
    photos = torch.zeros(count, 16, 16, 3, dtype=torch.uint8)
    photos[:, 4:8, 2:6] = 200
    labels = torch.zeros(count, 3, 5)
    labels[:, 0] = torch.tensor([2 / 16, 4 / 16, 6 / 16, 8 / 16, 1.0])
    return photos, labels


def test_labels_follow_their_product_and_unused_rows_stay_empty():
    photos, labels = augment_batch(*batch(), torch.Generator().manual_seed(0))
    starts = set()
    for photo, rows in zip(photos, labels, strict=True):
        bright = (photo.mean(-1) > photo.mean() + 20).nonzero()
        (top, left), (bottom, right) = bright.amin(0), bright.amax(0) + 1
        assert [round(float(v) * 16) for v in rows[0, :4]] == [left, top, right, bottom]
        assert (rows[1:] == 0).all()
        starts.add(int(left))
    assert starts == {2, 10}  # some are mirrored, some are not


def test_mirroring_twice_changes_nothing():
    _, labels = batch(1)
    torch.testing.assert_close(mirror_labels(mirror_labels(labels)), labels)


def test_pixels_stay_in_range_and_the_input_unchanged():
    photos, labels = batch()
    kept = photos.clone()
    varied, _ = augment_batch(photos, labels, torch.Generator().manual_seed(1))
    assert varied.min() >= 0 and varied.max() <= 255
    assert torch.equal(photos, kept)


def test_the_same_seed_gives_the_same_variation():
    first, second = (augment_batch(*batch(8), torch.Generator().manual_seed(5))[0] for _ in range(2))
    assert torch.equal(first, second)
