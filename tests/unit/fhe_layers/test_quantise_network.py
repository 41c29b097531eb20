from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from fhe_layers.network_rounding import network_rounding
from fhe_layers.quantise_network import HEADROOM_BITS, declared_norm, quantise_network, simulate
from fhe_layers.spec import (
    SQUARE,
    AddSpec,
    DenseSpec,
    GatherSpec,
    GroupedSelectionSpec,
    NetworkSpec,
    PolynomialSpec,
    PoolSpec,
    ScaleSpec,
    SelectionSpec,
)
from protocol.errors import ModelError
from protocol.families import WEIGHT_BOUND
from protocol.graph import Affine, Graph, Polynomial, Power, PrivateSelection, Scale, SumPool
from tests.reference.networks import dense, forest, image_network, inputs, mlp, residual_network

RNG = np.random.default_rng(5)
NETWORKS = [
    mlp(),
    mlp(sizes=(3, 4, 3, 2)),
    image_network(),
    residual_network(),
    forest(),
    forest(depth=2),
]


def lowered(
    graph: Graph, integers: np.ndarray, record: np.ndarray, scale_log2: int
) -> list[Fraction]:
    """The graph's own lowering in exact arithmetic, on integers round(2^scale x)."""
    tensors = [[int(v) for v in np.rint(record * 2.0**scale_log2)]]
    for node in graph.nodes(scale_log2):
        if isinstance(node, Affine):
            made = [0] * node.units
            for term in node.terms:
                values = term.entries(integers).tolist()
                for out, into, value in zip(term.outputs, term.inputs, values, strict=True):
                    made[out] += term.factor * value * tensors[term.source][into]
            if node.bias is not None:
                for unit, place in enumerate(node.bias):
                    made[unit] += node.bias_factor * int(integers[place])
        elif isinstance(node, Power):
            made = [
                sum(c * x**i for i, c in enumerate(node.coefficients)) for x in tensors[node.source]
            ]
        else:
            made = [a * b for a, b in zip(tensors[node.left], tensors[node.right], strict=True)]
        tensors.append(made)
    scale = graph.tensors(scale_log2)[-1].scale_log2
    return [Fraction(value, 1 << scale) for value in tensors[-1]]


