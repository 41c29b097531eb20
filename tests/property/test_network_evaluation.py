"""Networks on random words against exact integers, layer by layer from their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhe_layers.moduli import ntt_primes
from fhe_layers.network import evaluate_network
from protocol.errors import ParameterError, ShapeError
from protocol.graph import (
    Add,
    Conv2d,
    Dense,
    Gather,
    Graph,
    GroupedSelection,
    Mul,
    Polynomial,
    PrivateSelection,
    Scale,
    Selection,
    SumPool,
    square,
)
from tests.reference import layerwise
from tests.reference.polynomial_words import PolynomialWords

LIMIT = (1 << 15) - 1
DEGREE = 8
MAX_POLYS = 9

small = st.integers(1, 3)


@st.composite
def images(draw, units):
    """A shape (C, H, W) with this many units."""
    channels = draw(st.sampled_from([c for c in range(1, units + 1) if units % c == 0]))
    area = units // channels
    height = draw(st.sampled_from([h for h in range(1, area + 1) if area % h == 0]))
    return channels, height, area // height


@st.composite
def layers(draw, shapes):
    """One layer that fits the tensors made so far, given as (units, polys)."""
    source = len(shapes) - 1
    units, polys = shapes[source]
    equal = [i for i, (other, _) in enumerate(shapes) if other == units]
    kinds = ["dense", "selection", "grouped", "gather", "conv", "pool", "scale", "add"]
    if 2 * polys - 1 <= MAX_POLYS:
        kinds += ["square", "polynomial", "mul"]
    kind = draw(st.sampled_from(kinds))
    if kind in {"conv", "pool"}:
        shape = draw(images(units))
        kernel = tuple(draw(st.integers(1, min(3, side))) for side in shape[1:])
        stride = (draw(small), draw(small))
        if kind == "pool":
            return SumPool(source, shape, kernel, stride)
        padding = tuple(draw(st.integers(0, side - 1)) for side in kernel)
        return Conv2d(source, shape, draw(small), kernel, stride, padding)
    if kind == "polynomial":
        degree = draw(st.integers(1, min(4, (MAX_POLYS - 1) // (polys - 1))))
        lower = draw(st.lists(st.integers(-9, 9), min_size=degree, max_size=degree))
        leading = draw(st.sampled_from([-65535, -1, 1, 2]))
        return Polynomial(source, (*lower, leading), draw(st.integers(0, 20)))
    parts = st.sampled_from([part for part in range(1, units + 1) if units % part == 0])
    factors = [i for i in equal if shapes[i][1] + polys - 1 <= MAX_POLYS]
    return {
        "dense": lambda: Dense(source, draw(small)),
        "selection": lambda: Selection(source, draw(small), draw(parts)),
        "grouped": lambda: GroupedSelection(source, draw(parts)),
        "gather": lambda: Gather(
            source, tuple(draw(st.lists(st.integers(0, units - 1), min_size=1, max_size=6)))
        ),
        "scale": lambda: Scale(source, draw(st.sampled_from([-(2**31) + 1, -1, 3, 2**31 - 1]))),
        "add": lambda: Add(source, draw(st.sampled_from(equal))),
        "square": lambda: square(source),
        "mul": lambda: Mul(draw(st.sampled_from(factors)), source),
    }[kind]()


@st.composite
def graphs(draw):
    """Small networks of every kind of layer; unused results are not allowed, so chains mostly."""
    inputs = draw(st.sampled_from([1, 2, 4, 6, 9]))
    built, graph = [], None
    for _ in range(draw(st.integers(1, 5))):
        shapes = [(inputs, 2)] if graph is None else [(t.units, t.polys) for t in graph.tensors(0)]
        built.append(draw(layers(shapes)))
        graph = Graph(inputs, tuple(built))
    assert graph is not None
    return graph


def model_integers(graph, rng):
    integers = rng.integers(-LIMIT, LIMIT, graph.integers_count, endpoint=True)
    extreme = rng.choice([-LIMIT, -1, 0, 1, LIMIT], integers.size)
    integers = np.where(rng.random(integers.size) < 0.3, extreme, integers)
    for matrix in graph.matrices:
        if isinstance(graph.layers[matrix.layer], PrivateSelection):
            rows = np.zeros((matrix.rows, matrix.columns), dtype=np.int64)
            rows[np.arange(matrix.rows), rng.integers(0, matrix.columns, matrix.rows)] = 1
            integers[matrix.offset :][: matrix.size] = rows.reshape(-1)
    return integers


def random_inputs(graph, moduli, rng):
    shape = (graph.inputs, 2, DEGREE)
    limbs = [rng.integers(0, q, shape, dtype=np.uint64) for q in moduli]
    words = np.stack(limbs, axis=2)
    words[..., 0], words[..., -1] = 0, np.array(moduli, dtype=np.uint64) - np.uint64(1)
    return words


@given(
    graph=graphs(),
    bits=st.sampled_from([58, 60, 61]),
    limbs=st.integers(1, 2),
    scale=st.integers(0, 139),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_tensor_follows_from_the_definition_of_its_layer(graph, bits, limbs, scale, seed):
    rng, moduli = np.random.default_rng(seed), ntt_primes(8192, bits, limbs)
    integers, inputs = model_integers(graph, rng), random_inputs(graph, moduli, rng)
    keep = range(len(graph.layers) + 1)
    found = evaluate_network(
        graph, integers, inputs, input_scale_log2=scale, moduli=moduli, keep=keep
    )
    units = [PolynomialWords(words, moduli) for words in inputs]
    expected = layerwise.evaluate(graph, integers.tolist(), units, scale)
    described = graph.tensors(scale)
    for index, ((values, level), tensor) in enumerate(zip(expected, described, strict=True)):
        words = found.kept[index]
        assert words.shape == (tensor.units, tensor.polys, limbs, DEGREE)
        assert level == tensor.scale_log2
        for unit, value in zip(words, values, strict=True):
            used = len(value.words)
            assert (unit[:used].astype(object) == value.words).all()
            assert not unit[used:].any()
    assert np.array_equal(found.outputs, found.kept[len(graph.layers)])
    alone = evaluate_network(graph, integers, inputs, input_scale_log2=scale, moduli=moduli)
    assert alone.kept == {}
    assert np.array_equal(alone.outputs, found.outputs)


def test_what_does_not_fit_the_network_is_refused(rng):
    graph, moduli = Graph(3, (Dense(0, 2), square(1))), ntt_primes(8192, 60, 2)
    integers, inputs = model_integers(graph, rng), random_inputs(graph, moduli, rng)

    def evaluate(integers, inputs):
        return evaluate_network(graph, integers, inputs, input_scale_log2=30, moduli=moduli)

    evaluate(integers, inputs)
    for words in (inputs[:2], inputs[:, :1], inputs[:, :, :1], inputs[0], inputs.astype(np.int64)):
        with pytest.raises(ShapeError):
            evaluate(integers, words)
    for values in (integers[:-1], integers.astype(np.int32), integers[None]):
        with pytest.raises(ShapeError):
            evaluate(values, inputs)
    for value in (LIMIT + 1, -LIMIT - 1, -(2**63)):
        integers[3] = value
        with pytest.raises(ParameterError):
            evaluate(integers, inputs)
    integers[3] = 0
    inputs[1, 1, 1, 5] = moduli[1]
    with pytest.raises(ValueError, match=f"words below {moduli[1]}"):
        evaluate(integers, inputs)
