"""The quadratic extension and sum-checks over it, element by element.

An element is a pair of integers; tables are object arrays of residues, components first. Sums over
the hypercube are taken as they are written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from tests.reference.ntt import non_square

Element: TypeAlias = tuple[int, int]


@dataclass(frozen=True)
class Field:
    """F_q[u] / (u^2 - nu) on single elements."""

    q: int

    @cached_property
    def nonresidue(self) -> int:
        """The least non-residue."""
        return non_square(self.q)

    def add(self, a: Element, b: Element) -> Element:
        """a + b."""
        return ((a[0] + b[0]) % self.q, (a[1] + b[1]) % self.q)

    def sub(self, a: Element, b: Element) -> Element:
        """a - b."""
        return ((a[0] - b[0]) % self.q, (a[1] - b[1]) % self.q)

    def mul(self, a: Element, b: Element) -> Element:
        """The product, u^2 replaced by nu."""
        low = a[0] * b[0] + self.nonresidue * a[1] * b[1]
        return (low % self.q, (a[0] * b[1] + a[1] * b[0]) % self.q)

    def product(self, *factors: Element) -> Element:
        """The product of any number of elements."""
        return reduce(self.mul, factors, (1, 0))

    def sum(self, terms: Sequence[Element]) -> Element:
        """The sum of any number of elements."""
        return reduce(self.add, terms, (0, 0))

    def inner(self, a: Sequence[Element], b: Sequence[Element]) -> Element:
        """The inner product."""
        return self.sum([self.mul(x, y) for x, y in zip(a, b, strict=True)])

    def power(self, a: Element, exponent: int) -> Element:
        """a^exponent by repeated multiplication."""
        return self.product(*[a] * exponent)

    def polynomial(self, coefficients: Sequence[int], h: Element) -> Element:
        """sum_i c_i h^i."""
        return self.sum([self.mul((c, 0), self.power(h, i)) for i, c in enumerate(coefficients)])

    def eq(self, points: Sequence[Element], index: int) -> Element:
        """eq(points, bits of index); points[0] goes with the most significant bit."""
        bits = [index >> shift & 1 for shift in reversed(range(len(points)))]
        ones = [p if bit else self.sub((1, 0), p) for p, bit in zip(points, bits, strict=True)]
        return self.product(*ones)

    def extension_of(self, table: Sequence[Element], points: Sequence[Element]) -> Element:
        """The multilinear extension of a table, filled up with zeros, at a point."""
        return self.inner(table, [self.eq(points, index) for index in range(len(table))])

    def interpolate(self, values: Sequence[Element], x: Element) -> Element:
        """The polynomial with these values at 0, 1, 2, ..., at x."""
        total: Element = (0, 0)
        for i, value in enumerate(values):
            term, denominator = value, 1
            for j in range(len(values)):
                if j != i:
                    term = self.mul(term, self.sub(x, (j, 0)))
                    denominator *= i - j
            total = self.add(total, self.mul(term, (pow(denominator, -1, self.q), 0)))
        return total


def elements(words: NDArray[np.uint64]) -> list[Element]:
    """``[2, n]`` words as a list of elements."""
    low, high = words.tolist()
    return list(zip(low, high, strict=True))


def array(values: Sequence[Element]) -> NDArray[np.uint64]:
    """A list of elements as ``[2, n]`` words."""
    return np.array([[low for low, _ in values], [high for _, high in values]], dtype=np.uint64)
