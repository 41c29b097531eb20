"""A network: its layers, the shapes of its tensors, its matrices, and its lowered steps.

Ciphertexts are never relinearised or rescaled inside a network, so sizes and scales follow from
the graph alone: a tensor of `polys` polynomials carries its values times 2^scale_log2, and a
product adds scales and sizes (docs/protocol.md, section 16).

The model's integers are all matrices one after the other, row major, the bias last in its row:
this is the order of the commitment, of the registration and of `public_weights`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from protocol.encoding import Value, expect_int, expect_tuple
from protocol.errors import ModelError
from protocol.families import MAX_INTEGERS, WEIGHT_BITS
from protocol.layers import (
    MAX_LAYERS,
    MAX_UNITS,
    Add,
    Conv2d,
    Dense,
    Gather,
    GroupedSelection,
    Layer,
    Mul,
    Polynomial,
    PrivateSelection,
    Scale,
    Selection,
    SumPool,
    layer_from_value,
    square,
)
from protocol.nodes import Affine, AffineTerm, Int64s, Node, Power, Product

__all__ = [
    "Add",
    "Affine",
    "AffineTerm",
    "Conv2d",
    "Dense",
    "Gather",
    "Graph",
    "GroupedSelection",
    "Layer",
    "Matrix",
    "Mul",
    "Node",
    "Polynomial",
    "Power",
    "PrivateSelection",
    "Product",
    "Scale",
    "Selection",
    "SumPool",
    "Tensor",
    "linear_graph",
    "square",
]

MAX_POLYS = 16
"""Size of a ciphertext: SEAL decrypts no larger one."""
MAX_ENTRIES = 1 << 20
"""Entries of all sparse matrices together."""
FRESH_POLYS = 2


@dataclass(frozen=True)
class Tensor:
    """What a tensor looks like under encryption.

    Attributes:
        units: ciphertexts.
        polys: polynomials of each, t.
        scale_log2: values are encoded times 2^scale_log2.
    """

    units: int
    polys: int
    scale_log2: int


@dataclass(frozen=True)
class Matrix:
    """Where the integers of one layer stand.

    Attributes:
        layer: index of the layer.
        offset: of its first integer among the model's.
        rows: units, or channels of a convolution.
        columns: weights per row, the bias not counted.
        bias: whether a bias ends each row.
    """

    layer: int
    offset: int
    rows: int
    columns: int
    bias: bool

    @property
    def width(self) -> int:
        """Integers per row."""
        return self.columns + self.bias

    @property
    def size(self) -> int:
        """Integers of the matrix."""
        return self.rows * self.width


@dataclass(frozen=True)
class _Pattern:
    """A term without source and factor: what does not depend on scales."""

    outputs: Int64s
    inputs: Int64s
    weights: Int64s | None = None
    bias: Int64s | None = None
    selects: bool = False


@dataclass(frozen=True)
class Graph:
    """A validated network.

    Attributes:
        inputs: K, units of tensor 0.
        layers: in order; the output is the last one's tensor.

    Raises:
        ModelError: a layer does not fit its sources, a result is never used, or a limit of this
            module is exceeded; nothing large is made before every limit holds.
    """

    inputs: int
    layers: tuple[Layer, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.layers) <= MAX_LAYERS:
            raise ModelError(f"a network has 1 to {MAX_LAYERS} layers, found {len(self.layers)}")
        widest = MAX_INTEGERS if self.linear else MAX_UNITS
        if not 1 <= self.inputs <= widest:
            raise ModelError(f"a model has 1 to {widest} inputs")
        shapes = self._shapes
        if self.integers_count > MAX_INTEGERS:
            raise ModelError(
                f"{self.integers_count} weights and biases, a model has at most {MAX_INTEGERS}"
            )
        used = {source for layer in self.layers for source in layer.sources}
        unused = set(range(len(shapes) - 1)) - used
        if unused:
            raise ModelError(f"nothing uses the result of layer {min(unused) - 1}")
        entries = sum(self._entries(index) for index in range(len(self.layers)))
        if entries > MAX_ENTRIES:
            raise ModelError(f"the matrices have {entries} entries, at most {MAX_ENTRIES}")

    @property
    def linear(self) -> bool:
        """Whether this is a linear model: one dense layer on the inputs."""
        return len(self.layers) == 1 and isinstance(self.layers[0], Dense)

    @property
    def outputs_count(self) -> int:
        """J, units of the last tensor."""
        return self._shapes[-1][0]

    @property
    def output_polys(self) -> int:
        """t, polynomials of an output ciphertext."""
        return self._shapes[-1][1]

    @property
    def integers_count(self) -> int:
        """Weights and biases of all matrices."""
        return sum(matrix.size for matrix in self.matrices)

    @cached_property
    def multiplicative_depth(self) -> int:
        """Most multiplications of ciphertexts on one path from the input to the output."""
        depths = [0]
        for layer in self.layers:
            below = max(depths[source] for source in layer.sources)
            if isinstance(layer, Polynomial):
                below += (layer.degree - 1).bit_length()
            depths.append(below + isinstance(layer, Mul))
        return depths[-1]

    @cached_property
    def _shapes(self) -> tuple[tuple[int, int], ...]:
        """(units, polys) of every tensor."""
        shapes = [(self.inputs, FRESH_POLYS)]
        for index, layer in enumerate(self.layers):
            if max(layer.sources) > index:
                raise ModelError(f"layer {index} reads a tensor that does not exist before it")
            units, polys = _result_shape(index, layer, [shapes[i] for i in layer.sources])
            if units > MAX_UNITS:
                raise ModelError(f"layer {index} makes {units} units, at most {MAX_UNITS}")
            if polys > MAX_POLYS:
                raise ModelError(
                    f"layer {index} makes ciphertexts of {polys} polynomials, at most {MAX_POLYS}: "
                    "at most three squarings in a row"
                )
            shapes.append((units, polys))
        return tuple(shapes)

    @cached_property
    def matrices(self) -> tuple[Matrix, ...]:
        """The matrices, in layer order, one after the other among the model's integers."""
        found: list[Matrix] = []
        offset = 0
        for index, layer in enumerate(self.layers):
            if isinstance(layer, Dense | PrivateSelection):
                rows, columns = _matrix_shape(layer, self._shapes[layer.source][0])
                matrix = Matrix(index, offset, rows, columns, isinstance(layer, Dense))
            elif isinstance(layer, Conv2d):
                matrix = Matrix(index, offset, layer.channels, layer.taps, bias=True)
            else:
                continue
            found.append(matrix)
            offset += matrix.size
        return tuple(found)

    @cached_property
    def _matrix_of(self) -> dict[int, Matrix]:
        return {matrix.layer: matrix for matrix in self.matrices}

    def tensors(self, input_scale_log2: int) -> tuple[Tensor, ...]:
        """Every tensor, the input first: one more than there are layers."""
        scales = [input_scale_log2]
        for layer in self.layers:
            scales.append(_result_scale(layer, [scales[source] for source in layer.sources]))
        return tuple(
            Tensor(units, polys, scale)
            for (units, polys), scale in zip(self._shapes, scales, strict=True)
        )

    def nodes(self, input_scale_log2: int) -> tuple[Node, ...]:
        """The lowered layers, one per layer, for inputs of this scale."""
        if input_scale_log2 not in self._lowered:
            scales = [tensor.scale_log2 for tensor in self.tensors(input_scale_log2)]
            self._lowered[input_scale_log2] = tuple(
                self._lower(index, layer, scales) for index, layer in enumerate(self.layers)
            )
        return self._lowered[input_scale_log2]

    @cached_property
    def _lowered(self) -> dict[int, tuple[Node, ...]]:
        """Lowered layers by input scale; their index arrays are shared."""
        return {}

    def _lower(self, index: int, layer: Layer, scales: list[int]) -> Node:
        if isinstance(layer, Mul):
            return Product(layer.left, layer.right)
        if isinstance(layer, Polynomial):
            return Power(layer.source, layer.aligned(scales[layer.source]))
        pattern, units = self._patterns[index], self._shapes[index + 1][0]
        factors = [layer.factor if isinstance(layer, Scale) else 1]
        if isinstance(layer, Add):
            factors = [1 << (scales[index + 1] - scales[source]) for source in layer.sources]
        terms = tuple(
            AffineTerm(
                source,
                pattern.outputs,
                pattern.inputs,
                pattern.weights,
                factor,
                units,
                pattern.selects,
            )
            for source, factor in zip(layer.sources, factors, strict=True)
        )
        bias_factor = 0 if pattern.bias is None else 1 << scales[layer.sources[0]]
        return Affine(units, terms, pattern.bias, bias_factor)

    @cached_property
    def _patterns(self) -> dict[int, _Pattern]:
        """Index arrays of the affine layers, read-only: they are shared by every lowering."""
        found = {}
        for index, layer in enumerate(self.layers):
            if isinstance(layer, Mul | Polynomial):
                continue
            pattern = self._pattern(index, layer)
            for array in (pattern.outputs, pattern.inputs, pattern.weights, pattern.bias):
                if array is not None:
                    array.flags.writeable = False
            found[index] = pattern
        return found

    def _pattern(self, index: int, layer: Layer) -> _Pattern:
        if isinstance(layer, Dense):
            return _dense_pattern(self._matrix_of[index])
        if isinstance(layer, Selection):
            return _selection_pattern(self._matrix_of[index], layer.positions)
        if isinstance(layer, GroupedSelection):
            return _grouped_pattern(self._matrix_of[index])
        if isinstance(layer, Conv2d):
            return _convolution_pattern(layer, self._matrix_of[index])
        if isinstance(layer, SumPool):
            return _pooling_pattern(layer)
        identity = np.arange(self._shapes[index + 1][0], dtype=np.int64)
        if isinstance(layer, Gather):
            return _Pattern(identity, np.array(layer.units, dtype=np.int64))
        return _Pattern(identity, identity)

    def _entries(self, index: int) -> int:
        """Matrix entries of one layer, an upper bound in the case of padding."""
        layer, units = self.layers[index], self._shapes[index + 1][0]
        if isinstance(layer, Dense | PrivateSelection):
            positions = layer.positions if isinstance(layer, Selection) else 1
            return self._matrix_of[index].rows * self._matrix_of[index].columns * positions
        if isinstance(layer, Conv2d):
            return units * layer.taps
        if isinstance(layer, SumPool):
            return units * layer.area
        return units * len(layer.sources)

    def value(self) -> Value:
        """The canonical value that is hashed, stored and sent."""
        return (self.inputs, tuple(layer.value() for layer in self.layers))

    @classmethod
    def from_value(cls, value: Value) -> Graph:
        """Rebuild and validate from a decoded value.

        Raises:
            EncodingError, ModelError: anything but a supported network.
        """
        inputs, encoded = expect_tuple(value, "graph", 2)
        layers = expect_tuple(encoded, "layers")
        if len(layers) > MAX_LAYERS:
            raise ModelError(f"a network has at most {MAX_LAYERS} layers, found {len(layers)}")
        return cls(expect_int(inputs, "inputs"), tuple(map(layer_from_value, layers)))


