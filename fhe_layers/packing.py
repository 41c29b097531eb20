"""Where records and weights sit inside a polynomial.

Symbols: N ring degree, K features (the bias is not one of them), J outputs.

*Batch*: one ciphertext per feature; record r is slot r, at most N/2 records. A layer is a
combination of ciphertexts and the weights are scalars.

*Single record*: one ciphertext for the whole record, feature x_k at X^k. The weight polynomial

    Pi(W) = sum_j sum_k w_jk X^(jK - k)        in Z[X]/(X^N + 1), where X^-k = -X^(N-k)

makes the coefficient of X^(jK) of x * Pi(W) equal sum_k w_jk x_k: all other products land on X^(jK
+ k - k') with 0 < |k - k'| < K, never on a multiple of K as long as J K <= N. (docs/protocol.md,
coefficient read-out.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fhe_layers import rns
from protocol.errors import NonFiniteError, ParameterError, ShapeError
from protocol.packing import answer_positions, weight_positions


@dataclass(frozen=True)
class SingleRecordLayout:
    """One ciphertext in, one mask polynomial and J coefficients out."""

    ring_degree: int
    features: int
    outputs: int

    def __post_init__(self) -> None:
        _require_positive(self.ring_degree, self.features, self.outputs)
        if self.features * self.outputs > self.ring_degree:
            raise ParameterError(
                f"single-record packing needs features * outputs <= {self.ring_degree}, "
                f"got {self.features} * {self.outputs}"
            )

    @cached_property
    def output_positions(self) -> NDArray[np.int64]:
        """Coefficient indices (J,) the client is owed: j K."""
        return answer_positions(self.outputs, self.features)

    def weight_polynomial(self, weights: rns.Integers) -> rns.Integers:
        """Pi: signed weights (J, K) to signed coefficients (N,). Raises ShapeError."""
        if weights.shape != (self.outputs, self.features):
            raise ShapeError(
                f"weights: expected shape {(self.outputs, self.features)}, found {weights.shape}"
            )
        index, flipped = weight_positions(self.outputs, self.features, self.ring_degree)
        polynomial = np.zeros(self.ring_degree, dtype=np.int64)
        polynomial[index] = np.where(flipped, -weights, weights)
        return polynomial

    def response_ciphertext(
        self, body: rns.Words, mask: rns.Words, moduli: Sequence[int]
    ) -> rns.Words:
        """The ciphertext (2, L, N) whose decryption has the owed coefficients in place.

        body (J, L) are coefficients of the first polynomial, the others taken as zero; mask (L, N)
        is the second polynomial, in NTT words already. Only the owed coefficients mean anything.

        Raises:
            ShapeError: wrong dimensions.
            EncodingError: a word is not below its modulus.
        """
        limbs = len(moduli)
        rns.require_shape(body, (self.outputs, limbs), "body")
        rns.require_words(mask, (limbs, self.ring_degree), moduli, "mask")
        coefficients = np.zeros((limbs, self.ring_degree), dtype=np.uint64)
        coefficients[:, self.output_positions] = body.T
        rns.require_words(coefficients, coefficients.shape, moduli, "body")
        return np.stack([rns.to_ntt(coefficients, moduli), mask])


def fixed_point(values: NDArray[np.float64], scale_log2: int) -> list[int]:
    """round(x * 2^scale_log2) for each x of (K,), exact: the scaling is by a power of two.

    Raises:
        ShapeError: not a vector.
        NonFiniteError: a NaN or an infinity, given or reached by scaling.
    """
    if values.ndim != 1:
        raise ShapeError(f"values: expected (K,), found {values.shape}")
    scaled = np.ldexp(values.astype(np.float64), scale_log2)
    if not np.isfinite(scaled).all():
        raise NonFiniteError("values: NaN or infinity cannot be encoded")
    return [round(value) for value in scaled.tolist()]


def _require_positive(ring_degree: int, features: int, outputs: int) -> None:
    if ring_degree < 2 or ring_degree & (ring_degree - 1):
        raise ParameterError(f"ring degree must be a power of two, found {ring_degree}")
    if features < 1 or outputs < 1:
        raise ParameterError(f"a layer needs features and outputs, found {features} and {outputs}")
