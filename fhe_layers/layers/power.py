"""Add a polynomial activation to a tile program: squares, and up to the fourth power.

    out = sum_i c_i x^i        with x a ciphertext, that is a polynomial in S

*Size*: x of t polynomials has powers of i (t - 1) + 1; nothing is relinearised.
*Scale*: x^i carries the i-th power of the scale s of x; the lowered coefficients c_i contain
s^(d - i) already, so that all terms meet at s^d times the scale of the coefficients.
*Noise*: |x + e|^i - |x|^i, at most i |e| (|x| + |e|)^(i - 1), times |c_i|; c_0 is exact and enters
the first polynomial at every position of the transform.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

import kernels
from protocol.graph import Power


def append(program: kernels.TileProgram, node: Power, moduli: Sequence[int]) -> int:
    """Append the node; returns the tensor's number. Coefficients are reduced in each limb."""
    residues = [[coefficient % q for coefficient in node.coefficients] for q in moduli]
    return program.power(node.source, np.array(residues, dtype=np.uint64))
