"""Cached kernels per prime: field, negacyclic transform, Reed-Solomon code."""

from __future__ import annotations

from functools import lru_cache

import kernels
from protocol.parameters import CodeParameters


@lru_cache(maxsize=64)
def field(modulus: int) -> kernels.Modulus:
    """Arithmetic mod q on arrays of words."""
    return kernels.Modulus(modulus)


@lru_cache(maxsize=64)
def ntt(modulus: int, degree: int) -> kernels.NegacyclicNtt:
    """V, the transform in SEAL's order, its inverse and transposes."""
    return kernels.NegacyclicNtt(modulus, degree)


@lru_cache(maxsize=64)
def reed_solomon(modulus: int, code: CodeParameters) -> kernels.ReedSolomon:
    """The row code of one limb."""
    return kernels.ReedSolomon(
        modulus, code.message_length, code.opened_columns, code.codeword_length
    )
