import shutil
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from moon_model import checkpoint_dir
from moon_model.detection.configuration import DetectorConfig
from moon_model.detection.detector import (
    CPU_PROVIDER,
    CUDA_PROVIDER,
    ProductDetector,
    ProviderUnavailableError,
    compute_detector_version,
)
from moon_model.detection.region import compute_iou


class FixedAnswers:
    """Replaces a session: every photo gets given outputs; it records the shapes of its inputs."""

    def __init__(self, scores, boxes):
        self.scores, self.boxes = np.asarray(scores, np.float32), np.asarray(boxes, np.float32)
        self.shapes = []

    def get_providers(self):
        return [CPU_PROVIDER]

    def run(self, names, feeds):
        (photos,) = feeds.values()
        self.shapes.append(photos.shape)
        return [np.repeat(part[None], len(photos), 0) for part in (self.scores, self.boxes)]


def answering(scores, boxes, batch_size=1, **settings):
    session = FixedAnswers(scores, boxes)
    return ProductDetector(session, DetectorConfig(input_size=32, **settings), "0" * 16, batch_size), session


@pytest.fixture(scope="module")
def small(small_detector_dir):
    return ProductDetector.from_pretrained(small_detector_dir)


def photos(count, seed=0):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(40, 120, (count, 2))
    return [Image.fromarray(rng.integers(0, 256, (h, w, 3), dtype=np.uint8)) for h, w in sizes]


def test_a_trusted_box_becomes_the_region():
    detector, _ = answering([0.2, 0.8], [[0, 0, 1, 1], [0.1, 0.2, 0.5, 0.6]])
    (region,) = detector.detect(photos(1))
    assert region.source == "detected"
    assert region.box == pytest.approx((0.1, 0.2, 0.5, 0.6))
    assert region.score == pytest.approx(0.8)


def test_the_mirror_image_votes_too():
    detector, session = answering([0.8], [[0.2, 0.2, 0.7, 0.6]], mirrored=True)
    (region,) = detector.detect(photos(1))
    assert len(session.shapes) == 2, "each photo is seen twice"
    assert region.box == pytest.approx((0.25, 0.2, 0.75, 0.6)), "the mean of 0.2–0.7 and its mirror image, 0.3–0.8"


@pytest.mark.parametrize(
    ("score", "box"),
    [
        (0.29, [0.1, 0.2, 0.5, 0.6]),  # under the threshold
        (0.9, [0.1, 0.2, 0.11, 0.6]),  # too thin
        (0.9, [-0.5, -0.5, 1.5, 1.5]),  # everything
        (0.9, [0.6, 0.2, 0.5, 0.6]),  # inside out
    ],
)
def test_a_doubtful_box_becomes_the_whole_image_and_keeps_its_score(score, box):
    detector, _ = answering([score], [box], score_threshold=0.3)
    (region,) = detector.detect(photos(1))
    assert region.is_whole
    assert region.score == pytest.approx(score)


def test_every_run_has_the_same_shape_and_padding_adds_no_region():
    detector, session = answering([0.8], [[0.1, 0.2, 0.5, 0.6]], batch_size=4)
    assert len(detector.detect(photos(9))) == 9
    assert session.shapes == [(4, 32, 32, 3)] * 3
    assert detector.detect([]) == []


def test_a_region_depends_on_no_other_photo_of_the_batch(small, small_detector_dir):
    images = photos(5)
    batched = ProductDetector.from_pretrained(small_detector_dir, batch_size=3)
    together, apart = batched.detect(images), [small.detect([image])[0] for image in images]
    for a, b in zip(together, apart, strict=True):
        assert a.source == b.source
        assert a.box == pytest.approx(b.box, abs=1e-4)
        assert a.score == pytest.approx(b.score, abs=1e-4)


