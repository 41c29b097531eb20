"""E = F_q[u] / (u^2 - nu): single elements, as pairs of Python integers.

Arrays over E are words (2, ...), components first, and belong to `kernels.Extension`; this module
is for the few elements a sum-check round is about.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

import kernels

Words = npt.NDArray[np.uint64]
Element: TypeAlias = tuple[int, int]

ZERO: Element = (0, 0)
ONE: Element = (1, 0)


@lru_cache(maxsize=64)
def extension(modulus: int) -> kernels.Extension:
    """Arithmetic on arrays over E."""
    return kernels.Extension(modulus)


@lru_cache(maxsize=256)
def inverse_denominators(modulus: int, degree: int) -> tuple[int, ...]:
    """1 / prod_{j != i} (i - j) for the points i = 0, 1, ..., degree."""
    return tuple(
        pow(math.prod(i - j for j in range(degree + 1) if j != i), -1, modulus)
        for i in range(degree + 1)
    )


@dataclass(frozen=True)
class Scalars:
    """Arithmetic on single elements of one limb's extension."""

    modulus: int
    nonresidue: int

    def add(self, *elements: Element) -> Element:
        """The sum."""
        q = self.modulus
        return (sum(e[0] for e in elements) % q, sum(e[1] for e in elements) % q)

    def sub(self, a: Element, b: Element) -> Element:
        """a - b."""
        return ((a[0] - b[0]) % self.modulus, (a[1] - b[1]) % self.modulus)

    def neg(self, a: Element) -> Element:
        """-a."""
        return (-a[0] % self.modulus, -a[1] % self.modulus)

    def mul(self, a: Element, b: Element) -> Element:
        """A b."""
        q = self.modulus
        return (
            (a[0] * b[0] + self.nonresidue * a[1] * b[1]) % q,
            (a[0] * b[1] + a[1] * b[0]) % q,
        )

    def scale(self, a: Element, factor: int) -> Element:
        """An integer multiple."""
        return (a[0] * factor % self.modulus, a[1] * factor % self.modulus)

    def powers(self, a: Element, count: int) -> list[Element]:
        """1, a, ..., a^(count - 1)."""
        powers = [ONE]
        while len(powers) < count:
            powers.append(self.mul(powers[-1], a))
        return powers[:count]

    def lagrange(self, x: Element, degree: int) -> list[Element]:
        """The Lagrange basis of the points 0, 1, ..., degree at x."""
        steps = [((x[0] - j) % self.modulus, x[1]) for j in range(degree + 1)]
        below = [ONE]  # products of the steps before and after each point
        for step in steps[:-1]:
            below.append(self.mul(below[-1], step))
        above = [ONE]
        for step in reversed(steps[1:]):
            above.append(self.mul(above[-1], step))
        inverses = inverse_denominators(self.modulus, degree)
        return [
            self.scale(self.mul(low, high), inverse)
            for low, high, inverse in zip(below, reversed(above), inverses, strict=True)
        ]

    def dot(self, coefficients: list[Element], values: list[Element]) -> Element:
        """sum_i coefficients_i values_i."""
        total = ZERO
        for coefficient, value in zip(coefficients, values, strict=True):
            total = self.add(total, self.mul(coefficient, value))
        return total


@lru_cache(maxsize=64)
def scalars(modulus: int) -> Scalars:
    """Arithmetic on single elements."""
    return Scalars(modulus, extension(modulus).nonresidue)


def element(words: Words) -> Element:
    """A pair of words (2,) as integers."""
    return (int(words[0]), int(words[1]))


def element_words(value: Element) -> Words:
    """Integers as a pair of words (2,)."""
    return np.array(value, dtype=np.uint64)
