"""Slot encoding: real vectors to integer polynomials and back, on all cores.

Slot i of a polynomial m is m(zeta^(3^i)) with zeta = exp(i pi / N) (Cheon, Kim, Kim, Song 2017, in
SEAL's order).

SEAL's encoder does the same one vector at a time behind the interpreter lock, and converts to
integers word by word; here all vectors are transformed together and reduced by the kernels.

Encoding works in double precision, on values that do not depend on the key, and gives the same
words on every machine (`fhe_layers.interpolation`): what travels in clear is encoded by whoever
needs it.  Decoding does depend on the key and is exact to about 90 bits.

Symbols: K vectors, N ring degree, L limbs, D = 2^scale_log2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fhe_layers import rns
from fhe_layers.double_double import DoubleDouble
from fhe_layers.embedding import real_slots
from fhe_layers.interpolation import coefficients_of_slots
from protocol.errors import RangeError

_INTEGER_BITS = 61
_LONGEST_BITS = 930  # 2^16 sums and the splitting of doubles stay below 2^1024


def encode_slots(
    values: NDArray[np.float64], ring_degree: int, scale_log2: int, moduli: Sequence[int]
) -> rns.Words:
    """Encode float64 (K, records), other slots zero, as NTT words (K, L, N) at scale D.

    Coefficients are computed in double precision: errors are about 2^-50 of the largest value.  A
    vector's words are a function of that vector alone.
    """
    return slot_words(slot_mantissas(values, ring_degree, scale_log2), moduli)


class Mantissas(NamedTuple):
    """Polynomials (K, N) whose coefficients are integers times 2^factors_log2, one a row."""

    integers: rns.Integers
    factors_log2: rns.Integers


def slot_mantissas(values: NDArray[np.float64], ring_degree: int, scale_log2: int) -> Mantissas:
    """The first half of encoding: float64 (K, records) to polynomials at scale D."""
    coefficients = coefficients_of_slots(values, ring_degree)
    scaling = 1 - ring_degree.bit_length()  # 1 / N
    # Mantissas of 61 bits and a power of two, which is applied in each field.  Taken from the
    # vector's largest coefficient, however small: the relative error is the same for every range.
    exponents = np.frexp(np.abs(coefficients).max(axis=1))[1] + scaling
    shifts = np.minimum(scale_log2, _INTEGER_BITS - exponents)
    mantissas = np.rint(np.ldexp(coefficients, (shifts + scaling)[:, None])).astype(np.int64)
    return Mantissas(mantissas, scale_log2 - shifts)


def slot_words(mantissas: Mantissas, moduli: Sequence[int]) -> rns.Words:
    """The second half: polynomials (K, N) to NTT words (K, L, N).  Long calls of few kernels."""
    count, degree = mantissas.integers.shape
    words = np.empty((count, len(moduli), degree), dtype=np.uint64)
    for limb, prime in enumerate(moduli):
        field = rns.modulus(prime)
        residues = field.reduce_i64(mantissas.integers)
        for factor_log2 in sorted(set(mantissas.factors_log2.tolist()) - {0}):
            rows = np.flatnonzero(mantissas.factors_log2 == factor_log2)
            residues[rows] = field.scale(residues[rows], pow(2, factor_log2, prime))
        words[:, limb] = rns.transform(prime, degree).forward(residues)
    return words


def decode_slots(
    coefficients: rns.Words, moduli: Sequence[int], factor: int = 1
) -> NDArray[np.object_]:
    """Coefficient words (J, L, N) of J polynomials m to Python integers (J, N/2).

    Entry i is factor times the real part of slot i of m, m with centred coefficients; factor is a
    product of at most three primes.  What rounding does here depends on the coefficients, which
    depend on the secret key: so it is in double-double arithmetic, and its error, at most 2^-90 of
    the largest slot's magnitude plus 1 (`fhe_layers.embedding`), is counted with the errors that
    a released value hides (`protocol.bounds`).

    Raises:
        RangeError: the modulus times the factor is too long for the range of a double.
    """
    count, limbs, degree = coefficients.shape
    if math.prod(moduli).bit_length() + factor.bit_length() > _LONGEST_BITS:
        raise RangeError(f"decoding takes at most {_LONGEST_BITS} bits of modulus and factor")
    words = np.ascontiguousarray(np.moveaxis(coefficients, 0, 1)).reshape(limbs, -1)
    digits = rns.centred_digits(words, moduli)
    slots = np.empty((count, degree // 2), dtype=object)
    for row in range(count):  # one at a time stays in the cache
        of_row = slice(row * degree, (row + 1) * degree)
        polynomial = _horner([digit[of_row] for digit in digits], [factor, *moduli[:-1]])
        slots[row] = real_slots(polynomial).integers()
    return slots


def _horner(digits: list[rns.Integers], radices: list[int]) -> DoubleDouble:
    """r_0 (d_0 + r_1 (d_1 + r_2 (d_2 + ...))), relative error at most 180 u^2, u = 2^-53.

    For centred digits and at most 16 of them.  Sums do not cancel: while the digits above are a
    small integer they are exact, and from there on they are at least half a radix, beside which
    the next digit is nothing.  The first inexact product is followed by a sum that can at most
    halve it; each of the others adds 7 + 3 u^2 and the rounding of a radix 1 u^2.
    """
    value = DoubleDouble.of_words(np.zeros_like(digits[0]))
    for digit, radix in zip(reversed(digits), reversed(radices), strict=True):
        value = value.plus(DoubleDouble.of_words(digit))
        value = value.times(DoubleDouble.of_fixed_point([radix], 0))
    return value
