"""Ciphertexts as polynomials in S over exact integers, and the three kinds of node on them.

A tensor is an object array ``[unit, poly, limb, n]``; a product of two units multiplies them as
polynomials whose coefficients are multiplied coordinate by coordinate.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Tensor = NDArray[np.object_]


def reduced(tensor: Tensor, moduli: Sequence[int]) -> Tensor:
    """Residues, limb by limb."""
    return tensor % np.array(moduli, dtype=object)[:, None]


def affine(
    units: int,
    terms: Sequence[tuple[Tensor, Any, Any, Any, Sequence[int]]],
    bias: NDArray[np.uint64] | None,
    moduli: Sequence[int],
) -> Tensor:
    """``sum factor matrix source + bias``; terms as the kernel takes them, tensors for sources."""
    polys = max(source.shape[1] for source, *_ in terms)
    out = np.zeros((units, polys, *terms[0][0].shape[2:]), dtype=object)
    for source, indptr, columns, values, factors in terms:
        factor = np.array([int(f) for f in factors], dtype=object)[:, None]
        for j in range(units):
            for e in range(indptr[j], indptr[j + 1]):
                out[j, : source.shape[1]] += int(values[e]) * factor * source[columns[e]]
    if bias is not None:
        out[:, 0] += bias.T.astype(object)[:, :, None]
    return reduced(out, moduli)


def product(left: Tensor, right: Tensor, moduli: Sequence[int]) -> Tensor:
    """Unit by unit."""
    units, polys, *rest = left.shape
    out = np.zeros((units, polys + right.shape[1] - 1, *rest), dtype=object)
    for a in range(polys):
        for b in range(right.shape[1]):
            out[:, a + b] += left[:, a] * right[:, b]
    return reduced(out, moduli)


def power(source: Tensor, coefficients: NDArray[np.uint64], moduli: Sequence[int]) -> Tensor:
    """``sum_i coefficients[:, i] source^i``, by Horner's rule."""
    factors = coefficients.astype(object)[:, :, None]
    out = np.zeros((len(source), 1, *source.shape[2:]), dtype=object)
    out[:, 0] = factors[:, -1]
    for i in range(coefficients.shape[1] - 2, -1, -1):
        out = product(out, source, moduli)
        out[:, 0] += factors[:, i]
    return reduced(out, moduli)