def linear_graph(inputs: int, outputs: int) -> Graph:
    """The graph of a linear model."""
    return Graph(inputs, (Dense(0, outputs),))


def _result_shape(index: int, layer: Layer, sources: list[tuple[int, int]]) -> tuple[int, int]:
    """(units, polys) of a layer's result.  Raises ModelError when its sources do not fit it."""
    units, polys = sources[0]
    if isinstance(layer, Conv2d | SumPool) and units != math.prod(layer.shape):
        raise ModelError(f"layer {index} wants an image of {layer.shape}, found {units} units")
    if isinstance(layer, Selection | GroupedSelection):
        parts = layer.positions if isinstance(layer, Selection) else layer.groups
        if units % parts:
            raise ModelError(f"layer {index} splits {units} units into {parts} equal parts")
        return layer.units * parts if isinstance(layer, Selection) else parts, polys
    if isinstance(layer, Gather):
        if max(layer.units) >= units:
            raise ModelError(
                f"layer {index} gathers unit {max(layer.units)}, its source has only {units}"
            )
        return len(layer.units), polys
    if isinstance(layer, Dense | Conv2d | SumPool):
        return layer.units, polys
    if isinstance(layer, Polynomial):
        return units, layer.degree * (polys - 1) + 1
    if isinstance(layer, Scale):
        return units, polys
    other_units, other_polys = sources[1]
    if units != other_units:
        raise ModelError(f"layer {index} joins {units} units with {other_units}")
    return units, polys + other_polys - 1 if isinstance(layer, Mul) else max(polys, other_polys)


