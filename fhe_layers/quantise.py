"""Real weights to the integers that are committed, evaluated and proved.

Symbols: J outputs, K features, t = 15 weight bits. All weights and biases of a model share one
unit, a power of two:

    w_jk ~ unit * W_jk / 2^t        b_j ~ unit * B_j / 2^t        |W|, |B| <= 2^t - 1

so the integer model differs from the real one by at most unit / 2^t per weight; `rounding` says
what that does to an output. Everything a client learns from the card is rounded up to a power of
two: exact norms would say something of the weights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fhe_layers import rns
from protocol.errors import NonFiniteError, ParameterError, ShapeError
from protocol.families import WEIGHT_BITS, WEIGHT_BOUND

# Weights that are powers of two get the next unit, so that rounding cannot reach 2^t.
_HEADROOM = 1 + 1e-9


@dataclass(frozen=True, eq=False)
class QuantisedModel:
    """An affine model in integers.

    Attributes:
        weights: int64 (J, K).
        bias: int64 (J,).
        unit: a power of two; a weight is unit * W / 2^15.
        row_l1_bounds: J powers of two, each at least sum_k |W_jk| + |B_j|.
    """

    weights: rns.Integers = field(repr=False)
    bias: rns.Integers = field(repr=False)
    unit: float
    row_l1_bounds: tuple[int, ...]

    @property
    def step(self) -> float:
        """Distance between neighbouring weights, and the bound on each weight's error."""
        return math.ldexp(self.unit, -WEIGHT_BITS)


def quantise(weights: NDArray[np.float64], intercept: NDArray[np.float64]) -> QuantisedModel:
    """Round weights (J, K) and intercepts (J,) to the integer grid of one unit.

    Raises:
        ShapeError: wrong dimensions.
        NonFiniteError: a NaN or an infinity.
        ParameterError: weights too large or too small for a representable unit.
    """
    if weights.ndim != 2 or 0 in weights.shape or intercept.shape != weights.shape[:1]:
        raise ShapeError(
            f"expected weights (J, K) and intercept (J,), found {weights.shape}, {intercept.shape}"
        )
    rows = np.column_stack([weights, intercept]).astype(np.float64)
    if not np.isfinite(rows).all():
        raise NonFiniteError("weights: NaN or infinity cannot be quantised")
    unit = smallest_unit(float(np.abs(rows).max()))
    integers = np.clip(np.rint(rows / unit * 2.0**WEIGHT_BITS), -WEIGHT_BOUND, WEIGHT_BOUND)
    exact = np.ascontiguousarray(integers).astype(np.int64)
    norms = np.abs(exact).sum(axis=1).tolist()
    return QuantisedModel(
        weights=np.ascontiguousarray(exact[:, :-1]),
        bias=np.ascontiguousarray(exact[:, -1]),
        unit=unit,
        row_l1_bounds=tuple(next_power_of_two(norm) for norm in norms),
    )


@dataclass(frozen=True, eq=False)
class Rounding:
    """How far the integer model is from the real one.

    Attributes:
        errors: float64 (J,); no input in the declared ranges moves an output by more.
        lost: bool (J, K); weights that are not zero and became zero.
    """

    errors: NDArray[np.float64]
    lost: NDArray[np.bool_] = field(repr=False)


def rounding(
    model: QuantisedModel,
    weights: NDArray[np.float64],
    intercept: NDArray[np.float64],
    input_bounds: NDArray[np.float64],
) -> Rounding:
    """What quantising did to weights (J, K) and intercepts (J,).

    Args:
        model: the result of `quantise` on them.
        weights: as they were.
        intercept: as it was.
        input_bounds: float64 (K,), the largest |x| of each normalised input.
    """
    moved = np.abs(weights - model.weights * model.step)
    errors = moved @ input_bounds + np.abs(intercept - model.bias * model.step)
    return Rounding(errors, (weights != 0) & (model.weights == 0))


def smallest_unit(largest: float) -> float:
    """The smallest power of two above `largest`; 1 for a model of zeros."""
    if largest == 0:
        return 1.0
    mantissa, exponent = math.frexp(largest * _HEADROOM)
    if not math.isfinite(mantissa) or not -1000 < exponent < 1000:
        raise ParameterError(
            f"weights of magnitude {largest:g} cannot be scaled: rescale the model"
        )
    return math.ldexp(1.0, exponent - 1 if mantissa == 0.5 else exponent)


def next_power_of_two(value: int) -> int:
    """The smallest power of two that is at least `value` and at least 1."""
    return 1 << max(value - 1, 0).bit_length()
