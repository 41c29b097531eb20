from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from blindproof.collapsed_publishing import (
    collapsed_model,
    packing_for_records,
    publish_collapsed,
)
from blindproof.demo.networks import breast_cancer_mlp
from blindproof.network_publishing import NetworkModel, publish_network, quantised_model
from blindproof.publishing import rounding_of
from fhe_layers.monomials import expand, monomials
from fhe_layers.quantise_network import simulate
from fhe_layers.spec import SQUARE, DenseSpec, LayerSpec, NetworkSpec, PolynomialSpec
from protocol.errors import ModelError, PlanningError
from protocol.features import Category, Feature, Thermometer
from protocol.parameters import Mode, Packing
from server.registry import ModelRegistry
from zk_layers.verify import verify_registration


def network_model(*sizes: int, seed: int = 1) -> NetworkModel:
    """A random network with a square between any two dense layers, inputs in [-1, 1]."""
    rng = np.random.default_rng(seed)
    layers: list[LayerSpec] = []
    for into, out in pairwise(sizes):
        if layers:
            layers.append(PolynomialSpec(SQUARE))
        weights = rng.uniform(-1, 1, (out, into)) / into
        layers.append(DenseSpec(weights, rng.uniform(-0.2, 0.2, out)))
    return NetworkModel(
        name="net",
        version="1",
        purpose="tests",
        features=tuple(Feature(f"x{k}", -3.0, 5.0, 1.0, 4.0) for k in range(sizes[0])),
        network=NetworkSpec((sizes[0],), tuple(layers)),
        outputs=tuple(f"y{j}" for j in range(sizes[-1])),
        labels=(),
        link="identity",
    )


MODEL = network_model(4, 6, 2)


def test_the_published_polynomial_is_the_integer_network_up_to_its_rounding(tmp_path):
    card = publish_collapsed(tmp_path, MODEL)
    bundle = ModelRegistry(tmp_path).get(card.digest)
    assert card.expansion == monomials(4, 2)
    assert card.linear
    assert [profile.packing for profile in card.profiles] == [Packing.SINGLE]
    assert verify_registration(card, bundle.registration_proof).bits >= 100

    inputs = np.random.default_rng(2).uniform(-1, 1, (200, 4))
    quantised = quantised_model(MODEL)
    network = simulate(quantised.graph, quantised.integers, inputs) * quantised.unit
    rows = bundle.integers.reshape(2, -1) * card.unit / 2**15
    polynomial = expand(inputs, card.expansion) @ rows[:, :-1].T + rows[:, -1]
    bounds = rounding_of(collapsed_model(MODEL)).errors
    assert (np.abs(polynomial - network).max(axis=0) <= bounds + 1e-12).all()
    assert (bounds < 2.0**-9).all()


def test_publishing_again_gives_the_same_model_and_another_than_the_network(tmp_path):
    first = publish_collapsed(tmp_path, MODEL)
    assert publish_collapsed(tmp_path, MODEL) == first
    batch = publish_network(tmp_path, MODEL)
    assert not batch.expansion
    assert batch.digest != first.digest


def test_the_packing_follows_the_records_expected():
    few, many = (
        packing_for_records(MODEL, records, mode=Mode.PRIVATE, precision_bits=14.0)
        for records in (1, 4000)
    )
    assert few.packing is Packing.SINGLE
    assert many.packing is Packing.BATCH


def uneven() -> NetworkModel:
    """x1^2, by a weight that becomes zero beside the other of its layer."""
    first = DenseSpec(np.array([[1.0, 0.0], [0.0, 1e-6]]), np.zeros(2))
    last = DenseSpec(np.array([[0.0, 1e12]]), np.zeros(1))
    network = NetworkSpec((2,), (first, PolynomialSpec(SQUARE), last))
    return replace(MODEL, features=MODEL.features[:2], network=network, outputs=("y0",))


def test_a_network_that_rounding_makes_zero_is_published_only_on_demand(tmp_path):
    assert not collapsed_model(uneven()).weights.any()
    with pytest.raises(ModelError, match=r"can change output 'y0' by 3, .*1 weights zero"):
        publish_collapsed(tmp_path, uneven())
    assert ModelRegistry(tmp_path).load_all() == []
    assert publish_collapsed(tmp_path, uneven(), allow_rounding=True).linear


def test_a_public_network_collapses_as_well(tmp_path):
    card = publish_collapsed(tmp_path, MODEL, mode=Mode.PUBLIC)
    assert len(card.public_weights[0]) == len(card.expansion) + 1


