"""Values of real polynomials at the odd 2N-th roots of unity, to about 90 bits.

Half of the roots are the conjugates of the others, so the powers zeta^(4u+1) of zeta = exp(i pi/N)
say everything.  With M = N/2, zeta^((4u+1) M) = i, and

    m(zeta^(4u+1)) = sum_{j < M} (m_j + i m_{j+M}) zeta^j exp(2 pi i u j / M)

is a complex FFT of length M, computed in double-double arithmetic on twiddle factors from exact
integers.  Stages are Pease's (1968): each takes the two halves to neighbours, so that all have
contiguous operands, and the result is in bit-reversed order.

Precision
---------
In the l2 norm, relative, u = 2^-53: a sum of complex numbers has 3 u^2, a product with a twiddle
factor sqrt(2) (7 + 3) u^2 and 1 u^2 for the factor's own rounding, together below 19 u^2.  There
is one such product before log2 M stages, which are sqrt(2) times unitary but for their rounding.
Coefficients that come with a relative error of 180 u^2 (`fhe_layers.encoding`) give, for
N <= 32768, 180 + 15 * 19 < 2^9 in all: 2^-97 of the values' l2 norm, which is at most sqrt(M) <=
2^7 times the largest value.  A value is therefore off by at most 2^-90 of the largest one:
`protocol.bounds.DECODER_ERROR_LOG2`.
"""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fhe_layers.double_double import DoubleDouble

_FIXED_POINT_BITS = 192


class Complex(NamedTuple):
    """Complex double-double arrays."""

    real: DoubleDouble
    imaginary: DoubleDouble

    def take(self, index: npt.NDArray[np.int64] | slice) -> Complex:
        """Entries of the last axis."""
        return Complex(self.real.take(index), self.imaginary.take(index))

    def plus(self, other: Complex) -> Complex:
        """The sum."""
        return Complex(self.real.plus(other.real), self.imaginary.plus(other.imaginary))

    def minus(self, other: Complex) -> Complex:
        """The difference."""
        return Complex(self.real.minus(other.real), self.imaginary.minus(other.imaginary))

    def times(self, other: Complex) -> Complex:
        """The product."""
        return Complex(
            self.real.times(other.real).minus(self.imaginary.times(other.imaginary)),
            self.real.times(other.imaginary).plus(self.imaginary.times(other.real)),
        )


def slot_exponents(ring_degree: int) -> npt.NDArray[np.int64]:
    """3^i mod 2N for slots i < N/2: slot i is the value at zeta^(3^i), in SEAL's order."""
    exponents = np.empty(ring_degree // 2, dtype=np.int64)
    exponent = 1
    for slot in range(ring_degree // 2):
        exponents[slot] = exponent
        exponent = exponent * 3 % (2 * ring_degree)
    return exponents


def real_slots(coefficients: DoubleDouble) -> DoubleDouble:
    """Real parts of the N/2 slots of a polynomial: (N,) to (N/2,), N a power of two above 4."""
    degree = coefficients.high.size
    half = degree // 2
    roots = powers(degree)
    values = Complex(coefficients.take(slice(half)), coefficients.take(slice(half, None)))
    values = values.times(roots.take(slice(half)))
    position = np.arange(half // 2)
    for stage in range(half.bit_length() - 1):
        factors = roots.take(4 * (position >> stage << stage))
        upper, lower = values.take(slice(half // 2)), values.take(slice(half // 2, None))
        values = _interleaved(upper.plus(lower), upper.minus(lower).times(factors))
    return values.real.take(_positions(degree))


def _interleaved(even: Complex, odd: Complex) -> Complex:
    """Two arrays as the even and odd entries of one twice as long."""
    pairs = zip((*even.real, *even.imaginary), (*odd.real, *odd.imaginary), strict=True)
    parts = [np.stack(pair, axis=-1).reshape(-1) for pair in pairs]
    return Complex(DoubleDouble(*parts[:2]), DoubleDouble(*parts[2:]))


def slot_points(ring_degree: int) -> npt.NDArray[np.int64]:
    """u for slots i < N/2: slot i, or its conjugate, is the value at zeta^(4u+1)."""
    exponents = slot_exponents(ring_degree)
    return np.where(exponents % 4 == 1, exponents, 2 * ring_degree - exponents) // 4


@cache
def _positions(ring_degree: int) -> npt.NDArray[np.int64]:
    """Where in the FFT's bit-reversed result each slot is, or its conjugate."""
    index = slot_points(ring_degree)
    reversed_index = np.zeros_like(index)
    for _ in range(ring_degree.bit_length() - 2):
        reversed_index = 2 * reversed_index + index % 2
        index //= 2
    return reversed_index


@cache
def powers(ring_degree: int) -> Complex:
    """zeta^j for j < N.  In fixed point with 192 bits: errors stay below 2^-170."""
    one = 1 << _FIXED_POINT_BITS
    cosine, sine = 0, one  # of pi / 2, halved until pi / N
    for _ in range(ring_degree.bit_length() - 2):
        cosine = math.isqrt((one + cosine) * one // 2)
        sine = sine * one // (2 * cosine)
    real, imaginary = [one], [0]
    for _ in range(ring_degree // 2 - 1):
        x, y = real[-1], imaginary[-1]
        real.append((x * cosine - y * sine) >> _FIXED_POINT_BITS)
        imaginary.append((x * sine + y * cosine) >> _FIXED_POINT_BITS)
    turned = [-y for y in imaginary], real  # times i = zeta^(N/2)
    return Complex(
        DoubleDouble.of_fixed_point(real + turned[0], _FIXED_POINT_BITS),
        DoubleDouble.of_fixed_point(imaginary + turned[1], _FIXED_POINT_BITS),
    )
