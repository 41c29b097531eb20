"""The demonstration's networks are what its tables say they are."""

from __future__ import annotations

import numpy as np
import pytest

from blindproof.demo import tenseal_baseline
from blindproof.demo.networks import Trained, breast_cancer_mlp, digits_cnn
from blindproof.demo.training import Convolution, Schedule, SquareNetwork, one_hot
from blindproof.network_publishing import plan_of
from fhe_layers.spec import DenseSpec, NetworkSpec, PolynomialSpec
from protocol.parameters import Mode


@pytest.fixture(scope="module")
def trained() -> dict[str, Trained]:
    return {"mlp": breast_cancer_mlp(), "deep": breast_cancer_mlp((64, 16)), "cnn": digits_cnn()}


@pytest.mark.parametrize(("name", "accuracy"), [("mlp", 0.96), ("deep", 0.95), ("cnn", 0.98)])
def test_rounding_changes_no_label_and_little_accuracy(
    trained: dict[str, Trained], name: str, accuracy: float
):
    study = trained[name]
    right = [a == b for a, b in zip(study.plaintext_labels, study.truth, strict=True)]
    assert np.mean(right) >= accuracy
    assert study.labels(study.exact_values) == study.plaintext_labels
    assert np.abs(study.exact_values - study.plaintext_values).max() < 1e-2
    assert np.abs(study.model.normalised(study.held_out)).max() <= 1


@pytest.mark.parametrize(("name", "ring"), [("mlp", 8192), ("deep", 16384), ("cnn", 16384)])
def test_the_networks_fit_the_parameters_they_are_known_for(
    trained: dict[str, Trained], name: str, ring: int
):
    study = trained[name]
    for mode in Mode:
        plan = plan_of(study.model, study.quantised, mode=mode, precision_bits=study.precision_bits)
        assert plan.parameters.ring_degree == ring
        assert plan.precision_bits >= study.precision_bits


def test_training_is_repeatable(trained: dict[str, Trained]):
    again = breast_cancer_mlp()
    assert np.array_equal(again.quantised.integers, trained["mlp"].quantised.integers)


def loss(network: NetworkSpec, inputs: np.ndarray, classes: np.ndarray) -> float:
    values = network.forward(inputs)
    return float(
        np.mean(np.log(np.exp(values).sum(axis=1)) - values[np.arange(len(classes)), classes])
    )


def test_gradients_are_those_of_the_loss():
    """Central differences of every weight, a convolution's included."""
    rng = np.random.default_rng(0)
    front = Convolution((1, 4, 4), channels=2, size=3, padding=1)
    network = SquareNetwork((front.units, 3, 3), front, 0)
    inputs, classes = rng.uniform(-1, 1, (5, 16)), rng.integers(0, 3, 5)
    gradients = network._gradients(front.windows(inputs), one_hot(classes, 3), 1.0)
    for layer, gradient in zip(network._layers, gradients, strict=True):
        for place in np.ndindex(*layer.rows.shape):
            kept, step = layer.rows[place], 1e-5
            sides = []
            for sign in (1, -1):
                layer.rows[place] = kept + sign * step
                sides.append(loss(network.spec(), inputs, classes))
            layer.rows[place] = kept
            assert (sides[0] - sides[1]) / (2 * step) == pytest.approx(gradient[place], abs=1e-6)


def test_rows_stay_within_their_norm():
    rng = np.random.default_rng(1)
    network = SquareNetwork((4, 3, 1), None, 0)
    targets = rng.integers(0, 2, (50, 1)).astype(float)
    network.train(rng.uniform(-1, 1, (50, 4)), targets, Schedule(20, 10, 0.5, 8.0, l1_bound=0.75))
    for layer in network._layers:
        assert np.abs(layer.rows).sum(axis=1).max() <= 0.75 + 1e-12


def test_the_baseline_computes_the_same_network():
    spec = SquareNetwork((4, 3, 1), None, 0).spec()
    record = np.random.default_rng(2).uniform(-1, 1, 4)
    assert tenseal_baseline.network_seconds(spec, record, runs=1) > 0
    first, square, last = spec.layers
    assert isinstance(last, DenseSpec)
    cubed = NetworkSpec((4,), (first, PolynomialSpec((0.0, 0.0, 0.0, 1.0)), last))
    with pytest.raises(tenseal_baseline.BaselineError, match="not that of the network"):
        tenseal_baseline.network_seconds(cubed, record * 40, runs=1)
    assert square.name == "square"
