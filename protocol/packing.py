"""Single-record packing: where features, weights and answers sit in one polynomial.

Feature x_k is the coefficient of X^k.  The weights of output j sit at X^(j K - k), with
X^-i = -X^(N - i), so the product's coefficient at j K is sum_k w[j,k] x_k: one ciphertext in,
one product, J answers out (docs/protocol.md, section 5).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def answer_positions(outputs: int, features: int) -> npt.NDArray[np.int64]:
    """Coefficients j K which carry the answers, ascending, int64 (outputs,)."""
    return np.arange(outputs, dtype=np.int64) * features


def weight_positions(
    outputs: int, features: int, ring_degree: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Coefficient index and whether the sign flips, both (outputs, features)."""
    exponents = answer_positions(outputs, features)[:, None] - np.arange(features)[None, :]
    flipped = exponents < 0
    return np.where(flipped, exponents + ring_degree, exponents), flipped