def _result_scale(layer: Layer, sources: list[int]) -> int:
    """log2 of the scale of a layer's result."""
    if isinstance(layer, Dense | Conv2d):
        return sources[0] + WEIGHT_BITS
    if isinstance(layer, Polynomial):
        return layer.degree * sources[0] + layer.coefficient_bits
    if isinstance(layer, Mul):
        return sum(sources)
    return max(sources)


def _dense_pattern(matrix: Matrix) -> _Pattern:
    rows = np.arange(matrix.rows, dtype=np.int64)
    columns = np.arange(matrix.columns, dtype=np.int64)
    starts = matrix.offset + rows * matrix.width
    return _Pattern(
        outputs=np.repeat(rows, matrix.columns),
        inputs=np.tile(columns, matrix.rows),
        weights=(starts[:, None] + columns).reshape(-1),
        bias=starts + matrix.columns if matrix.bias else None,
    )


def _matrix_shape(layer: Dense | PrivateSelection, source_units: int) -> tuple[int, int]:
    """(rows, columns) of a layer's matrix, the bias not counted."""
    if isinstance(layer, GroupedSelection):
        return layer.groups, source_units // layer.groups
    if isinstance(layer, Selection):
        return layer.units, source_units // layer.positions
    return layer.units, source_units


def _selection_pattern(matrix: Matrix, positions: int) -> _Pattern:
    """Entries (choice, position, channel): a choice has one row of integers for all positions."""
    axes = (matrix.rows, positions, matrix.columns)
    choice, position, channel = np.indices(axes, dtype=np.int64, sparse=True)

    def flat(index: Int64s) -> Int64s:
        return np.broadcast_to(index, axes).reshape(-1)

    return _Pattern(
        outputs=flat(choice * positions + position),
        inputs=flat(channel * positions + position),
        weights=flat(matrix.offset + choice * matrix.columns + channel),
        selects=True,
    )


