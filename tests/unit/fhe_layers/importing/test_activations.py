from __future__ import annotations

import numpy as np
import pytest
from numpy.polynomial import Polynomial

from fhe_layers.importing.activations import fit_activation, refit_layer
from protocol.errors import ModelError


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(11)


def relu(values: np.ndarray) -> np.ndarray:
    return np.maximum(values, 0)


@pytest.mark.parametrize("degree", [2, 3, 4])
def test_a_polynomial_is_found_again(degree: int, rng: np.random.Generator):
    wanted = Polynomial(rng.normal(size=degree + 1))
    found = fit_activation(wanted, rng.normal(5, 30, size=(400, 3)), degree)
    np.testing.assert_allclose(found, wanted.coef, rtol=1e-6, atol=1e-6)


def test_more_degrees_fit_better(rng: np.random.Generator):
    samples = rng.normal(0.3, 2, 5000)
    errors = [
        np.mean(
            (Polynomial(fit_activation(np.tanh, samples, degree))(samples) - np.tanh(samples)) ** 2
        )
        for degree in (2, 3, 4)
    ]
    assert errors[0] > errors[1] >= errors[2]


def test_the_polynomial_stays_sane_beyond_the_sample(rng: np.random.Generator):
    samples = np.concatenate([rng.normal(0, 0.1, 5000), [4.0, -4.0]])
    fitted = Polynomial(fit_activation(relu, samples, 4))
    beyond = np.linspace(-6, 6, 200)
    assert np.abs(fitted(beyond) - relu(beyond)).max() < 2


def test_a_function_of_lower_degree_gives_fewer_coefficients(rng: np.random.Generator):
    found = fit_activation(relu, rng.uniform(10, 20, 1000), 4)
    np.testing.assert_allclose(found, (0, 1), atol=1e-6)


@pytest.mark.parametrize("samples", [np.zeros(0), np.array([1.0, np.nan])])
def test_samples_must_be_finite(samples: np.ndarray):
    with pytest.raises(ModelError, match="finite"):
        fit_activation(relu, samples, 2)


def test_a_constant_activation_is_refused():
    with pytest.raises(ModelError, match="constant"):
        fit_activation(relu, np.full(10, -9.0), 2)


def test_a_layer_whose_inputs_did_not_change_does_not_either(rng: np.random.Generator):
    weights, bias, inputs = rng.normal(size=(3, 5)), rng.normal(size=3), rng.normal(size=(40, 5))
    moved, constants = refit_layer(weights, inputs, inputs @ weights.T + bias)
    np.testing.assert_allclose(moved, weights, rtol=1e-9)
    np.testing.assert_allclose(constants, bias, rtol=1e-9, atol=1e-12)


def test_a_layer_makes_up_for_a_polynomial(rng: np.random.Generator):
    before = rng.normal(0, 2, size=(500, 6))
    weights, bias = rng.normal(size=(2, 6)), rng.normal(size=2)
    wanted = np.tanh(before) @ weights.T + bias
    inputs = Polynomial(fit_activation(np.tanh, before, 3))(before) + 0.2 * before[:, ::-1]
    moved, constants = refit_layer(weights, inputs, wanted)
    missed = np.abs(inputs @ moved.T + constants - wanted).mean()
    assert missed < 0.7 * np.abs(inputs @ weights.T + bias - wanted).mean()
    constant = np.ones((500, 6))
    assert refit_layer(weights, constant, wanted)[0] is weights