def test_candidates_are_separate_best_first_and_not_thresholded():
    boxes = [[0.1, 0.1, 0.4, 0.4], [0.6, 0.6, 0.9, 0.9], [0.1, 0.1, 0.4, 0.41], [0.5, 0.5, 0.5, 0.5]]
    detector, _ = answering([0.6, 0.2, 0.5, 0.1], boxes)
    ((first, second),) = detector.detect_candidates(photos(1), k=5)
    assert (first.score, second.score) == pytest.approx((0.6, 0.2))
    assert compute_iou(first.box, second.box) == 0.0
    assert [len(found) for found in detector.detect_candidates(photos(2), k=1)] == [1, 1]


def test_exif_orientation_and_alpha_are_seen_as_a_shop_page_shows_them(small):
    upright = photos(1)[0]
    turned = upright.transpose(Image.Transpose.ROTATE_90)  # viewers must turn it back, clockwise
    turned.getexif()[0x0112] = 6
    assert small.detect([turned]) == small.detect([upright])
    clear = upright.convert("RGBA")
    clear.putalpha(0)
    assert small.detect([clear]) == small.detect([Image.new("RGB", upright.size, "white")])


def test_the_provider_in_use_is_reported(small):
    assert small.provider == CPU_PROVIDER


@pytest.mark.skipif(CUDA_PROVIDER in onnxruntime.get_available_providers(), reason="this ONNX Runtime has CUDA")
def test_cuda_is_refused_where_there_is_none_instead_of_falling_back(small_detector_dir):
    with pytest.raises(ProviderUnavailableError, match="onnxruntime-gpu"):
        ProductDetector.from_pretrained(small_detector_dir, providers=[CUDA_PROVIDER, CPU_PROVIDER])


def test_a_silent_fallback_inside_onnxruntime_is_refused(small_detector_dir, monkeypatch):
    # A GPU build on a machine without a driver lists CUDA, fails to start it, and runs on the CPU.
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA_PROVIDER, CPU_PROVIDER])
    real = onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime, "InferenceSession", lambda path, options, providers: real(path, options, [CPU_PROVIDER])
    )
    with pytest.raises(ProviderUnavailableError, match="fell back"):
        ProductDetector.from_pretrained(small_detector_dir, providers=[CUDA_PROVIDER, CPU_PROVIDER])


def test_the_version_follows_weights_and_configuration(small_detector_dir, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(small_detector_dir, folder)
    first = compute_detector_version(folder)
    assert first == compute_detector_version(small_detector_dir) == ProductDetector.from_pretrained(folder).version
    assert len(first) == 16
    int(first, 16)
    replace(DetectorConfig.read(folder), score_threshold=0.5).write(folder)
    second = compute_detector_version(folder)
    (folder / "detector.onnx").write_bytes((folder / "detector.onnx").read_bytes() + b"\0")
    assert len({first, second, compute_detector_version(folder)}) == 3


def test_missing_weights_are_named(small_detector_dir, tmp_path):
    shutil.copy(small_detector_dir / "config.json", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"detector\.onnx"):
        ProductDetector.from_pretrained(tmp_path)


def test_the_shipped_detector_is_small_and_finds_a_product_on_a_plain_ground(demo_photo):
    folder = checkpoint_dir("detector")
    assert sum(path.stat().st_size for path in folder.iterdir()) < 3 * 2**20
    photo, box = demo_photo
    (region,) = ProductDetector.from_pretrained().detect([photo])
    assert compute_iou(region.box, box) > 0.7


def test_a_mirrored_photo_has_the_mirrored_region(demo_photo):
    photo, _ = demo_photo
    there, back = ProductDetector.from_pretrained().detect([photo, photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT)])
    x0, y0, x1, y1 = there.box
    assert back.box == pytest.approx((1 - x1, y0, 1 - x0, y1), abs=0.01)


@pytest.fixture
def demo_photo():
    """A striped bag, drawn by the test, on light grey."""
    photo = Image.new("RGB", (300, 400), (226, 226, 224))
    bag = Image.new("RGB", (150, 120), (150, 40, 60))
    for x in range(0, 150, 20):
        bag.paste((40, 60, 130), (x, 0, x + 8, 120))
    photo.paste(bag, (90, 180))
    return photo, (0.3, 0.45, 0.8, 0.75)
