"""A real network to the integer network that is committed, evaluated and proved.

Every tensor carries a unit: its real value is unit times the integer network's. A square squares
the unit, an average is a sum whose unit is divided by the window's area, a public factor changes
the unit and nothing else. Weights absorb what came before them:

    W ~ 2^15 w unit_in / unit_out        B ~ 2^15 b / unit_out        |W|, |B| <= 2^15 - 1

A weight layer chooses its unit, a power of two: the smallest, so that its integers use their range,
or up to four bits more where a finer one would leave the next layer's weights small beside its
bias. That would cost the next layer the bits of its weights, and every answer precision: error
bounds count a bias as if it met the layer's largest input.

Units are exact fractions. The output's must be a power of two, which the card states; it is one
whenever the network ends with a weight layer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

import numpy as np

from fhe_layers import plaintext, rns
from fhe_layers.folding import fold
from fhe_layers.plaintext import Array
from fhe_layers.quantise import smallest_unit
from fhe_layers.spec import (
    AddSpec,
    DenseSpec,
    FlattenSpec,
    Floats,
    GatherSpec,
    GroupedSelectionSpec,
    LayerSpec,
    MulSpec,
    NetworkSpec,
    PolynomialSpec,
    PoolSpec,
    ScaleSpec,
    SelectionSpec,
    TensorShape,
    WeightsSpec,
    image_shape,
)
from protocol.errors import ModelError, ParameterError
from protocol.families import WEIGHT_BITS, WEIGHT_BOUND
from protocol.graph import (
    Add,
    Conv2d,
    Dense,
    Gather,
    Graph,
    GroupedSelection,
    Layer,
    Mul,
    Polynomial,
    PrivateSelection,
    Scale,
    Selection,
    SumPool,
)
from protocol.layers import SCALE_FACTOR_BITS

HEADROOM_BITS = 4
"""A layer gives up at most so many bits of its weights for those of the next."""

UNIT_LOG2 = 200
"""Units are within 2^-200 and 2^200: four of them multiplied are still a float."""


@dataclass(frozen=True, eq=False)
class QuantisedNetwork:
    """An integer network.

    Attributes:
        graph: its layers.
        integers: int64 (integers,), all matrices in layer order, row major, bias last in a row.
        row_l1_bounds: one per matrix row, the same for all rows of a matrix; 1 for the rows of a
            selection.
        unit: a power of two; the real output is unit times the integer network's.
        folded: the real network it was made from, batch normalisation and the like removed.
        rounded: the same layers with the numbers that the integers stand for.
        lost: weights that are not zero and became zero.
    """

    graph: Graph
    integers: rns.Integers = field(repr=False)
    row_l1_bounds: tuple[int, ...]
    unit: float
    folded: NetworkSpec = field(repr=False)
    rounded: NetworkSpec = field(repr=False)
    lost: int


def quantise_network(spec: NetworkSpec) -> QuantisedNetwork:
    """Fold, choose units, round.

    Raises:
        ShapeError, NonFiniteError: the layers do not fit together.
        ModelError: something has no integer form, or is larger than a model may be; the message
            says what to change.
    """
    return _Quantiser(fold(spec)).finished()


def simulate(graph: Graph, integers: rns.Integers, inputs: Floats) -> Floats:
    """The integer network on normalised inputs (records, K) -> (records, J), without encryption.

    In extended precision where the machine has it, far below every error bound of an answer. The
    card's unit times this is in the real output's own units.
    """
    return integer_tensors(graph, integers, inputs)[-1].astype(np.float64)


def integer_tensors(graph: Graph, integers: rns.Integers, inputs: Floats) -> list[Array]:
    """Every tensor of the integer network, (records, units) each, the input first."""
    tensors: list[Array] = [inputs.astype(np.longdouble)]
    matrices = {
        matrix.layer: integers[matrix.offset :][: matrix.size].reshape(matrix.rows, matrix.width)
        for matrix in graph.matrices
    }
    for index, layer in enumerate(graph.layers):
        given = [tensors[tensor] for tensor in layer.sources]
        matrix = matrices.get(index, np.zeros((0, 1), dtype=np.int64))
        tensors.append(_integer_layer(layer, given, matrix.astype(np.longdouble)))
    return tensors


class _Quantiser:
    """Walks a folded network once, layer by layer."""

    def __init__(self, spec: NetworkSpec) -> None:
        self._spec = spec
        self._layers: list[Layer] = []
        self._integers: list[rns.Integers] = []
        self._row_l1_bounds: list[int] = []
        self._rounded: list[LayerSpec] = []
        self._lost = 0
        # Of every tensor of the spec: the graph's tensor that stands for it, and its unit.
        self._tensors: list[tuple[int, Fraction]] = [(0, Fraction(1))]
        self._wanted_units = _wanted_units(spec)

    def finished(self) -> QuantisedNetwork:
        """The integer network.  Raises ModelError."""
        for index, layer in enumerate(self._spec.layers):
            self._tensors.append(self._scaled(index, layer))
            self._rounded.append(self._with_rounded_numbers(layer, index))
        unit = self._end_with_a_power_of_two()
        if not self._integers:
            raise ModelError("a network needs at least one layer with weights")
        return QuantisedNetwork(
            graph=Graph(self._spec.inputs, tuple(self._layers)),
            integers=np.ascontiguousarray(np.concatenate(self._integers)),
            row_l1_bounds=tuple(self._row_l1_bounds),
            unit=float(unit),
            folded=self._spec,
            rounded=NetworkSpec(self._spec.shape, tuple(self._rounded)),
            lost=self._lost,
        )

    def _emit(self, layer: Layer) -> int:
        """Append a layer; returns its tensor."""
        self._layers.append(layer)
        return len(self._layers)

    def _scaled(self, index: int, layer: LayerSpec) -> tuple[int, Fraction]:
        """`_add`, its unit one that can be computed with.  Raises ModelError."""
        where = f"layer {index} ({layer.name})"
        try:
            tensor, unit = self._add(index, layer)
        except ParameterError as error:
            raise ModelError(f"{where}: {error}") from None
        if not Fraction(1, 1 << UNIT_LOG2) <= abs(unit) <= 1 << UNIT_LOG2:
            raise ModelError(
                f"{where}: its results are {'large' if abs(unit) > 1 else 'small'} beyond 2^"
                f"{UNIT_LOG2 if abs(unit) > 1 else -UNIT_LOG2}: rescale the layers up to it"
            )
        return tensor, unit

    def _add(self, index: int, layer: LayerSpec) -> tuple[int, Fraction]:
        """Emit what a layer needs; returns the tensor that stands for it and its unit."""
        given = self._spec.sources(index)
        source, unit = self._tensors[given[0]]
        shape = self._spec.shapes[given[0]]
        match layer:
            case ScaleSpec():
                return source, unit * Fraction(layer.factor)
            case PoolSpec():
                pool = SumPool(source, image_shape(shape), layer.kernel, layer.stride)
                return self._emit(pool), unit / pool.area if layer.average else unit
            case SelectionSpec() | GroupedSelectionSpec() | GatherSpec():
                return self._emit(self._choice(layer, source, math.prod(shape))), unit
            case PolynomialSpec():
                coefficients, bits, unit_out = _coefficients(index, layer, unit)
                return self._emit(Polynomial(source, coefficients, bits)), unit_out
            case AddSpec():
                return self._sum(index, self._tensors[given[0]], self._tensors[given[1]])
            case MulSpec():
                right, other = self._tensors[given[1]]
                return self._emit(Mul(source, right)), unit * other
        if isinstance(layer, WeightsSpec):
            return self._emit(_weights_layer(layer, source, shape)), self._round(
                layer, unit, self._wanted_units[index + 1]
            )
        return source, unit  # a flattening; batch normalisation is folded

    def _choice(
        self, layer: SelectionSpec | GroupedSelectionSpec | GatherSpec, source: int, units: int
    ) -> Layer:
        """A choice among the source's units; a private one's integers are appended."""
        match layer:
            case SelectionSpec():
                self._choose(layer.units, units // layer.positions)
                return Selection(source, len(layer.units), layer.positions)
            case GroupedSelectionSpec():
                self._choose(layer.units, units // len(layer.units))
                return GroupedSelection(source, len(layer.units))
            case GatherSpec():
                return Gather(source, layer.units)

    def _choose(self, choices: tuple[int, ...], columns: int) -> None:
        """Append the unit vectors of a selection, a row of so many columns for each choice."""
        rows = np.zeros((len(choices), columns), dtype=np.int64)
        rows[np.arange(len(rows)), list(choices)] = 1
        self._integers.append(rows.reshape(-1))
        self._row_l1_bounds += [1] * len(rows)

    def _round(self, layer: WeightsSpec, unit: Fraction, wanted: float) -> Fraction:
        """Append the integers of a weight layer; returns the unit of its result."""
        rows = np.column_stack([layer.matrix * float(unit), layer.bias])
        unit_out = smallest_unit(float(np.abs(rows).max()))
        coarser = min(max(wanted / unit_out, 1.0), 2.0**HEADROOM_BITS)
        unit_out = math.ldexp(unit_out, math.ceil(math.log2(coarser)))
        scaled = np.rint(rows / unit_out * 2.0**WEIGHT_BITS)
        integers = np.clip(scaled, -WEIGHT_BOUND, WEIGHT_BOUND).astype(np.int64)
        self._lost += int(((layer.matrix != 0) & (integers[:, :-1] == 0)).sum())
        # One bound for all rows says less of the weights than one each, and the bounds of a
        # network follow its largest in any case.
        norm = int(np.abs(integers).sum(axis=1).max())
        self._row_l1_bounds += [declared_norm(norm)] * len(integers)
        self._integers.append(integers.reshape(-1))
        return Fraction(unit_out)

    def _sum(
        self, index: int, left: tuple[int, Fraction], right: tuple[int, Fraction]
    ) -> tuple[int, Fraction]:
        """Emit a sum, its sides brought to one unit by public factors.  Raises ModelError."""
        ratio = left[1] / right[1]
        if max(abs(ratio.numerator), ratio.denominator) >> SCALE_FACTOR_BITS:
            raise ModelError(
                f"layer {index} (add): the ranges of its two sides differ by {float(ratio):.3g}: "
                "rescale the weights before one of them"
            )
        tensors = [
            self._emit(Scale(tensor, factor)) if factor != 1 else tensor
            for tensor, factor in ((left[0], ratio.numerator), (right[0], ratio.denominator))
        ]
        return self._emit(Add(tensors[0], tensors[1])), right[1] / ratio.denominator

    def _end_with_a_power_of_two(self) -> Fraction:
        """Make the output's unit one that a card can state.  Raises ModelError."""
        tensor, unit = self._tensors[-1]
        if tensor != len(self._layers):
            raise ModelError("the last layer of a network must compute something")
        odd = unit.numerator // (unit.numerator & -unit.numerator)
        if unit.denominator & (unit.denominator - 1) or abs(odd) >> SCALE_FACTOR_BITS:
            raise ModelError(
                f"the outputs come in units of {unit}, which is no power of two: end the network "
                "with a dense layer"
            )
        if odd != 1:
            self._tensors[-1] = self._emit(Scale(tensor, odd)), unit / odd
        return self._tensors[-1][1]

    def _with_rounded_numbers(self, layer: LayerSpec, index: int) -> LayerSpec:
        """The layer as its integers have it; called when they have just been made."""
        unit_in = self._tensors[self._spec.sources(index)[0]][1]
        unit_out = self._tensors[-1][1]
        if isinstance(layer, WeightsSpec):
            rows = self._integers[-1].reshape(len(layer.weights), -1)
            values: Floats = np.multiply(rows, float(unit_out) / 2.0**WEIGHT_BITS, dtype=np.float64)
            weights: Floats = np.divide(values[:, :-1], float(unit_in), dtype=np.float64)
            shaped = weights.reshape(layer.weights.shape)
            return replace(layer, weights=shaped, bias=values[:, -1])
        emitted = self._layers[-1] if self._layers else None
        if isinstance(layer, PolynomialSpec) and isinstance(emitted, Polynomial):
            step = unit_out / 2**emitted.coefficient_bits
            exact = (c * step / unit_in**i for i, c in enumerate(emitted.coefficients))
            return replace(layer, coefficients=tuple(float(c) for c in exact))
        return layer


