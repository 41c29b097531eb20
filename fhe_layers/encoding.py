"""Slot encoding: real vectors to integer polynomials and back, on all cores.

Slot i of a polynomial m is m(zeta^(3^i)) with zeta = exp(i pi / N) (Cheon, Kim, Kim, Song 2017, in
SEAL's order), so for real slots m is real with m(zeta^(-3^i)) equal to slot i as well, and its
coefficients are one complex FFT away:

    m_j = zeta^-j / N * sum_t M(zeta^(2t+1)) exp(-2 pi i t j / N)

SEAL's encoder does the same one vector at a time behind the interpreter lock, and converts to
integers word by word; here all vectors are transformed together and reduced by the kernels.

Symbols: K vectors, N ring degree, L limbs, D = 2^scale_log2.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import cache

import numpy as np
from numpy.typing import NDArray

from fhe_layers import rns

_INTEGER_BITS = 61


def encode_slots(
    values: NDArray[np.float64], ring_degree: int, scale_log2: int, moduli: Sequence[int]
) -> rns.Words:
    """Encode float64 (K, records), other slots zero, as NTT words (K, L, N) at scale D.

    Coefficients are computed in double precision: errors are about 2^-50 of the largest value.
    """
    count, records = values.shape
    positive, negative, twist = _embedding(ring_degree)
    evaluations = np.zeros((count, ring_degree), dtype=np.complex128)
    evaluations[:, positive[:records]] = values
    evaluations[:, negative[:records]] = values
    coefficients = (np.fft.fft(evaluations, axis=1) * twist).real
    # Mantissas of 61 bits and one common power of two, which is applied in each field.
    largest = float(np.abs(coefficients).max(initial=1.0))
    shift = min(scale_log2, _INTEGER_BITS - int(np.frexp(largest)[1]))
    mantissas = np.rint(np.ldexp(coefficients, shift)).astype(np.int64)
    words = np.empty((count, len(moduli), ring_degree), dtype=np.uint64)
    for limb, prime in enumerate(moduli):
        field = rns.modulus(prime)
        residues = field.scale(field.reduce_i64(mantissas), pow(2, scale_log2 - shift, prime))
        words[:, limb] = rns.transform(prime, ring_degree).forward(residues)
    return words


def decode_slots(
    coefficients: rns.Words, scale: Fraction, moduli: Sequence[int]
) -> NDArray[np.float64]:
    """Coefficient words (L, N) at an exact scale to the N/2 real slots.

    Integers of any length are brought to doubles by their centred digits, without cancellation:
    the error is about 2^-50 of the largest coefficient over the scale.
    """
    ring_degree = coefficients.shape[-1]
    values = np.zeros(ring_degree)
    radices = [1.0, *map(float, moduli[:-1])]
    digits = rns.centred_digits(coefficients, moduli)
    for digit, radix in zip(reversed(digits), reversed(radices), strict=True):
        values = (values + digit) * radix
    positive, _, twist = _embedding(ring_degree)
    evaluations = np.fft.ifft(values / float(scale) / twist)
    return evaluations.real[positive]


@cache
def _embedding(
    ring_degree: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.complex128]]:
    """Index t of zeta^(3^i) and of zeta^(-3^i) among the odd powers 2t + 1, and zeta^-j / N."""
    exponents = np.empty(ring_degree // 2, dtype=np.int64)
    exponent = 1
    for slot in range(ring_degree // 2):
        exponents[slot] = exponent
        exponent = exponent * 3 % (2 * ring_degree)
    twist = np.exp(-1j * np.pi * np.arange(ring_degree) / ring_degree) / ring_degree
    return (exponents - 1) // 2, (2 * ring_degree - exponents - 1) // 2, twist
