"""A collapsed network computes what the network computes, in exact arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhe_layers.collapse import Collapsed, collapse, most_monomials
from fhe_layers.monomials import monomials
from protocol.errors import PlanningError, ShapeError
from protocol.graph import (
    Add,
    Affine,
    Conv2d,
    Dense,
    Graph,
    Layer,
    Mul,
    Polynomial,
    Power,
    Scale,
    Selection,
    SumPool,
    square,
)

IMAGE = (1, 3, 3)
NETWORKS: dict[str, Graph] = {
    "dense": Graph(3, (Dense(0, 2),)),
    "square": Graph(3, (Dense(0, 4), square(1), Dense(2, 2))),
    "squares": Graph(2, (Dense(0, 3), square(1), Dense(2, 2), square(3), Dense(4, 1))),
    "quartic": Graph(2, (Dense(0, 2), Polynomial(1, (5, 0, -3, 7, 1), 3), Dense(2, 1))),
    "residual": Graph(3, (Dense(0, 3), square(1), Add(2, 0), Scale(3, -6), Dense(4, 2))),
    "product": Graph(3, (Dense(0, 2), Selection(0, 2), Mul(1, 2), Dense(3, 1))),
    "convolution": Graph(
        9,
        (
            Conv2d(0, IMAGE, 2, (2, 2), padding=(1, 1)),
            square(1),
            SumPool(2, (2, 4, 4), (2, 2), (2, 2)),
            Dense(3, 2),
        ),
    ),
}


def exact_outputs(graph: Graph, integers: Sequence[int], record: Sequence[int]) -> list[int]:
    """The integer network on one integer record, step by step in Python integers."""
    tensors = [list(record)]
    for node in graph.nodes(0):
        if isinstance(node, Affine):
            made = [0] * node.units
            for term in node.terms:
                entries = zip(term.outputs.tolist(), term.inputs.tolist(), strict=True)
                for entry, (output, column) in enumerate(entries):
                    weight = 1 if term.weights is None else integers[term.weights[entry]]
                    made[output] += term.factor * weight * tensors[term.source][column]
            if node.bias is not None:
                for output, place in enumerate(node.bias.tolist()):
                    made[output] += node.bias_factor * integers[place]
        elif isinstance(node, Power):
            made = [
                sum(c * value**i for i, c in enumerate(node.coefficients))
                for value in tensors[node.source]
            ]
        else:
            made = [a * b for a, b in zip(tensors[node.left], tensors[node.right], strict=True)]
        tensors.append(made)
    return tensors[-1]


def collapsed_outputs(model: Collapsed, record: Sequence[int]) -> list[int]:
    """The linear model over monomials on the same record."""
    values = np.array([np.prod([record[k] for k in m], dtype=object) for m in model.expansion])
    outputs: list[int] = (model.coefficients @ values.astype(object) + model.constants).tolist()
    return outputs


@settings(max_examples=20, deadline=None)
@given(name=st.sampled_from(sorted(NETWORKS)), data=st.data())
def test_a_collapsed_network_is_the_network(name, data):
    graph = NETWORKS[name]
    weight = st.integers(-(2**15) + 1, 2**15 - 1)
    count = graph.integers_count
    integers = data.draw(st.lists(weight, min_size=count, max_size=count))
    value = st.integers(-1000, 1000)
    record = data.draw(st.lists(value, min_size=graph.inputs, max_size=graph.inputs))
    model = collapse(graph, np.array(integers, dtype=object))
    assert collapsed_outputs(model, record) == exact_outputs(graph, integers, record)


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_doubles_give_the_same_within_their_precision(name):
    graph = NETWORKS[name]
    integers = np.random.default_rng(3).integers(-(2**15), 2**15, graph.integers_count)
    exact = collapse(graph, integers.astype(object))
    rounded = collapse(graph, integers.astype(np.float64))
    assert rounded.expansion == exact.expansion
    assert rounded.scale_log2 == exact.scale_log2
    reference = exact.coefficients.astype(np.float64)
    assert np.abs(rounded.coefficients - reference).max() <= 1e-12 * np.abs(reference).max()


def test_monomials_depend_on_the_graph_and_not_on_the_weights():
    graph = NETWORKS["square"]
    zeros = collapse(graph, np.zeros(graph.integers_count))
    assert zeros.expansion == monomials(3, 2)
    assert not zeros.coefficients.any()


def test_a_convolution_and_a_square_multiply_neighbours_only():
    layers: tuple[Layer, ...] = (Conv2d(0, (1, 4, 4), 2, (2, 2)), square(1), Dense(2, 1))
    model = collapse(Graph(16, layers), np.ones(2 * 5 + 19))
    windows = [
        {4 * (y + dy) + x + dx for dy, dx in product(range(2), repeat=2)}
        for y, x in product(range(3), repeat=2)
    ]
    pairs = {tuple(sorted((a, b))) for window in windows for a, b in product(window, repeat=2)}
    assert set(model.expansion) == {(k,) for k in range(16)} | pairs
    assert len(model.expansion) < len(monomials(16, 2))


def test_a_second_squaring_of_many_inputs_is_refused_with_the_number_of_monomials():
    graph = Graph(30, (Dense(0, 16), square(1), Dense(2, 16), square(3), Dense(4, 1)))
    with pytest.raises(PlanningError, match=r"30 inputs .* 46,375 monomials of degree 4.* 16,383"):
        collapse(graph, np.zeros(graph.integers_count))


def test_outputs_share_the_room():
    assert most_monomials(1) == 16_383
    assert most_monomials(10) == 1_637
    graph = Graph(64, (Dense(0, 8), square(1), Dense(2, 10)))
    with pytest.raises(PlanningError, match="2,144 monomials of degree 2"):
        collapse(graph, np.zeros(graph.integers_count))


def test_numbers_of_another_model_are_refused():
    graph = NETWORKS["dense"]
    with pytest.raises(ShapeError, match=r"expected \(8,\)"):
        collapse(graph, np.zeros(7))