def declared_norm(norm: int) -> int:
    """What is declared of a largest l1 norm: rounded up to one of eight steps per octave.

    A power of two, as for linear models, would say less, but every squaring doubles what it costs.
    """
    step = 1 << max(norm.bit_length() - 4, 0)
    return max(-(-norm // step) * step, 1)


def _wanted_units(spec: NetworkSpec) -> list[float]:
    """For every tensor the unit from which the weights that read it are not small beside a bias.

    Followed back through what does not mix tensors; 0 where nothing is wanted.
    """
    wanted = [0.0] * (len(spec.layers) + 1)
    for index in range(len(spec.layers) - 1, -1, -1):
        layer, behind = spec.layers[index], wanted[index + 1]
        unit = 0.0
        if isinstance(layer, WeightsSpec):
            weight, bias = float(np.abs(layer.matrix).max()), float(np.abs(layer.bias).max())
            unit = bias / weight if weight else 0.0
        elif isinstance(layer, PolynomialSpec):
            leading = abs(layer.coefficients[-1])
            pure = not any(layer.coefficients[:-1])
            unit = (behind / leading) ** (1 / (len(layer.coefficients) - 1)) if pure else 0.0
        elif isinstance(layer, PoolSpec | ScaleSpec):
            unit = behind / abs(layer.factor)
        elif isinstance(layer, FlattenSpec | SelectionSpec | GroupedSelectionSpec | GatherSpec):
            unit = behind
        for tensor in spec.sources(index):
            wanted[tensor] = max(wanted[tensor], unit)
    return wanted


def _weights_layer(layer: WeightsSpec, source: int, shape: TensorShape) -> Layer:
    """A dense layer or convolution without its numbers."""
    units = len(layer.weights)
    if isinstance(layer, DenseSpec):
        return Dense(source, units)
    return Conv2d(source, image_shape(shape), units, layer.kernel, layer.stride, layer.padding)


def _coefficients(
    index: int, layer: PolynomialSpec, unit: Fraction
) -> tuple[tuple[int, ...], int, Fraction]:
    """Integer coefficients, their binary point and the result's unit.  Raises ModelError."""
    scaled = [Fraction(c) * unit**i for i, c in enumerate(layer.coefficients)]
    if not any(scaled[:-1]):
        return (0,) * (len(scaled) - 1) + (1,), 0, scaled[-1]
    unit_out = Fraction(smallest_unit(float(max(map(abs, scaled)))))
    integers = [round(c / unit_out * 2**WEIGHT_BITS) for c in scaled]
    if not integers[-1]:
        raise ModelError(
            f"layer {index} ({layer.name}): on inputs of size {float(unit):.1g}, which the layer "
            "before it makes, its last term rounds to zero beside the others: scale that layer up, "
            "or lower the degree"
        )
    bits = WEIGHT_BITS
    while bits and not any(c % 2 for c in integers):
        integers, bits = [c // 2 for c in integers], bits - 1
    return tuple(integers), bits, unit_out


def _integer_layer(layer: Layer, given: Sequence[Array], matrix: Array) -> Array:
    """One layer of a graph in its own units; matrix (rows, columns and perhaps a bias)."""
    source = given[0]
    weights, bias = np.ldexp(matrix[:, :-1], -WEIGHT_BITS), np.ldexp(matrix[:, -1], -WEIGHT_BITS)
    match layer:
        case Dense():
            return plaintext.dense(source, weights, bias)
        case Conv2d():
            return plaintext.conv2d(
                source,
                layer.shape,
                weights,
                bias,
                kernel=layer.kernel,
                stride=layer.stride,
                padding=layer.padding,
            )
        case Selection() | GroupedSelection() | Gather():
            return _chosen(layer, source, matrix)
        case SumPool():
            return plaintext.sum_pool(source, layer.shape, kernel=layer.kernel, stride=layer.stride)
        case Scale():
            return source * layer.factor
        case Polynomial():
            point = 2.0**-layer.coefficient_bits
            return plaintext.polynomial(source, [c * point for c in layer.coefficients])
        case Add():
            return given[0] + given[1]
        case Mul():
            return given[0] * given[1]


def _chosen(layer: PrivateSelection | Gather, source: Array, matrix: Array) -> Array:
    """What a choice takes of (records, units)."""
    records = len(source)
    match layer:
        case Selection():
            channels = source.reshape(records, -1, layer.positions)
            taken: Array = np.einsum("nc,rcp->rnp", matrix, channels)
            return taken.reshape(records, -1)
        case GroupedSelection():
            columns = source.reshape(records, layer.groups, -1)
            picked: Array = np.einsum("gc,rgc->rg", matrix, columns)
            return picked
        case Gather():
            return source[:, list(layer.units)]