def test_a_deeper_network_is_refused_with_the_number_of_monomials(tmp_path):
    deep = network_model(30, 8, 8, 1)
    with pytest.raises(PlanningError, match="46,375 monomials of degree 4"):
        publish_collapsed(tmp_path, deep)
    choice = packing_for_records(deep, 1, mode=Mode.PUBLIC, precision_bits=10.0)
    assert choice.packing is Packing.BATCH
    assert "46,375 monomials" in choice.reason


def test_a_tiny_deeper_network_is_not_refused(tmp_path):
    card = publish_collapsed(tmp_path, network_model(3, 4, 4, 1))
    assert card.expansion == monomials(3, 4)


def test_outputs_share_one_polynomial(tmp_path):
    """31 inputs have 527 monomials: 16 outputs of them do not fit N = 8192."""
    wide = network_model(31, 4, 16)
    with pytest.raises(ModelError, match="of its range"):  # biases outweigh 527 coefficients
        publish_collapsed(tmp_path, wide)
    card = publish_collapsed(tmp_path, wide, allow_rounding=True)
    assert card.ring_degree > 8192


def test_features_of_another_scale_bound_their_monomials():
    model = collapsed_model(replace(MODEL, features=(Feature("x0", 0.0, 9.0, 0.0, 3.0),) * 4))
    assert model.input_bounds.tolist() == [3.0] * 4 + [9.0] * 10


def test_the_demonstrations_network_keeps_every_label(tmp_path):
    """30-64-1 on every patient it has not seen: 16 bits for 495 coefficients are enough."""
    trained = breast_cancer_mlp()
    card = publish_collapsed(tmp_path, trained.model, precision_bits=30.0)
    assert card.expansion == monomials(30, 2)
    integers = ModelRegistry(tmp_path).get(card.digest).integers
    inputs = expand(trained.model.normalised(trained.held_out), card.expansion)
    values = (inputs @ integers[:-1, None] + integers[-1]) * card.unit / 2**15
    assert trained.labels(values) == trained.plaintext_labels
    bounds = card.bounds(Packing.SINGLE)
    assert np.abs(values).min() > bounds.released_error * card.unit
    assert np.abs(values - trained.exact_values).max() < 2.0**-10


INDICATORS = (
    Thermometer("steps", 0.0, 9.0, (2.0, 4.0, 6.0)),
    Category("colour", ("blue", "red", "green")),
)


def indicators_model(network: NetworkModel) -> NetworkModel:
    """The same network on a thermometer and a category."""
    return replace(network, features=INDICATORS, local=("id",))


def raw_records(count: int) -> np.ndarray:
    rng = np.random.default_rng(4)
    return np.column_stack([rng.uniform(0, 9, count), rng.integers(0, 3, count).astype(np.float64)])


def test_units_that_are_0_or_1_leave_few_monomials():
    model = indicators_model(network_model(6, 4, 2))
    collapsed = collapsed_model(model)
    # Units by themselves, and each comparison with each category: no squares, no pairs in a column.
    assert len(collapsed.expansion) == 6 + 3 * 3
    assert collapsed.local == ("id",)
    quantised = quantised_model(model)
    raw = raw_records(200)
    network = simulate(quantised.graph, quantised.integers, model.inputs_of(raw)) * quantised.unit
    polynomial = collapsed.inputs_of(raw) @ collapsed.weights.T + collapsed.intercept
    assert np.allclose(polynomial, network, rtol=0, atol=1e-12)


def test_a_network_over_monomials_is_multiplied_out_to_monomials_of_units():
    expansion = ((0,), (3,), (5,), (0, 1), (0, 3), (3, 4))  # of which two are the same, one zero
    model = replace(indicators_model(network_model(6, 4, 2)), expansion=expansion)
    collapsed = collapsed_model(model)
    assert set(collapsed.expansion) == {(0,), (1,), (3,), (5,), (0, 3), (0, 5), (1, 3), (1, 5)}
    quantised = quantised_model(model)
    raw = raw_records(100)
    network = simulate(quantised.graph, quantised.integers, model.inputs_of(raw)) * quantised.unit
    polynomial = collapsed.inputs_of(raw) @ collapsed.weights.T + collapsed.intercept
    assert np.allclose(polynomial, network, rtol=0, atol=1e-12)


def test_a_network_of_which_a_constant_is_left_is_refused():
    """Every product is of two categories of one column."""
    first = DenseSpec(np.eye(3), np.zeros(3))
    columns = (Category("colour", ("blue", "red", "green")),)
    model = replace(
        network_model(3, 2, 1),
        features=columns,
        expansion=((0, 1), (0, 2), (1, 2)),
        network=NetworkSpec(
            (3,), (first, PolynomialSpec(SQUARE), DenseSpec(np.ones((1, 3)), np.ones(1)))
        ),
    )
    with pytest.raises(PlanningError, match="nothing but a constant"):
        collapsed_model(model)
