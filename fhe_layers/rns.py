"""Residues and transforms, limb by limb: the few operations every module here shares.

Symbols: L limbs, q_l the prime of limb l, Q their product, V_l the negacyclic NTT of limb l in
SEAL's order. Words are uint64 residues below their modulus; `(..., L, n)` puts the limb just before
the coefficient.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

import kernels
from protocol.errors import EncodingError, ShapeError

Words: TypeAlias = NDArray[np.uint64]
Integers: TypeAlias = NDArray[np.int64]


@cache
def modulus(value: int) -> kernels.Modulus:
    """The field F_value; construction proves primality, so instances are kept."""
    return kernels.Modulus(value)


@cache
def transform(value: int, ring_degree: int) -> kernels.NegacyclicNtt:
    """The negacyclic NTT of F_value[X]/(X^n + 1), twiddle tables kept."""
    return kernels.NegacyclicNtt(value, ring_degree)


def require_words(words: Words, shape: tuple[int, ...], moduli: Sequence[int], name: str) -> None:
    """Check dtype, shape `(..., L, n)` and that every word is below the modulus of its limb.

    Raises ShapeError or EncodingError; `name` says which argument failed.
    """
    require_shape(words, shape, name)
    for limb, value in enumerate(moduli):
        if words[..., limb, :].size and int(words[..., limb, :].max()) >= value:
            raise EncodingError(f"{name}: limb {limb} has a word that is not below {value}")


def require_shape(words: Words, shape: tuple[int, ...], name: str) -> None:
    """Check for uint64 words of exactly this shape; raises ShapeError."""
    if words.dtype != np.uint64 or words.shape != shape:
        raise ShapeError(
            f"{name}: expected uint64 words of shape {shape}, found {words.dtype} of {words.shape}"
        )


def to_ntt(coefficients: Words, moduli: Sequence[int]) -> Words:
    """V_l on each limb: coefficient words (L, n) to NTT words (L, n)."""
    degree = coefficients.shape[-1]
    return np.stack(
        [transform(q, degree).forward(row) for q, row in zip(moduli, coefficients, strict=True)]
    )


def to_coefficients(words: Words, moduli: Sequence[int]) -> Words:
    """V_l^-1 on each limb: NTT words (L, n) to coefficient words (L, n)."""
    degree = words.shape[-1]
    return np.stack(
        [transform(q, degree).inverse(row) for q, row in zip(moduli, words, strict=True)]
    )


def residues(integers: Integers, moduli: Sequence[int]) -> Words:
    """Signed 64-bit integers (n,) as residues (L, n)."""
    return np.stack([modulus(q).reduce_i64(integers) for q in moduli])


def multiply(left: Words, right: Words, moduli: Sequence[int]) -> Words:
    """Words (L, n) times words (L, n), coordinate by coordinate."""
    rows = zip(moduli, left, right, strict=True)
    return np.stack([modulus(q).mul(a, b) for q, a, b in rows])


def add(left: Words, right: Words, moduli: Sequence[int]) -> Words:
    """Words (L, n) plus words (L, n), coordinate by coordinate."""
    rows = zip(moduli, left, right, strict=True)
    return np.stack([modulus(q).add(a, b) for q, a, b in rows])


def centred_integers(words: Words, moduli: Sequence[int]) -> list[int]:
    """Residues (L, m) to m integers in (-Q/2, Q/2), by the Chinese remainder theorem."""
    product = math.prod(moduli)
    lifts = [product // q * pow(product // q, -1, q) for q in moduli]
    sums = [
        sum(lift * residue for lift, residue in zip(lifts, column, strict=True)) % product
        for column in zip(*words.tolist(), strict=True)
    ]
    return [value - product if value > product // 2 else value for value in sums]


def centred_digits(words: Words, moduli: Sequence[int]) -> list[Integers]:
    """Residues (L, ...) to centred mixed-radix digits, least significant first, each int64 (...).

    The integer is d_0 + q_0 (d_1 + q_1 (d_2 + ...)) with |d_l| < q_l / 2, and so the one of
    magnitude below Q/2 (Garner 1959). No product of a digit exceeds a word, and a small integer
    has zeros for its upper digits, so that summing them in floating point cancels nothing.
    """
    digits: list[Integers] = []
    for limb, value in enumerate(moduli):
        field, rest = modulus(value), np.ascontiguousarray(words[limb])
        for lower, digit in zip(moduli, digits, strict=False):
            rest = field.scale(field.sub(rest, field.reduce_i64(digit)), pow(lower, -1, value))
        signed = rest.astype(np.int64)
        digits.append(np.where(signed > value // 2, signed - value, signed))
    return digits
