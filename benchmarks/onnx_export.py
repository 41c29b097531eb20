"""Networks of dense layers, convolutions and squares as ONNX files, for peers that read those."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fhe_layers.spec import SQUARE, Conv2dSpec, DenseSpec, FlattenSpec, NetworkSpec, PolynomialSpec
from protocol.errors import BlindproofError

# Old enough for every reader, new enough for the operators below.
OPERATOR_SET = 13
FORMAT_VERSION = 8


class ExportError(BlindproofError):
    """A layer that is not written here in ONNX's operators."""


def write_onnx(network: NetworkSpec, path: Path) -> None:
    """Write a network that takes one normalised record (1, *network.shape), in single precision.

    Needs the package `onnx`.

    Raises:
        ExportError: there are other layers than dense ones, convolutions and squares, or one that
            does not read the layer before it.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes, numbers, current = [], [], "input"
    for index, layer in enumerate(network.layers):
        if network.sources(index) != (index,):
            raise ExportError(f"layer {index} ({layer.name}) does not read the layer before it")
        result = f"tensor_{index + 1}"
        if isinstance(layer, DenseSpec | Conv2dSpec):
            if isinstance(layer, DenseSpec) and len(network.shapes[index]) > 1:
                nodes.append(helper.make_node("Flatten", [current], [f"flat_{index}"], axis=1))
                current = f"flat_{index}"
            names = [f"weights_{index}", f"bias_{index}"]
            numbers += [
                numpy_helper.from_array(values.astype(np.float32), name)
                for name, values in zip(names, (layer.weights, layer.bias), strict=True)
            ]
            given = [current, *names]
        if isinstance(layer, DenseSpec):
            nodes.append(helper.make_node("Gemm", given, [result], transB=1))
        elif isinstance(layer, Conv2dSpec):
            window = {"kernel_shape": layer.kernel, "strides": layer.stride}
            pads = layer.padding * 2  # before each axis, then after each
            nodes.append(helper.make_node("Conv", given, [result], **window, pads=pads))
        elif isinstance(layer, PolynomialSpec) and layer.coefficients == SQUARE:
            nodes.append(helper.make_node("Mul", [current, current], [result]))
        elif isinstance(layer, FlattenSpec):
            nodes.append(helper.make_node("Flatten", [current], [result], axis=1))
        else:
            raise ExportError(f"layer {index} ({layer.name}) is not written in ONNX here")
        current = result
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, *network.shape])],
        [helper.make_tensor_value_info(current, TensorProto.FLOAT, [1, *network.shapes[-1]])],
        numbers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPERATOR_SET)])
    model.ir_version = FORMAT_VERSION
    onnx.checker.check_model(model)
    onnx.save(model, path)
