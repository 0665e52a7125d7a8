"""EfficientNet-Lite0 in ONNX Runtime: the same weights, 2-3 times faster than torch on a CPU.

The graph is built in memory from the torch module when an encoder starts (0.1 s). A checkpoint therefore has the
weights only once, and a fine-tuned tower needs no export.
"""

from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from moon_model.backbones.compact import LITE0_FEATURES, EfficientNetLite0, InvertedBottleneck, SameConv

_OPSET = 17
_IR_VERSION = 8


class OnnxTrunk(nn.Module):
    """Replacement of ``backbone.vision.trunk`` for inference on the CPU: float32, without gradients.

    Args:
        trunk: the network whose weights are copied.
        threads: intra-op threads; the default is one because a Spark worker has one core.
    """

    def __init__(self, trunk: EfficientNetLite0, threads: int = 1) -> None:
        super().__init__()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        graph = build_graph(trunk).SerializeToString()
        self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    def forward(self, pixels: Tensor) -> Tensor:
        """Normalised pixels [V, 3, S, S] -> grid float32 [V, 1280, S/32, S/32]."""
        views = np.ascontiguousarray(pixels.float().numpy())
        # One view per run: larger batches are no faster and do not fit into the CPU's caches.
        grids = [self._session.run(None, {"pixels": views[index : index + 1]})[0] for index in range(len(views))]
        return torch.from_numpy(np.concatenate(grids))


def build_graph(trunk: EfficientNetLite0) -> onnx.ModelProto:
    """ONNX model of the trunk: ``pixels`` [V, 3, S, S] -> ``grid`` [V, 1280, S/32, S/32]."""
    graph = _Graph()
    last = graph.relu6(graph.conv(trunk.stem, "pixels"))
    for block in trunk.blocks:
        assert isinstance(block, InvertedBottleneck)  # noqa: S101  # the type of every block
        last = graph.bottleneck(block, last)
    last = graph.relu6(graph.conv(trunk.head, last))
    graph.add("Identity", [last], output="grid")
    pixels = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["views", 3, "side", "side"])
    grid = helper.make_tensor_value_info("grid", TensorProto.FLOAT, ["views", LITE0_FEATURES, "rows", "columns"])
    proto = helper.make_graph(graph.nodes, "efficientnet_lite0", [pixels], [grid], graph.weights)
    model = helper.make_model(proto, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)
    onnx.checker.check_model(model)
    return model


class _Graph:
    """Nodes and weights of a graph, in order; each method adds nodes and returns the name of their output."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        limits = {"zero": np.float32(0), "six": np.float32(6)}
        self.weights = [numpy_helper.from_array(np.array(value), name) for name, value in limits.items()]

    def add(self, kind: str, inputs: list[str], output: str | None = None, **attributes: Any) -> str:
        output = output or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def relu6(self, name: str) -> str:
        return self.add("Clip", [name, "zero", "six"])

    def conv(self, module: SameConv, name: str) -> str:
        weight = f"weight_{len(self.nodes)}"
        bias = f"bias_{len(self.nodes)}"
        for label, tensor in ((weight, module.weight), (bias, module.bias)):
            self.weights.append(numpy_helper.from_array(tensor.detach().float().cpu().numpy(), label))
        extra = module.kernel_size[0] - module.stride[0]  # "same" padding, see SameConv
        pads = [extra // 2] * 2 + [extra - extra // 2] * 2
        return self.add("Conv", [name, weight, bias], strides=list(module.stride), group=module.groups, pads=pads)

    def bottleneck(self, block: InvertedBottleneck, name: str) -> str:
        inner = name if block.expand is None else self.relu6(self.conv(block.expand, name))
        projected = self.conv(block.project, self.relu6(self.conv(block.depthwise, inner)))
        return self.add("Add", [projected, name]) if block.skip else projected
