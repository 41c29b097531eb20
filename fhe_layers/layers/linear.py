"""Evaluate an affine layer y_j = sum_k w_jk x_k + b_j on encrypted x, with integer weights.

The mirror of this module in `zk_layers/layers/linear.py` proves what is computed here.

Symbols: K features, J outputs, L limbs, n = N ring degree, D the input scale (a power of two). All
words are NTT words `(unit, poly, limb, n)` in SEAL's order, below the modulus of their limb.
Weights and biases are signed integers, |w| <= 2^15 - 1; the output scale is D times the weight
unit, so a bias enters as b_j * D.

Nothing here depends on the values of the weights but the result: zero weights are not skipped, and
no branch or reduction count follows a weight. (docs/protocol.md, native algebra: Linear and
PlainMul.)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

import kernels
from fhe_layers import rns
from fhe_layers.packing import SingleRecordLayout
from protocol.errors import ParameterError, ShapeError
from protocol.families import WEIGHT_BOUND


def evaluate_batch(
    inputs: rns.Words,
    weights: rns.Integers,
    bias: rns.Integers,
    *,
    input_scale_log2: int,
    moduli: Sequence[int],
) -> rns.Words:
    """Batch packing: Y[j] = sum_k W[j, k] X[k], plus the constant b_j D in the first polynomial.

    inputs (K, 2, L, n), weights (J, K), bias (J,) -> (J, 2, L, n). A constant polynomial is the
    same word in every NTT position, so the bias costs one addition.

    Raises:
        ShapeError: wrong shapes or types.
        ParameterError: a weight or bias out of range.
        ValueError: a word that is not below its modulus, found by the kernel.
    """
    if inputs.ndim != 4:
        raise ShapeError(f"inputs: expected (K, 2, L, n), found {inputs.shape}")
    features, degree = inputs.shape[0], inputs.shape[-1]
    rns.require_shape(inputs, (features, 2, len(moduli), degree), "inputs")
    require_integers(weights, (bias.size, features), "weights")
    require_integers(bias, (bias.size,), "bias")
    outputs = kernels.linear_small(inputs, weights, list(moduli))
    for limb, q in enumerate(moduli):
        constants = bias_residues(bias, input_scale_log2, q)
        shifted = outputs[:, 0, limb] + constants[:, None]  # below 2q < 2^62: no overflow
        outputs[:, 0, limb] = np.minimum(shifted, shifted - np.uint64(q))  # wraps when below q
    return outputs


def evaluate_single(
    record: rns.Words,
    weights: rns.Integers,
    *,
    layout: SingleRecordLayout,
    moduli: Sequence[int],
) -> rns.Words:
    """Single-record packing: Y = X * V Pi(W), coordinate by coordinate.

    record (2, L, n), weights (J, K) -> (2, L, n). The biases are not added here: only the owed
    coefficients carry one, and they are added where those are read out (`fhe_layers.sanitise`).

    Raises:
        ShapeError: wrong shapes or types.
        ParameterError: a weight or bias out of range.
        ValueError: a word that is not below its modulus, found by the kernel.
    """
    rns.require_shape(record, (2, len(moduli), layout.ring_degree), "record")
    require_integers(weights, (layout.outputs, layout.features), "weights")
    polynomial = layout.weight_polynomial(weights)
    factor = rns.to_ntt(rns.residues(polynomial, moduli), moduli)
    return np.stack([rns.multiply(component, factor, moduli) for component in record])


def bias_residues(bias: rns.Integers, input_scale_log2: int, modulus: int) -> rns.Words:
    """b_j * 2^input_scale_log2 mod q as words (J,)."""
    return rns.modulus(modulus).scale(
        rns.modulus(modulus).reduce_i64(bias), pow(2, input_scale_log2, modulus)
    )


def require_integers(values: rns.Integers, shape: tuple[int, ...], name: str) -> None:
    """Check model integers: int64, exactly this shape, within +-(2^15 - 1).

    Raises:
        ShapeError: another shape or type, or no entry at all.
        ParameterError: an integer out of range.
    """
    if values.dtype != np.int64 or values.shape != shape or not values.size:
        raise ShapeError(
            f"{name}: expected non-empty int64 {shape}, found {values.dtype} {values.shape}"
        )
    # Two comparisons rather than an absolute value: |-2^63| does not exist in int64.
    if int(values.max()) > WEIGHT_BOUND or int(values.min()) < -WEIGHT_BOUND:
        raise ParameterError(f"{name}: every integer must lie within +-{WEIGHT_BOUND}")
