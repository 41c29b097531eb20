"""Polynomials in place of activations that have none: least squares on what a layer really sees.

The fit follows the distribution of the pre-activations in the sample. A share of its weight lies on
the whole interval around them, which records that are not in the sample may reach: without it, the
polynomial would be free to turn away just outside.

The layer after an activation can then make up for some of what the polynomial misses:
`refit_layer` moves its weights, no more than the sample warrants.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from numpy.polynomial import chebyshev

from protocol.errors import ModelError

Floats: TypeAlias = npt.NDArray[np.float64]

INTERVAL_WEIGHT = 0.05
"""Share of the weight that lies on the interval rather than on the sample."""

REACH = 0.25
"""The interval goes this share of the sample's width beyond it, on each side."""

POINTS = 1001
"""Of the interval."""

RIDGE = 0.1
"""What holds weights back when a layer is fitted again, relative to its inputs' mean square."""

NEGLIGIBLE = 1e-12
"""A leading coefficient adds less than this share of the largest term: the degree is lower."""


def fit_activation(
    function: Callable[[Floats], Floats], samples: Floats, degree: int
) -> tuple[float, ...]:
    """Coefficients, constant first, of the polynomial of this degree closest to `function`.

    Args:
        function: elementwise.
        samples: pre-activations of the sample, any shape.
        degree: at least 1; the result's is lower where the function itself is.

    Raises:
        ModelError: no finite samples, or a function that is constant on them.
    """
    values = np.asarray(samples, dtype=np.float64).ravel()
    if not values.size or not np.isfinite(values).all():
        raise ModelError("an activation is fitted on finite values of the sample")
    low, high = float(values.min()), float(values.max())
    reach = REACH * (high - low) or max(abs(low), 1.0)
    low, high = low - reach, high + reach
    grid = np.linspace(low, high, POINTS)
    points = np.concatenate([values, grid])
    weights = np.concatenate(
        [
            np.full(values.size, (1 - INTERVAL_WEIGHT) / values.size),
            np.full(POINTS, INTERVAL_WEIGHT / POINTS),
        ]
    )
    # On [-1, 1] and in Chebyshev's basis, where least squares are well conditioned.
    centre, radius = (low + high) / 2, (high - low) / 2
    basis = chebyshev.chebvander((points - centre) / radius, degree)
    root = np.sqrt(weights)
    fitted = np.linalg.lstsq(basis * root[:, None], function(points) * root, rcond=None)[0]
    local = np.polynomial.Polynomial(chebyshev.cheb2poly(fitted))
    shifted = local(np.polynomial.Polynomial([-centre / radius, 1 / radius]))
    coefficients = np.zeros(degree + 1)
    coefficients[: len(shifted.coef)] = shifted.coef
    sizes = np.abs(coefficients) * max(abs(low), abs(high)) ** np.arange(degree + 1)
    significant = np.flatnonzero(sizes > NEGLIGIBLE * sizes.max())
    if not significant.size or significant[-1] == 0:
        raise ModelError("an activation is constant on the whole sample")
    return tuple(coefficients[: significant[-1] + 1].tolist())


def refit_layer(weights: Floats, inputs: Floats, wanted: Floats) -> tuple[Floats, Floats]:
    """A dense layer whose sums on other inputs are close to those that it had.

    Least squares with a penalty on the change of the weights, not on the weights: a layer whose
    inputs did not change does not either.

    Args:
        weights: (J, K), as they were.
        inputs: what the layer gets now, (records, K).
        wanted: its sums before, (records, J).

    Returns:
        weights and bias.
    """
    mean = inputs.mean(axis=0)
    centred = inputs - mean
    missed = wanted - wanted.mean(axis=0) - centred @ weights.T
    squares = centred.T @ centred
    penalty = RIDGE * float(np.trace(squares)) / len(squares)
    if not penalty:  # constant inputs: only the bias can do anything
        return weights, wanted.mean(axis=0) - mean @ weights.T
    change = np.linalg.solve(squares + penalty * np.eye(len(squares)), centred.T @ missed)
    moved: Floats = weights + change.T
    return moved, wanted.mean(axis=0) - mean @ moved.T
