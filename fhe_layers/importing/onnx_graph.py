"""ONNX files as a list of nodes: parsed, checked, and nothing read that is not in the file.

A model comes from somewhere else. It is parsed by `onnx` from bytes of limited size, tensors kept
in other files are refused, and constants are computed only with operators whose results are hardly
larger than what goes in.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from fhe_layers.importing.imported import UnsupportedModelError
from protocol.errors import ModelError

Array: TypeAlias = npt.NDArray[Any]

MAX_MODEL_BYTES = 64 << 20
MAX_NODES = 10_000
MAX_CONSTANT = 1 << 22
"""Entries of a computed constant."""


@dataclass(frozen=True, eq=False)
class Node:
    """One node.

    Attributes:
        index: in the graph.
        operator: its type: "Gemm".
        name: as a person knows it: the module of PyTorch where that is noted, else the node's own.
        inputs, outputs: tensors; "" is one that is left out.
        attributes: as Python values; tensors as arrays, texts decoded.
        proto: as the file has it.
    """

    index: int
    operator: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(repr=False)
    proto: Any = field(repr=False)

    def number(self, name: str, default: float) -> float:
        """An attribute that is a number."""
        return float(self.attributes.get(name, default))

    def integer(self, name: str, default: int) -> int:
        """An attribute that is an integer."""
        return int(self.attributes.get(name, default))

    def text(self, name: str, default: str) -> str:
        """An attribute that is a text."""
        return str(self.attributes.get(name, default))

    def numbers(self, name: str) -> Array:
        """An attribute that is a list of numbers; empty if it is not there."""
        return np.asarray(self.attributes.get(name, ()), dtype=np.float64)


@dataclass(frozen=True)
class GraphInput:
    """One input.

    Attributes:
        name: of the tensor.
        text: whether it holds texts.
        shape: None for an axis of any length, as the batch should be.
        dtype: of numbers.
    """

    name: str
    text: bool
    shape: tuple[int | None, ...]
    dtype: np.dtype[Any]


@dataclass(frozen=True, eq=False)
class Graph:
    """What an ONNX model says.

    Attributes:
        model: as parsed, functions inlined.
        inputs: those which are not constants.
        outputs: names of tensors.
        constants: initialisers by name.
        nodes: those that outputs need, in order.
        opsets: versions of operator sets by domain.
    """

    model: Any = field(repr=False)
    inputs: tuple[GraphInput, ...]
    outputs: tuple[str, ...]
    constants: dict[str, Array] = field(repr=False)
    nodes: tuple[Node, ...] = field(repr=False)
    opsets: dict[str, int]

    @property
    def batch(self) -> int | None:
        """The number of records it was exported for, None if any."""
        return self.inputs[0].shape[0] if self.inputs[0].shape else None


def require_onnx() -> Any:  # noqa: ANN401
    """The package.  Raises ModelError: it is not installed."""
    try:
        import onnx
    except ImportError:
        raise ModelError(
            "ONNX models are read with the package onnx: pip install 'blindproof[onnx]'"
        ) from None
    return onnx


def read_graph(model: Any) -> Graph:  # noqa: ANN401
    """A path, the bytes of a file, or a ModelProto.

    Raises:
        ModelError: not a valid model, or one that is too large.
        UnsupportedModelError: tensors outside the file, or sparse ones.
    """
    onnx = require_onnx()
    proto = _parsed(onnx, model)
    if proto.ByteSize() > MAX_MODEL_BYTES:
        raise ModelError(f"the ONNX model is larger than {MAX_MODEL_BYTES >> 20} MiB")
    for tensor in _tensors(proto.graph, *proto.functions):
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            raise UnsupportedModelError(
                tensor.name or "constant",
                "initializer",
                "its numbers are in another file",
                "a model in one file: onnx.save(model, path, save_as_external_data=False)",
            )
    if proto.graph.sparse_initializer:
        raise UnsupportedModelError(
            proto.graph.name or "graph", "sparse_initializer", "it is sparse", "dense tensors"
        )
    try:
        onnx.checker.check_model(proto)
    except (onnx.checker.ValidationError, ValueError, TypeError) as error:
        raise ModelError(f"not a valid ONNX model: {str(error).splitlines()[0][:200]}") from None
    if proto.functions:
        from onnx.inliner import inline_local_functions

        proto = inline_local_functions(proto)
    if len(proto.graph.node) > MAX_NODES:
        raise ModelError(f"the ONNX model has more than {MAX_NODES} nodes")
    outputs = tuple(item.name for item in proto.graph.output)
    try:
        constants = {
            tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in proto.graph.initializer
        }
        inputs = tuple(
            _graph_input(onnx, item) for item in proto.graph.input if item.name not in constants
        )
        nodes = _needed(onnx, proto, outputs)
    except (LookupError, TypeError, ValueError):  # nothing that the checker looks at
        raise ModelError(
            "not a valid ONNX model: a tensor of unknown type, or of another size than its shape"
        ) from None
    if not inputs:
        raise ModelError("the ONNX model has no inputs")
    opsets = {item.domain: item.version for item in proto.opset_import}
    return Graph(proto, inputs, outputs, constants, nodes, opsets)


def computed(
    node: Node, inputs: Sequence[Array | None], opsets: Mapping[str, int]
) -> tuple[Array, ...]:
    """The outputs of a node whose inputs are all constants, None for one that is left out.

    The node is one of CONSTANT_OPERATORS.

    Raises:
        UnsupportedModelError: constants that do not fit it, or that are too large.
    """
    from onnx.reference import ReferenceEvaluator

    given = [item for item in inputs if item is not None]
    try:
        size = math.prod(np.broadcast_shapes(*(item.shape for item in given)))
    except ValueError:
        size = 0
    if size + sum(item.size for item in given) > MAX_CONSTANT:
        raise UnsupportedModelError(
            node.name, node.operator, "its result is too large", "smaller constants"
        )
    try:
        evaluator = ReferenceEvaluator(node.proto, opsets=dict(opsets))
        feeds = {name: item for name, item in zip(node.inputs, inputs, strict=True) if name}
        results = evaluator.run(None, feeds)
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise UnsupportedModelError(
            node.name,
            node.operator,
            f"its constants cannot be computed ({str(error).splitlines()[0][:120]})",
            "a constant in its place",
        ) from None
    return tuple(np.asarray(result) for result in results)


CONSTANT_OPERATORS = frozenset(
    {
        "Abs", "Add", "Cast", "Concat", "Constant", "Div", "Equal", "Exp", "Flatten", "Floor",
        "Gather", "Identity", "Max", "Min", "Mul", "Neg", "Pow", "Reciprocal", "ReduceMean",
        "ReduceProd", "ReduceSum", "Reshape", "Shape", "Size", "Slice", "Sqrt", "Squeeze", "Sub",
        "Transpose", "Unsqueeze", "Where",
    }
)  # fmt: skip


def _parsed(onnx: Any, model: Any) -> Any:  # noqa: ANN401
    if isinstance(model, onnx.ModelProto):
        return model
    if isinstance(model, str | Path):
        path = Path(model)
        if path.stat().st_size > MAX_MODEL_BYTES:
            raise ModelError(f"{path.name} is larger than {MAX_MODEL_BYTES >> 20} MiB")
        model = path.read_bytes()
    if not isinstance(model, bytes):
        raise ModelError("an ONNX model is given as a path, as bytes or as a ModelProto")
    if len(model) > MAX_MODEL_BYTES:
        raise ModelError(f"the ONNX model is larger than {MAX_MODEL_BYTES >> 20} MiB")
    from google.protobuf.message import DecodeError

    try:
        return onnx.ModelProto.FromString(model)
    except DecodeError:
        raise ModelError("not an ONNX model: the bytes cannot be parsed") from None


def _tensors(*holders: Any) -> Iterator[Any]:  # noqa: ANN401
    """Every tensor of graphs and functions, and of graphs inside them."""
    for holder in holders:
        yield from getattr(holder, "initializer", ())
        for node in holder.node:
            for attribute in node.attribute:
                yield attribute.t
                yield from attribute.tensors
                yield from _tensors(*([attribute.g] if attribute.g.node else []), *attribute.graphs)


def _graph_input(onnx: Any, item: Any) -> GraphInput:  # noqa: ANN401
    kind = item.type.tensor_type
    if not item.type.HasField("tensor_type"):
        raise ModelError(f"input '{item.name}' of the ONNX model is no tensor")
    text = kind.elem_type == onnx.TensorProto.STRING
    dtype = np.dtype(np.float32) if text else onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
    shape = tuple(
        axis.dim_value if axis.HasField("dim_value") and axis.dim_value > 0 else None
        for axis in kind.shape.dim
    )
    return GraphInput(item.name, text, shape, dtype)


def _needed(onnx: Any, proto: Any, outputs: Sequence[str]) -> tuple[Node, ...]:  # noqa: ANN401
    """The nodes that the outputs need, in order."""
    wanted = set(outputs)
    kept = []
    for index in range(len(proto.graph.node) - 1, -1, -1):
        node = proto.graph.node[index]
        if wanted.intersection(name for name in node.output if name):
            wanted.update(node.input)
            kept.append(_node(onnx, index, node))
    return tuple(reversed(kept))


def _node(onnx: Any, index: int, proto: Any) -> Node:  # noqa: ANN401
    attributes = {}
    for attribute in proto.attribute:
        if attribute.type == onnx.AttributeProto.TENSOR:
            attributes[attribute.name] = onnx.numpy_helper.to_array(attribute.t)
        else:
            attributes[attribute.name] = _decoded(onnx.helper.get_attribute_value(attribute))
    name = proto.name or f"{proto.op_type} {index}"
    module = next((item.value for item in proto.metadata_props if item.key == "namespace"), "")
    return Node(
        index,
        proto.op_type,
        _module(module) or name,
        tuple(proto.input),
        tuple(proto.output),
        attributes,
        proto,
    )


def _module(namespace: str) -> str:
    """The innermost module that PyTorch's exporter notes: "layers.2 (ReLU)"."""
    for scope in reversed(namespace.split("/")[:-1]):
        path, _, kind = scope.partition(": ")
        if path and kind:
            return f"{path} ({kind.rsplit('.', 1)[-1]})"
    return ""


def _decoded(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, list | tuple):
        return [_decoded(item) for item in value]
    return value
