"""What a verified linear answer is worth: error bound, wrap-around and flooding distance.

Everything here follows from public data and proved ranges (docs/protocol.md, section 9):
every party recomputes it.  A phase is Y_0 + Y_1 s mod Q; the model's integers act on integer
plaintexts, and outputs carry the scale 2^(input scale + weight scale).

The slots of a polynomial with coefficients of at most b are at most N b; those of a product of
two polynomials at most N^2 times the product of their coefficient bounds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from protocol.errors import ParameterError
from protocol.families import (
    PUBLIC_NOISE_BOUND,
    WEIGHT_BITS,
    flooding_family,
    small_family,
)
from protocol.parameters import FRESH_NOISE_BOUND, SECRET_BOUND, CkksParameters, Packing

ENCODER_ERROR_LOG2 = -44
"""Relative error of double-precision encoding and decoding, generous for N <= 32768."""

DISCLOSURE_DISTANCE_LOG2 = 32
"""Released values are hidden by noise at least 2^32 times the largest error that depends on the
secret key and that a malicious server can prove (about 2^55 times an honest server's, or more)."""


@dataclass(frozen=True)
class LinearBounds:
    """Bounds of one linear answer, at the output's integer scale unless said otherwise.

    Attributes:
        output_scale_log2: outputs carry this scale.
        error: bound on |decrypted - exact integer model|, per released value.
        secret_error: the part of the error that depends on the client's secret key.
        disclosure_noise: the client's own noise, uniform in [-this, this], added on release.
        precision_bits: -log2 of the released value's error bound in units of the output.
        no_wrap_bits: log2(Q/2) minus log2 of the largest phase; positive, or it does not fit.
        flooding_distance_log2: statistical distance of an output from an ideal one.
    """

    output_scale_log2: int
    error: int
    secret_error: int
    disclosure_noise: int
    precision_bits: float
    no_wrap_bits: float
    flooding_distance_log2: float

    @property
    def released_error(self) -> float:
        """Error bound of a released value, in units of the output, its own noise included."""
        total = self.error + 2 * self.disclosure_noise
        try:
            return math.ldexp(total, -self.output_scale_log2)
        except OverflowError:
            return math.inf


def linear_bounds(
    parameters: CkksParameters,
    packing: Packing,
    *,
    outputs: int,
    row_l1_bound: int,
    input_bound: float,
    flooding_log2: int | None,
) -> LinearBounds:
    """Bounds of a linear model's answer.

    Args:
        parameters: the ring.
        packing: batch or single record.
        outputs: J.
        row_l1_bound: largest declared sum of |weights|, bias included, of one output.
        input_bound: largest |x| of a normalised input; the bias counts as an input of 1.
        flooding_log2: f, or None in public mode, where nothing is sanitised.

    Raises:
        ParameterError: when an input bound or a l1 bound is not positive.
    """
    if row_l1_bound < 1 or not (math.isfinite(input_bound) and input_bound > 0):
        raise ParameterError("row l1 bound and input bound must be positive")
    degree = parameters.ring_degree
    limbs = tuple(range(len(parameters.moduli)))
    batch = packing is Packing.BATCH
    spread = degree if batch else 1  # a slot collects every coefficient, a read-out just one

    # Fresh noise fills every coefficient of an input, so that a read-out of one output meets the
    # weights of all of them; the record itself fills K coefficients and meets its own row alone.
    noisy_rows = 1 if batch else outputs
    input_noise = noisy_rows * row_l1_bound * FRESH_NOISE_BOUND * spread
    secret_error = input_noise
    flooding = 0
    distance = float("-inf")
    if flooding_log2 is not None:
        noise = outputs * degree if batch else degree
        short = small_family(degree, noise, limbs).proved_bound
        product = degree * short * (PUBLIC_NOISE_BOUND + SECRET_BOUND)
        secret_error += product * spread
        if batch:
            family = flooding_family(outputs * degree, flooding_log2, limbs)
            flooding = family.proved_bound * degree
        else:
            flooding = 1 << flooding_log2
        honest = degree * (PUBLIC_NOISE_BOUND + FRESH_NOISE_BOUND * SECRET_BOUND)
        released = outputs * spread
        distance = math.log2(honest) + math.log2(released) - flooding_log2 - 1

    largest = math.ceil(row_l1_bound * max(input_bound, 1.0)) << parameters.input_scale_log2
    scale = parameters.input_scale_log2 + WEIGHT_BITS
    rounding = (largest >> -ENCODER_ERROR_LOG2) if batch else 0
    rounding += row_l1_bound * spread  # plaintexts are rounded to integers
    error = flooding + secret_error + rounding
    disclosure = max(error >> 2, secret_error << DISCLOSURE_DISTANCE_LOG2)
    return LinearBounds(
        output_scale_log2=scale,
        error=error,
        secret_error=secret_error,
        disclosure_noise=disclosure,
        precision_bits=scale - math.log2(error + 2 * disclosure),
        no_wrap_bits=math.log2(parameters.modulus) - 1 - math.log2(largest + error),
        flooding_distance_log2=distance,
    )