def _grouped_pattern(matrix: Matrix) -> _Pattern:
    """Entries (group, column): units and integers stand in one order."""
    entries = np.arange(matrix.size, dtype=np.int64)
    return _Pattern(
        outputs=entries // matrix.columns,
        inputs=entries,
        weights=matrix.offset + entries,
        selects=True,
    )


def _convolution_pattern(layer: Conv2d, matrix: Matrix) -> _Pattern:
    """Entries (channel, place, tap) without those that fall on the padding."""
    channels, height, width = layer.shape
    rows = _window_starts(layer.places[0], layer.stride[0], layer.padding[0])
    lines = _window_starts(layer.places[1], layer.stride[1], layer.padding[1])
    # axes: y', x', input channel, dy, dx
    y = rows[:, None] + np.arange(layer.kernel[0])
    x = lines[:, None] + np.arange(layer.kernel[1])
    y, x = y[:, None, None, :, None], x[None, :, None, None, :]
    plane = np.arange(channels, dtype=np.int64)[None, None, :, None, None] * (height * width)
    positions = layer.places[0] * layer.places[1]
    inside = np.broadcast_to((y >= 0) & (y < height) & (x >= 0) & (x < width), _axes(layer))
    inside = inside.reshape(positions, layer.taps)
    inputs = np.broadcast_to(plane + y * width + x, _axes(layer)).reshape(positions, layer.taps)
    place, tap = np.nonzero(inside)
    kernels = np.arange(layer.channels, dtype=np.int64)[:, None]
    starts = matrix.offset + kernels * matrix.width
    return _Pattern(
        outputs=(kernels * positions + place).reshape(-1),
        inputs=np.tile(inputs[inside], layer.channels),
        weights=(starts + tap).reshape(-1),
        bias=np.repeat(starts[:, 0] + matrix.columns, positions),
    )


def _axes(layer: Conv2d) -> tuple[int, ...]:
    return (*layer.places, layer.shape[0], *layer.kernel)


def _pooling_pattern(layer: SumPool) -> _Pattern:
    channels, height, width = layer.shape
    rows = _window_starts(layer.places[0], layer.stride[0], 0)
    lines = _window_starts(layer.places[1], layer.stride[1], 0)
    # axes: channel, y', x', dy, dx
    plane = np.arange(channels, dtype=np.int64)[:, None, None, None, None] * (height * width)
    y = (rows[:, None] + np.arange(layer.kernel[0]))[None, :, None, :, None]
    x = (lines[:, None] + np.arange(layer.kernel[1]))[None, None, :, None, :]
    return _Pattern(
        outputs=np.repeat(np.arange(layer.units, dtype=np.int64), layer.area),
        inputs=(plane + y * width + x).reshape(-1),
    )


def _window_starts(places: int, stride: int, padding: int) -> Int64s:
    return np.arange(places, dtype=np.int64) * stride - padding
