"""Export of the trained network as one small ONNX file with int8 weights and float arithmetic.

Convolution weights are stored as int8 with one scale per output channel and converted when the session opens
(``DequantizeLinear``). Activations stay float, so the file has a quarter of the size and nearly the same outputs on
every execution provider.
"""

import copy
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from recipes.detector.network import ProductNet

OPSET = 18
_MIN_ELEMENTS = 256
"""Smaller tensors (biases) stay float: int8 would save nothing and cost precision."""


class DeployedNet(nn.Module):
    """The network with the outputs that the detector reads: scores in [0, 1] instead of logits."""

    def __init__(self, network: ProductNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, photos: Tensor) -> tuple[Tensor, Tensor]:
        """Return scores [B, cells] and boxes [B, cells, 4] of photos uint8 [B, S, S, 3]."""
        logits, boxes = self.network(photos)
        return logits.sigmoid(), boxes


def export_onnx(network: ProductNet, path: Path, input_size: int) -> None:
    """Write the network as ONNX with int8 weights.

    Args:
        network: not changed; batch norms are folded in a copy.
        path: file to write.
        input_size: S of the input ``photos``, uint8 [batch, S, S, 3].
    """
    deployed = DeployedNet(fold_batch_norms(network)).eval()
    example = torch.zeros(2, input_size, input_size, 3, dtype=torch.uint8)
    program = torch.onnx.export(
        deployed,
        (example,),
        dynamo=True,
        input_names=["photos"],
        output_names=["scores", "boxes"],
        dynamic_shapes={"photos": {0: torch.export.Dim("batch")}},
        opset_version=OPSET,
        verbose=False,
    )
    assert program is not None  # noqa: S101 (None only without dynamo)
    model = quantise_convolutions(program.model_proto)
    model.metadata_props.clear()
    onnx.checker.check_model(model, full_check=True)
    onnx.save_model(model, path)


def fold_batch_norms(network: ProductNet) -> ProductNet:
    """Return a copy in evaluation mode with every batch norm folded into the convolution before it."""
    folded = copy.deepcopy(network).eval()
    for sequence in (module for module in folded.modules() if isinstance(module, nn.Sequential)):
        for index, (convolution, norm) in enumerate(pairwise(list(sequence))):
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                sequence[index] = fuse_conv_bn_eval(convolution, norm)
                sequence[index + 1] = nn.Identity()
    return folded


def quantise_convolutions(model: onnx.ModelProto) -> onnx.ModelProto:
    """Replace float convolution weights by int8 per output channel and a node that converts them to float.

    Args:
        model: changed in place and returned.
    """
    kernels = {node.input[1] for node in model.graph.node if node.op_type == "Conv"}
    nodes = []
    for tensor in list(model.graph.initializer):
        name = tensor.name
        values = numpy_helper.to_array(tensor)
        if name not in kernels or values.size < _MIN_ELEMENTS:
            continue
        packed, scale = quantise_channels(values)
        model.graph.initializer.remove(tensor)
        for part, array in (("int8", packed), ("scale", scale)):
            model.graph.initializer.append(numpy_helper.from_array(array, f"{name}.{part}"))
        nodes.append(helper.make_node("DequantizeLinear", [f"{name}.int8", f"{name}.scale"], [name], axis=0))
    for index, node in enumerate(nodes):  # the conversions come first: ONNX nodes are in topological order
        model.graph.node.insert(index, node)
    return model


def quantise_channels(values: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return symmetric int8 values and one scale per output channel (axis 0); the error is at most half a scale."""
    peak = np.abs(values).reshape(len(values), -1).max(axis=1)
    scale = np.maximum(peak / 127.0, np.finfo(np.float32).tiny).astype(np.float32)
    shape = (-1,) + (1,) * (values.ndim - 1)
    return np.rint(values / scale.reshape(shape)).clip(-127, 127).astype(np.int8), scale
