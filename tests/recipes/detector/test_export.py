import numpy as np
import onnx
import onnxruntime
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx import numpy_helper

from moon_model.detection.detector import ProductDetector
from recipes.detector.export import fold_batch_norms, quantise_channels
from recipes.detector.train import measure_parity


def photos(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 64, 64, 3), dtype=np.uint8)


def test_folding_batch_norms_changes_no_answer_and_leaves_none(small_network):
    folded = fold_batch_norms(small_network)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())
    batch = torch.from_numpy(photos(2))
    with torch.no_grad():
        for before, after in zip(small_network(batch), folded(batch), strict=True):
            torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-4)


def test_the_file_answers_like_the_network(small_network, small_detector_dir):
    errors = measure_parity(small_network, ProductDetector.from_pretrained(small_detector_dir), photos(8))
    assert errors["score"] < 0.02
    assert errors["box"] < 0.02


def test_the_file_does_exactly_what_its_rounded_weights_say(small_network, small_detector_dir):
    """Round the network's own weights in the same way, so that only errors of float arithmetic remain."""
    rounded = fold_batch_norms(small_network)
    with torch.no_grad():
        for module in rounded.modules():
            if isinstance(module, torch.nn.Conv2d) and module.weight.numel() >= 256:
                packed, scale = quantise_channels(module.weight.numpy())
                module.weight.copy_(torch.from_numpy(packed * scale.reshape(-1, 1, 1, 1)))
        logits, boxes = rounded(torch.from_numpy(photos(2)))
    session = onnxruntime.InferenceSession(small_detector_dir / "detector.onnx")
    scores, found = session.run(["scores", "boxes"], {"photos": photos(2)})
    np.testing.assert_allclose(scores, logits.sigmoid(), atol=1e-4)
    np.testing.assert_allclose(found, boxes, atol=1e-3)


def test_weights_are_stored_as_int8(small_detector_dir):
    model = onnx.load(small_detector_dir / "detector.onnx")
    sizes = {tensor.name: numpy_helper.to_array(tensor).nbytes for tensor in model.graph.initializer}
    packed = sum(size for name, size in sizes.items() if name.endswith(".int8"))
    assert packed > 0.8 * sum(sizes.values())


@given(hnp.arrays(np.float32, (3, 4, 1, 1), elements=st.floats(-100, 100, width=32)))
def test_rounding_errs_by_half_a_step_at_most(values):
    packed, scale = quantise_channels(values)
    assert packed.dtype == np.int8
    error = np.abs(packed * scale.reshape(-1, 1, 1, 1) - values)
    assert (error <= 0.5001 * scale.reshape(-1, 1, 1, 1)).all()
