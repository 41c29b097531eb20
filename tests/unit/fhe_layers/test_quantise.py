from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fhe_layers.quantise import quantise, rounding
from protocol.errors import NonFiniteError, ParameterError, ShapeError
from protocol.families import WEIGHT_BOUND

MODELS = hnp.arrays(
    np.float64,
    st.tuples(st.integers(1, 4), st.integers(2, 8)),
    elements=st.floats(-1e6, 1e6, width=32),
)


@given(MODELS)
def test_every_integer_is_in_range_and_within_one_step_of_its_weight(rows: np.ndarray) -> None:
    model = quantise(rows[:, :-1], rows[:, -1])
    integers = np.column_stack([model.weights, model.bias])
    assert integers.dtype == np.int64
    assert np.abs(integers).max() <= WEIGHT_BOUND
    assert (np.abs(integers * model.step - rows) <= model.step).all()


@given(MODELS)
def test_the_unit_is_the_smallest_power_of_two_that_fits(rows: np.ndarray) -> None:
    unit = quantise(rows[:, :-1], rows[:, -1]).unit
    assert math.frexp(unit)[0] == 0.5
    largest = np.abs(rows).max()
    if largest > 0:
        assert largest < unit <= 2 * largest * (1 + 1e-9)


@given(MODELS)
def test_declared_norms_are_powers_of_two_just_above_the_actual_ones(rows: np.ndarray) -> None:
    model = quantise(rows[:, :-1], rows[:, -1])
    actual = np.abs(model.weights).sum(axis=1) + np.abs(model.bias)
    for bound, norm in zip(model.row_l1_bounds, actual.tolist(), strict=True):
        assert bound & (bound - 1) == 0
        assert norm <= bound < 2 * max(norm, 1)


def test_powers_of_two_are_exact() -> None:
    model = quantise(np.array([[1.0, -0.5]]), np.array([2.0**-14]))
    assert (model.unit, model.weights.tolist(), model.bias.tolist()) == (2.0, [[16384, -8192]], [1])
    assert model.row_l1_bounds == (32768,)


def test_a_weight_just_below_a_power_of_two_does_not_overflow() -> None:
    model = quantise(np.array([[1 - 1e-8, -(1 - 1e-8)]]), np.array([0.0]))
    assert model.unit == 1.0
    assert model.weights.tolist() == [[WEIGHT_BOUND, -WEIGHT_BOUND]]


def test_a_model_of_zeros_has_a_unit_and_a_bound() -> None:
    model = quantise(np.zeros((2, 3)), np.zeros(2))
    assert (model.unit, model.row_l1_bounds) == (1.0, (1, 1))


@pytest.mark.parametrize(
    ("weights", "intercept", "error"),
    [
        (np.zeros(3), np.zeros(1), ShapeError),
        (np.zeros((1, 3)), np.zeros(2), ShapeError),
        (np.zeros((1, 0)), np.zeros(1), ShapeError),
        (np.zeros((0, 3)), np.zeros(0), ShapeError),
        (np.array([[math.nan]]), np.zeros(1), NonFiniteError),
        (np.array([[1.0]]), np.array([math.inf]), NonFiniteError),
        (np.array([[1.7e308]]), np.zeros(1), ParameterError),
        (np.array([[5e-324]]), np.zeros(1), ParameterError),
    ],
)
def test_models_that_cannot_be_quantised_are_refused(
    weights: np.ndarray, intercept: np.ndarray, error: type[Exception]
) -> None:
    with pytest.raises(error) as caught:
        quantise(weights, intercept)
    assert type(caught.value) is error


def test_a_model_printed_by_accident_shows_no_weights() -> None:
    text = repr(quantise(np.array([[0.731, -0.219]]), np.array([0.5])))
    assert "weights" not in text
    assert "bias" not in text


@given(MODELS, st.integers(0, 2**32 - 1))
def test_no_input_moves_an_output_by_more_than_the_rounding_says(
    rows: np.ndarray, seed: int
) -> None:
    weights, intercept = rows[:, :-1], rows[:, -1]
    model = quantise(weights, intercept)
    bounds = np.linspace(0.5, 20, weights.shape[1])
    rounded = rounding(model, weights, intercept, bounds)
    inputs = np.random.default_rng(seed).uniform(-bounds, bounds, (50, len(bounds)))
    moved = inputs @ (weights - model.weights * model.step).T
    moved += intercept - model.bias * model.step
    assert (np.abs(moved) <= rounded.errors * (1 + 1e-9) + 1e-12).all()


def test_the_rounding_is_reached_by_some_input() -> None:
    weights, intercept = np.array([[0.3, -0.7], [1.0, 0.0]]), np.array([0.1, 0.0])
    model = quantise(weights, intercept)
    bounds = np.array([4.0, 8.0])
    errors = weights - model.weights * model.step
    offset = intercept - model.bias * model.step
    worst = np.sign(errors) * bounds * np.where(offset < 0, -1, 1)[:, None]
    reached = np.abs((errors * worst).sum(axis=1) + offset)
    np.testing.assert_allclose(rounding(model, weights, intercept, bounds).errors, reached)
    assert reached[1] == 0


def test_weights_that_become_zero_are_named_and_zeros_are_not() -> None:
    weights, intercept = np.array([[1e-6, 0.0, 0.5]]), np.array([0.0])
    rounded = rounding(quantise(weights, intercept), weights, intercept, np.ones(3))
    assert rounded.lost.tolist() == [[True, False, False]]
