"""Double-double arithmetic on arrays: twice the precision of a double, about 106 bits.

A number is the unevaluated sum of two doubles, `high` the one nearest to it.  Sums and products of
doubles split exactly into a rounded result and its error (Dekker 1971; Knuth, The Art of Computer
Programming 2, 4.2.2).  With u = 2^-53 the relative errors are proved by Joldes, Muller and Popescu
(Tight and rigorous error bounds for basic building blocks of double-word arithmetic, 2017):

    sum         3 u^2 / (1 - 4 u)       `AccurateDWPlusDW`
    product     7 u^2                   `DWTimesDW1`

They hold while nothing overflows, which the splitting by 2^27 + 1 does from 2^996 on, and but for
2^-1074 where something underflows.  Every operation below is one rounded operation of its own:
NumPy neither fuses nor reorders them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_SPLITTER = float((1 << 27) + 1)


class DoubleDouble(NamedTuple):
    """Arrays of one shape: the value is high + low, exactly, with |low| <= ulp(high) / 2."""

    high: Floats
    low: Floats

    @classmethod
    def of_words(cls, integers: npt.NDArray[np.int64]) -> Self:
        """Integers of at most 2^62 in magnitude, exactly."""
        high = integers.astype(np.float64)
        return cls(high, (integers - high.astype(np.int64)).astype(np.float64))

    @classmethod
    def of_fixed_point(cls, integers: Sequence[int], bits: int) -> Self:
        """integers / 2^bits for integers of any length, each to the nearest two doubles."""
        high = [value / (1 << bits) for value in integers]  # correctly rounded, as is the next
        low = [
            (value - int(math.ldexp(nearest, bits))) / (1 << bits)
            for value, nearest in zip(integers, high, strict=True)
        ]
        return cls(np.array(high), np.array(low))

    def take(self, index: npt.NDArray[np.int64] | slice) -> DoubleDouble:
        """Entries of the last axis."""
        return DoubleDouble(self.high[..., index], self.low[..., index])

    def plus(self, other: DoubleDouble) -> DoubleDouble:
        """The sum."""
        high, error = _two_sum(self.high, other.high)
        lower, rest = _two_sum(self.low, other.low)
        high, error = _fast_two_sum(high, error + lower)
        return DoubleDouble(*_fast_two_sum(high, error + rest))

    def minus(self, other: DoubleDouble) -> DoubleDouble:
        """The difference."""
        return self.plus(DoubleDouble(-other.high, -other.low))

    def times(self, other: DoubleDouble) -> DoubleDouble:
        """The product."""
        high, error = _two_product(self.high, other.high)
        crossed = self.high * other.low + self.low * other.high
        return DoubleDouble(*_fast_two_sum(high, error + crossed))

    def integers(self) -> npt.NDArray[np.object_]:
        """Entries of a vector as Python integers, each at most 1 from the value."""
        high, low = (map(int, np.rint(part).tolist()) for part in self)
        return np.array([a + b for a, b in zip(high, low, strict=True)], dtype=object)


def _two_sum(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """a + b as its rounded value and the error of that, for any a and b."""
    total = a + b
    of_b = total - a
    return total, (a - (total - of_b)) + (b - of_b)


def _fast_two_sum(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """The same for |a| >= |b|, or a = 0."""
    total = a + b
    return total, b - (total - a)


def _two_product(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """a b as its rounded value and the error of that."""
    product = a * b
    a_high, a_low = _halves(a)
    b_high, b_low = _halves(b)
    error = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low
    return product, error


def _halves(a: Floats) -> tuple[Floats, Floats]:
    """a as a sum of two doubles of 26 bits each, whose products are exact."""
    scaled = _SPLITTER * a
    high = scaled - (scaled - a)
    return high, a - high
