"""Lowered networks against a plain reading of their layers, in exact arithmetic."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.encoding import decode, encode
from protocol.errors import BlindproofError, EncodingError, ModelError
from protocol.families import MAX_INTEGERS
from protocol.graph import (
    MAX_ENTRIES,
    MAX_POLYS,
    Add,
    Affine,
    Conv2d,
    Dense,
    Gather,
    Graph,
    GroupedSelection,
    Mul,
    Polynomial,
    Power,
    PrivateSelection,
    Product,
    Scale,
    Selection,
    SumPool,
    linear_graph,
    square,
)
from protocol.layers import MAX_LAYERS, MAX_UNITS

CONV = Conv2d(0, (1, 8, 8), 4, (3, 3), (1, 1), (1, 1))
DIGITS = Graph(64, (CONV, square(1), Dense(2, 32), square(3), Dense(4, 10)))
"""The convolutional network of the demonstration."""

EVERY_LAYER = Graph(
    2 * 5 * 6,
    (
        Conv2d(0, (2, 5, 6), 3, (3, 2), (2, 1), (1, 1)),  # 1: (3, 3, 7)
        Polynomial(1, (3, -2, 5, 7), 4),  # 2
        SumPool(2, (3, 3, 7), (2, 3), (1, 2)),  # 3: (3, 2, 3)
        Selection(3, 4),  # 4
        Dense(4, 4),  # 5
        Scale(4, -3),  # 6
        Add(5, 6),  # 7: different scales
        Mul(7, 4),  # 8
        Add(8, 7),  # 9: different sizes
        Gather(9, (3, 1, 1, 0, 2, 3)),  # 10
        Selection(10, 4, 3),  # 11: (4, 3)
        GroupedSelection(11, 4),  # 12
        Dense(12, 2),  # 13
    ),
)


def plain(graph: Graph, integers: np.ndarray, inputs: list[Fraction]) -> list[list[Fraction]]:
    """Every tensor by the meaning of its layer, loop by loop."""
    tensors, weights = [inputs], iter(graph.matrices)
    for layer in graph.layers:
        sources = [tensors[source] for source in layer.sources]
        x = sources[0]
        rows: list[list[Fraction]] = []
        if isinstance(layer, Dense | Conv2d | PrivateSelection):
            matrix = next(weights)
            flat = integers[matrix.offset : matrix.offset + matrix.size]
            unit = 1 if isinstance(layer, PrivateSelection) else 1 << 15
            rows = [[Fraction(int(w), unit) for w in r] for r in flat.reshape(matrix.rows, -1)]
        if isinstance(layer, Dense):
            out = [sum(map(math.prod, zip(row[:-1], x, strict=True)), row[-1]) for row in rows]
        elif isinstance(layer, Selection):
            out = [
                sum((w * x[c * layer.positions + p] for c, w in enumerate(row)), start=Fraction(0))
                for row in rows
                for p in range(layer.positions)
            ]
        elif isinstance(layer, GroupedSelection):
            columns = len(x) // layer.groups
            out = [
                sum((w * x[g * columns + c] for c, w in enumerate(row)), start=Fraction(0))
                for g, row in enumerate(rows)
            ]
        elif isinstance(layer, Gather):
            out = [x[unit] for unit in layer.units]
        elif isinstance(layer, Conv2d):
            out = [
                row[-1] + tap_sum(layer, row, x, y, z)
                for row in rows
                for y in range(layer.places[0])
                for z in range(layer.places[1])
            ]
        elif isinstance(layer, SumPool):
            channels, height, width = layer.shape
            out = [
                sum(
                    x[(c * height + y * layer.stride[0] + a) * width + z * layer.stride[1] + b]
                    for a in range(layer.kernel[0])
                    for b in range(layer.kernel[1])
                )
                for c in range(channels)
                for y in range(layer.places[0])
                for z in range(layer.places[1])
            ]
        elif isinstance(layer, Polynomial):
            point = Fraction(1, 1 << layer.coefficient_bits)
            out = [sum(c * point * v**i for i, c in enumerate(layer.coefficients)) for v in x]
        elif isinstance(layer, Scale):
            out = [layer.factor * v for v in x]
        else:
            pairs = zip(x, sources[1], strict=True)
            out = [a + b if isinstance(layer, Add) else a * b for a, b in pairs]
        tensors.append(out)
    return tensors


def tap_sum(layer: Conv2d, row: list[Fraction], x: list[Fraction], y: int, z: int) -> Fraction:
    total = Fraction(0)
    channels, height, width = layer.shape
    for c in range(channels):
        for dy in range(layer.kernel[0]):
            for dx in range(layer.kernel[1]):
                v = y * layer.stride[0] - layer.padding[0] + dy
                h = z * layer.stride[1] - layer.padding[1] + dx
                if 0 <= v < height and 0 <= h < width:
                    weight = row[(c * layer.kernel[0] + dy) * layer.kernel[1] + dx]
                    total += weight * x[(c * height + v) * width + h]
    return total


def in_powers_of_s(left: list[int], right: list[int]) -> list[int]:
    return [int(v) for v in np.convolve(np.array(left, dtype=object), np.array(right, object))]


def plus(left: list[int], right: list[int]) -> list[int]:
    size = max(len(left), len(right))
    left, right = ([*x, *[0] * (size - len(x))] for x in (left, right))
    return [a + b for a, b in zip(left, right, strict=True)]


def lowered(
    graph: Graph, integers: np.ndarray, inputs: list[list[int]], scale: int
) -> list[list[list[int]]]:
    """Every tensor by its node, as polynomials in S (unit, power)."""
    tensors = [inputs]
    for node in graph.nodes(scale):
        out: list[list[int]] = []
        if isinstance(node, Affine):
            out = [[0] for _ in range(node.units)]
            for term in node.terms:
                pointers, columns, values = term.matrix_csr(integers)
                assert len(pointers) == node.units + 1 == term.units + 1
                for j in range(node.units):
                    for e in range(pointers[j], pointers[j + 1]):
                        entry = term.factor * int(values[e])
                        source = tensors[term.source][columns[e]]
                        out[j] = plus(out[j], [entry * v for v in source])
            if node.bias is not None:
                for j, index in enumerate(node.bias):
                    out[j][0] += node.bias_factor * int(integers[index])
        elif isinstance(node, Power):
            for x in tensors[node.source]:
                power, total = [1], [0]
                for i, c in enumerate(node.coefficients):
                    power = power if i == 0 else in_powers_of_s(power, x)
                    total = plus(total, [c * v for v in power])
                out.append(total)
        elif isinstance(node, Product):
            pairs = zip(tensors[node.left], tensors[node.right], strict=True)
            out = [in_powers_of_s(a, b) for a, b in pairs]
        tensors.append(out)
    return tensors


def random_integers(graph: Graph, rng: np.random.Generator) -> np.ndarray:
    integers = rng.integers(-(2**15) + 1, 2**15, graph.integers_count)
    for matrix in graph.matrices:
        if isinstance(graph.layers[matrix.layer], PrivateSelection):
            rows = np.zeros((matrix.rows, matrix.width), dtype=np.int64)
            rows[np.arange(matrix.rows), rng.integers(0, matrix.columns, matrix.rows)] = 1
            integers[matrix.offset : matrix.offset + matrix.size] = rows.reshape(-1)
    return integers


def require_agreement(graph: Graph, rng: np.random.Generator, scale: int = 12) -> None:
    """At S = 0 the lowered tensors are the plain ones, times exactly the stated scales."""
    integers = random_integers(graph, rng)
    bodies = [int(v) for v in rng.integers(-(2**13), 2**13, graph.inputs)]
    masks = [int(v) for v in rng.integers(1, 2**13, graph.inputs)]
    expected = plain(graph, integers, [Fraction(v, 1 << scale) for v in bodies])
    found = lowered(graph, integers, [list(p) for p in zip(bodies, masks, strict=True)], scale)
    for tensor, wanted, units in zip(graph.tensors(scale), expected, found, strict=True):
        assert tensor.units == len(wanted) == len(units)
        assert {len(unit) for unit in units} <= set(range(1, tensor.polys + 1))
        assert max(len(unit) for unit in units) == tensor.polys
        for value, unit in zip(wanted, units, strict=True):
            assert value * (1 << tensor.scale_log2) == unit[0]


@pytest.mark.parametrize("seed", [1, 2])
def test_every_layer_means_what_it_says(seed):
    require_agreement(EVERY_LAYER, np.random.default_rng(seed))


@st.composite
def convolutions(draw) -> Conv2d | SumPool:
    shape = tuple(draw(st.integers(1, 5)) for _ in range(3))
    kernel = tuple(draw(st.integers(1, side)) for side in shape[1:])
    stride = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    if draw(st.booleans()):
        return SumPool(0, shape, kernel, stride)
    padding = tuple(draw(st.integers(0, side - 1)) for side in kernel)
    return Conv2d(0, shape, draw(st.integers(1, 3)), kernel, stride, padding)


@given(convolutions(), st.integers(0, 2**32))
def test_windows_of_every_shape(layer, seed):
    require_agreement(Graph(math.prod(layer.shape), (layer,)), np.random.default_rng(seed))


@given(
    st.lists(st.integers(-(2**16) + 1, 2**16 - 1), min_size=1, max_size=4),
    st.integers(1, 2**16 - 1),
    st.integers(0, 20),
)
def test_activations_of_every_degree(lower, leading, bits):
    graph = Graph(2, (Polynomial(0, (*lower, leading), bits),))
    require_agreement(graph, np.random.default_rng(0), scale=10 + bits)


def test_a_linear_model_is_one_dense_layer():
    graph = linear_graph(3, 2)
    assert graph.linear
    assert (graph.integers_count, graph.outputs_count, graph.output_polys) == (8, 2, 2)
    assert graph.multiplicative_depth == 0
    assert not Graph(3, (Dense(0, 3), square(1))).linear
    assert not Graph(3, (Scale(0, 2),)).linear
    assert not Graph(3, (Dense(0, 3), Dense(1, 1))).linear


def test_shapes_and_scales_of_the_demonstration():
    assert [(t.units, t.polys, t.scale_log2) for t in DIGITS.tensors(50)] == [
        (64, 2, 50),
        (256, 2, 65),
        (256, 3, 130),
        (32, 3, 145),
        (32, 5, 290),
        (10, 5, 305),
    ]
    assert [(m.layer, m.offset, m.rows, m.columns, m.bias) for m in DIGITS.matrices] == [
        (0, 0, 4, 9, True),
        (2, 40, 32, 256, True),
        (4, 40 + 32 * 257, 10, 32, True),
    ]
    assert DIGITS.multiplicative_depth == 2
    assert Graph(2, (Polynomial(0, (0, 0, 0, 1), 0), Mul(1, 0))).multiplicative_depth == 3


def test_lowering_is_done_once_and_cannot_be_changed():
    nodes = DIGITS.nodes(50)
    assert DIGITS.nodes(50) is nodes
    term, other = nodes[0].terms[0], DIGITS.nodes(51)[0].terms[0]
    assert term.inputs is other.inputs
    with pytest.raises(ValueError, match="read-only"):
        term.weights[0] = 1
    for array in (term.outputs, term.inputs, term.weights, nodes[0].bias):
        assert array.dtype == np.int64
    assert (np.diff(term.outputs) >= 0).all()


@pytest.mark.accepts("C-48")
@pytest.mark.parametrize("graph", [EVERY_LAYER, DIGITS, linear_graph(30, 1)])
def test_graphs_come_back(graph):
    again = Graph.from_value(decode(encode(graph.value())))
    assert again == graph
    assert hash(again) == hash(graph)


INVALID = {
    "no layers": (1, lambda: ()),
    "65 layers": (1, lambda: tuple(Scale(i, 2) for i in range(MAX_LAYERS + 1))),
    "no inputs": (0, lambda: (Scale(0, 2),)),
    "too many inputs": (MAX_UNITS + 1, lambda: (Scale(0, 2),)),
    "too many inputs of a linear model": (MAX_INTEGERS + 1, lambda: (Dense(0, 1),)),
    "too many integers": (4096, lambda: (Dense(0, 4),)),
    "a tensor from the future": (2, lambda: (Scale(1, 2),)),
    "a negative tensor": (2, lambda: (Scale(-1, 2),)),
    "an unused result": (2, lambda: (Scale(0, 2), Scale(0, 3))),
    "an image of another size": (5, lambda: (SumPool(0, (1, 2, 2), (1, 1), (1, 1)),)),
    "unequal sums": (2, lambda: (Dense(0, 3), Add(0, 1))),
    "unequal products": (2, lambda: (Dense(0, 3), Mul(0, 1))),
    "size 33 by squares": (1, lambda: tuple(square(i) for i in range(5))),
    "size 33 by products": (
        1,
        lambda: (Polynomial(0, (0, 0, 0, 0, 1), 0), *[Mul(i, i) for i in range(1, 4)]),
    ),
    "too many units": (4096, lambda: (Conv2d(0, (1, 64, 64), 2, (1, 1)),)),
    "too many entries": (
        4096,
        lambda: (
            SumPool(0, (1, 64, 64), (1, 1), (1, 1)),
            SumPool(1, (1, 64, 64), (32, 32), (1, 1)),
        ),
    ),
    "dense of nothing": (1, lambda: (Dense(0, 0),)),
    "dense of too much": (1, lambda: (Dense(0, MAX_UNITS + 1),)),
    "selection of nothing": (1, lambda: (Selection(0, 0),)),
    "selection at no position": (1, lambda: (Selection(0, 1, 0),)),
    "positions that do not divide the units": (6, lambda: (Selection(0, 1, 4),)),
    "more positions than units": (2, lambda: (Selection(0, 1, 4),)),
    "a selection of too many units": (64, lambda: (Selection(0, 65, 64),)),
    "selections of too many entries": (
        4096,
        lambda: (*[Selection(i, 64, 64) for i in range(4)], Scale(4, 2)),
    ),
    "no groups": (4, lambda: (GroupedSelection(0, 0),)),
    "groups that do not divide the units": (6, lambda: (GroupedSelection(0, 4),)),
    "more groups than units": (2, lambda: (GroupedSelection(0, 4),)),
    "a gather of nothing": (2, lambda: (Gather(0, ()),)),
    "a gather of too much": (2, lambda: (Gather(0, (0,) * (MAX_UNITS + 1)),)),
    "a gather of a unit that is not there": (2, lambda: (Gather(0, (0, 2)),)),
    "a gather of a negative unit": (2, lambda: (Gather(0, (-1,)),)),
    "a kernel beyond the image": (4, lambda: (Conv2d(0, (1, 2, 2), 1, (3, 1)),)),
    "a pool beyond the image": (4, lambda: (SumPool(0, (1, 2, 2), (3, 1), (1, 1)),)),
    "padding as wide as the kernel": (
        4,
        lambda: (Conv2d(0, (1, 2, 2), 1, (2, 2), (1, 1), (2, 0)),),
    ),
    "a stride of 0": (4, lambda: (Conv2d(0, (1, 2, 2), 1, (1, 1), (0, 1)),)),
    "a flat image": (4, lambda: (Conv2d(0, (2, 2), 1, (1, 1)),)),
    "a factor of 0": (1, lambda: (Scale(0, 0),)),
    "a factor of 32 bits": (1, lambda: (Scale(0, 1 << 31),)),
    "a constant activation": (1, lambda: (Polynomial(0, (1,), 0),)),
    "no activation": (1, lambda: (Polynomial(0, (), 0),)),
    "degree 5": (1, lambda: (Polynomial(0, (0, 0, 0, 0, 0, 1), 0),)),
    "a zero leading coefficient": (1, lambda: (Polynomial(0, (1, 1, 0), 0),)),
    "a coefficient of 17 bits": (1, lambda: (Polynomial(0, (1 << 16, 1), 0),)),
    "negative coefficient bits": (1, lambda: (Polynomial(0, (1, 1), -1),)),
    "65 coefficient bits": (1, lambda: (Polynomial(0, (1, 1), 65),)),
}


@pytest.mark.rejects("C-48")
@pytest.mark.rejects("C-45")
@pytest.mark.parametrize("name", INVALID)
def test_invalid_networks_are_refused(name):
    inputs, layers = INVALID[name]
    with pytest.raises(ModelError):
        Graph(inputs, layers())


@pytest.mark.accepts("C-48")
def test_limits_are_where_they_are_said_to_be():
    octic = tuple(square(i) for i in range(3))  # x^2, x^4, x^8: tensors 1, 2, 3
    septic = (Mul(0, 1), Mul(2, 4))  # x^3, x^7: tensors 4, 5
    assert Graph(1, (*octic, *septic, Mul(3, 5))).output_polys == MAX_POLYS
    with pytest.raises(ModelError, match="17 polynomials"):
        Graph(1, tuple(square(i) for i in range(4)))
    assert Graph(1, tuple(Scale(i, 2) for i in range(MAX_LAYERS))).tensors(10)[-1].polys == 2
    assert linear_graph(MAX_INTEGERS - 1, 1).integers_count == MAX_INTEGERS
    choices = Graph(4096, tuple(Selection(i, 64, 64) for i in range(4)))
    assert choices.integers_count == MAX_INTEGERS
    assert 4 * len(choices.nodes(10)[0].terms[0].inputs) == MAX_ENTRIES
    assert Graph(MAX_UNITS, (Gather(0, tuple(range(MAX_UNITS))),)).outputs_count == MAX_UNITS
    pool = SumPool(0, (1, 64, 64), (18, 18), (1, 1))
    assert 2 * pool.units * pool.area > MAX_ENTRIES > pool.units * pool.area
    assert len(Graph(4096, (pool,)).nodes(10)[0].terms[0].inputs) == pool.units * pool.area


HUGE = 1 << 4000


@pytest.mark.rejects("C-04")
@pytest.mark.parametrize(
    "value",
    [
        (),
        (1,),
        (1, (), ()),
        (1, ((),)),
        (1, (("dense",),)),
        (1, (("dense", 0),)),
        (1, (("dense", 0, 1, 1),)),
        (1, (("dense", 0, True),)),
        (1, (("dense", 0, 1.0),)),
        (1, (("softmax", 0, 1),)),
        (1, ((b"dense", 0, 1),)),
        ("1", (("dense", 0, 1),)),
        (1, (("dense", 0, HUGE),)),
        (1, (("dense", HUGE, 1),)),
        (HUGE, (("dense", 0, 1),)),
        (1, (("selection", 0, 1),)),
        (1, (("selection", 0, 1, HUGE),)),
        (1, (("selection", 0, 1, 1, 1),)),
        (1, (("grouped_selection", 0, HUGE),)),
        (1, (("grouped_selection", 0, 1, 1),)),
        (1, (("gather", 0, 0),)),
        (1, (("gather", 0, (HUGE,)),)),
        (1, (("gather", 0, (True,)),)),
        (1, (("gather", 0, ((0,),)),)),
        (1, (("scale", 0, HUGE),)),
        (1, (("polynomial", 0, (1, HUGE), 0),)),
        (1, (("polynomial", 0, (1, 1), HUGE),)),
        (1, (("polynomial", 0, 1, 0),)),
        (1, (("conv2d", 0, (1, 1), 1, (1, 1), (1, 1), (0, 0)),)),
        (1, (("conv2d", 0, (1, 1, 1), 1, (1,), (1, 1), (0, 0)),)),
        (1, (("conv2d", 0, (1, 1, HUGE), 1, (1, 1), (1, 1), (0, 0)),)),
        (1, (("sum_pool", 0, (1, 1, 1), (1, HUGE), (1, 1)),)),
        (1, (("add", 0),)),
        (1, (("mul", 0, None),)),
        (1, tuple(("scale", i, 2) for i in range(1000))),
    ],
)
def test_hostile_values_are_refused(value):
    with pytest.raises((EncodingError, ModelError)):
        Graph.from_value(value)


@given(st.data())
def test_flipped_bytes_of_a_graph_are_refused_or_another_graph(data):
    encoded = bytearray(encode(EVERY_LAYER.value()))
    at = data.draw(st.integers(0, len(encoded) - 1))
    encoded[at] ^= data.draw(st.integers(1, 255))
    try:
        other = Graph.from_value(decode(bytes(encoded)))
    except BlindproofError:
        return
    assert other != EVERY_LAYER
    assert encode(other.value()) == bytes(encoded)