@pytest.mark.parametrize("spec", NETWORKS)
def test_the_integer_network_is_close_to_the_real_one(spec: NetworkSpec):
    quantised = quantise_network(spec)
    x = inputs(spec, records=50)
    values = simulate(quantised.graph, quantised.integers, x) * quantised.unit
    assert np.abs(values - spec.forward(x)).max() < 5e-3
    np.testing.assert_allclose(values, quantised.rounded.forward(x), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("spec", NETWORKS)
def test_simulation_agrees_with_what_is_evaluated_and_proved(spec: NetworkSpec):
    quantised = quantise_network(spec)
    x = np.rint(inputs(spec, records=3) * 2**20) / 2**20
    values = simulate(quantised.graph, quantised.integers, x)
    for record, row in zip(x, values, strict=True):
        exact = lowered(quantised.graph, quantised.integers, record, 20)
        np.testing.assert_allclose(row, [float(value) for value in exact], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("spec", NETWORKS)
def test_integers_fill_their_range_and_rows_keep_their_bounds(spec: NetworkSpec):
    quantised = quantise_network(spec)
    bounds = iter(quantised.row_l1_bounds)
    for matrix in quantised.graph.matrices:
        rows = quantised.integers[matrix.offset :][: matrix.size].reshape(matrix.rows, matrix.width)
        declared = {next(bounds) for _ in range(matrix.rows)}
        assert len(declared) == 1
        largest = int(np.abs(rows).sum(axis=1).max())
        assert largest <= min(declared) <= largest * 9 / 8
        if isinstance(quantised.graph.layers[matrix.layer], PrivateSelection):
            assert declared == {1}
        else:
            assert np.abs(rows).max() * 2**HEADROOM_BITS >= WEIGHT_BOUND / 2
            assert np.abs(rows).max() <= WEIGHT_BOUND
    assert next(bounds, None) is None


def test_declared_norms_have_four_bits():
    for norm in range(300):
        declared = declared_norm(norm)
        assert max(norm, 1) <= declared <= max(norm * 9 / 8, 1)
        assert declared % (1 << max(declared.bit_length() - 4, 0)) == 0


@pytest.mark.parametrize(("bias", "bits"), [(0.02, 15), (0.5, 13), (200.0, 11)])
def test_a_layer_gives_bits_to_the_next_ones_weights(bias: float, bits: int):
    """First weights of 0.2 want a unit of 1/4; its square meets weights of 0.5 beside a bias."""
    first = DenseSpec(np.full((2, 3), 0.2), np.zeros(2))
    last = DenseSpec(np.full((1, 2), 0.5), np.full(1, bias))
    spec = NetworkSpec((3,), (first, PolynomialSpec(SQUARE), last))
    quantised = quantise_network(spec)
    assert int(quantised.integers[0]).bit_length() == bits
    x = inputs(spec)
    values = simulate(quantised.graph, quantised.integers, x) * quantised.unit
    np.testing.assert_allclose(values, spec.forward(x), rtol=1e-3)


@pytest.mark.parametrize("factor", [2.0**-20, 1.0, 2.0**13])
def test_weights_of_any_size_use_the_range(factor: float):
    """A factor moves through the square into the next layer's unit, and nothing is lost."""
    spec = mlp(sizes=(4, 3, 1))
    first, square, last = spec.layers
    assert isinstance(first, DenseSpec)
    assert isinstance(last, DenseSpec)
    scaled = replace(first, weights=first.weights * factor, bias=first.bias * factor)
    restored = replace(last, weights=last.weights / factor**2)
    quantised = quantise_network(NetworkSpec((4,), (scaled, square, restored)))
    reference = quantise_network(spec)
    assert np.array_equal(quantised.integers, reference.integers)
    assert quantised.unit == reference.unit


def test_an_average_is_a_sum_whose_area_the_next_weights_absorb():
    spec = image_network()
    quantised = quantise_network(spec)
    assert any(isinstance(layer, SumPool) for layer in quantised.graph.layers)
    assert not any(isinstance(layer, Scale) for layer in quantised.graph.layers)
    assert len(quantised.graph.layers) == 4


def test_a_square_keeps_its_coefficient_exact():
    layers = quantise_network(mlp()).graph.layers
    assert layers[1] == Polynomial(1, (0, 0, 1), 0)


def test_sides_of_a_sum_are_brought_to_one_unit():
    shaped = NetworkSpec(
        (1, 2, 3),
        (
            PoolSpec((1, 3), (1, 3)),  # (1, 2, 1), units of 1/3
            PoolSpec((1, 2), (1, 2), average=False, source=0),  # (1, 2, 1)
            AddSpec(1, 2),
            dense(RNG, 2, 1),
        ),
    )
    quantised = quantise_network(shaped)
    assert [layer.factor for layer in quantised.graph.layers if isinstance(layer, Scale)] == [3]
    x = inputs(shaped)
    values = simulate(quantised.graph, quantised.integers, x) * quantised.unit
    np.testing.assert_allclose(values, shaped.forward(x), atol=1e-4)


@pytest.mark.parametrize("degree", [1, 2, 3])
@pytest.mark.parametrize("factor", [2.0**-12, 0.0])
def test_terms_of_every_degree_meet_exactly(degree: int, factor: float):
    """Dense layers of products of one to three comparisons, one of them small or zero."""
    spec = forest(trees=5)
    place = len(spec.layers) - 6 + degree
    layer = spec.layers[place]
    assert isinstance(layer, DenseSpec)
    small = replace(layer, weights=layer.weights * factor, bias=layer.bias * factor)
    layers = (*spec.layers[:place], small, *spec.layers[place + 1 :])
    spec = NetworkSpec(spec.shape, layers)
    quantised = quantise_network(spec)
    factors = [abs(layer.factor) for layer in quantised.graph.layers if isinstance(layer, Scale)]
    assert all(factor & (factor - 1) == 0 for factor in factors)
    x = np.random.default_rng(3).integers(0, 2, (64, spec.inputs)).astype(np.float64)
    values = simulate(quantised.graph, quantised.integers, x) * quantised.unit
    np.testing.assert_allclose(values, spec.forward(x), atol=2e-3)
    np.testing.assert_allclose(values, quantised.rounded.forward(x), rtol=0, atol=1e-13)


def test_choices_carry_the_unit_that_is_wanted_behind_them():
    """As without the choice between: 13 bits, of 15, with this bias."""
    first = DenseSpec(np.full((4, 3), 0.2), np.zeros(4))
    last = DenseSpec(np.full((1, 2), 0.5), np.full(1, 0.5))
    for choice in (
        GatherSpec((0, 3)),
        SelectionSpec((1,), positions=2),
        GroupedSelectionSpec((0, 1)),
    ):
        spec = NetworkSpec((3,), (first, choice, PolynomialSpec(SQUARE), last))
        assert int(quantise_network(spec).integers[0]).bit_length() == 13


def test_a_network_may_end_without_weights_if_its_unit_is_a_power_of_two():
    spec = NetworkSpec((1, 2, 2), (dense(RNG, 4, 4), PolynomialSpec((0.0, 0.0, 3.0))))
    quantised = quantise_network(spec)
    assert quantised.graph.layers[-1] == Scale(2, 3)
    x = inputs(spec)
    values = simulate(quantised.graph, quantised.integers, x) * quantised.unit
    np.testing.assert_allclose(values, spec.forward(x), atol=1e-3)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (NetworkSpec((4,), (PolynomialSpec(SQUARE),)), "at least one layer with weights"),
        (mlp(sizes=(2, 2, 2, 2, 2, 1)), "17 polynomials, .*: at most three squarings in a row"),
        (
            NetworkSpec(
                (4,), (dense(RNG, 4, 3), PolynomialSpec((1.0, 0.0, 1e-7)), dense(RNG, 3, 1))
            ),
            r"layer 1 \(polynomial\): on inputs of size .*its last term rounds to zero",
        ),
        (
            NetworkSpec(
                (4,), (dense(RNG, 4, 3), ScaleSpec(1e-12), AddSpec(1, 2), dense(RNG, 3, 1))
            ),
            "rescale the weights",
        ),
        (
            NetworkSpec((1, 1, 3), (SelectionSpec((0, 1, 2)), ScaleSpec(0.1))),
            "end the network with a dense layer",
        ),
        (NetworkSpec((4,), (dense(RNG, 4, 3), ScaleSpec(1.0, 0))), "must compute something"),
    ],
)
def test_what_has_no_integer_form_is_refused(spec: NetworkSpec, message: str):
    with pytest.raises(ModelError, match=message):
        quantise_network(spec)


@pytest.mark.parametrize("spec", NETWORKS)
def test_no_input_moves_an_output_by_more_than_the_rounding_says(spec: NetworkSpec):
    quantised = quantise_network(spec)
    bounds = np.linspace(0.5, 1, spec.inputs)
    rounded = network_rounding(quantised, bounds)
    corners = np.random.default_rng(2).choice([-1.0, 1.0], (200, spec.inputs)) * bounds
    values = simulate(quantised.graph, quantised.integers, corners) * quantised.unit
    moved = np.abs(values - spec.forward(corners)).max(axis=0)
    assert (moved <= rounded.errors).all()
    assert (moved > rounded.errors * 1e-3).all()
    assert (np.abs(spec.forward(corners)).max(axis=0) <= rounded.ranges).all()


def test_weights_that_become_zero_are_counted():
    weights = np.array([[1.0, 1e-6, 0.0, -0.5]])
    spec = NetworkSpec((4,), (DenseSpec(weights, np.zeros(1)), PolynomialSpec(SQUARE)))
    assert network_rounding(quantise_network(spec), np.ones(4)).lost == 1


def test_a_network_printed_by_accident_shows_no_weights():
    text = repr(quantise_network(residual_network()))
    assert "array" not in text
    assert "integers" not in text
