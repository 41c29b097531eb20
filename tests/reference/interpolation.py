"""The slot encoder's transform, one Python float at a time, and what it computes, exactly.

The first repeats the additions, subtractions and multiplications of `fhe_layers.interpolation` in
the same order; each is one IEEE 754 operation in CPython.  Where NumPy's results differ in a bit,
it has fused or reordered something.
"""

from __future__ import annotations

from fractions import Fraction
from math import isqrt

BITS = 300


def cosines(degree: int) -> list[Fraction]:
    """cos(pi j / N) for j < 2 N, to 2^-290."""
    one = 1 << BITS
    cosine, sine = 0, one
    for _ in range(degree.bit_length() - 2):
        cosine, sine = isqrt((one + cosine) * one // 2), isqrt((one - cosine) * one // 2)
    if degree == 1:
        cosine, sine = -one, 0
    found, x, y = [], one, 0
    for _ in range(2 * degree):
        found.append(Fraction(x, one))
        x, y = (x * cosine - y * sine) >> BITS, (x * sine + y * cosine) >> BITS
    return found


def exact_coefficients(slots: list[float], degree: int) -> list[Fraction]:
    """N m_j by the definition: twice the sum of slot times the cosine of j times its angle."""
    table = cosines(degree)
    return [
        2
        * sum(
            Fraction(value) * table[pow(3, slot, 2 * degree) * j % (2 * degree)]
            for slot, value in enumerate(slots)
        )
        for j in range(degree)
    ]


def scalar_coefficients(slots: list[float], degree: int) -> list[float]:
    """What `coefficients_of_slots` returns for one vector."""
    half, length = degree // 2, degree // 4
    table = cosines(degree)

    def factor(exponent: int) -> tuple[float, float]:
        """zeta^-e, each part the nearest double."""
        real = table[exponent % (2 * degree)]
        sine = table[(exponent - half) % (2 * degree)]  # cos(x - pi / 2)
        return float(real), -float(sine)

    points = [0.0] * half
    for slot, value in enumerate(slots):
        exponent = pow(3, slot, 2 * degree)
        points[(exponent if exponent % 4 == 1 else 2 * degree - exponent) // 4] = value
    real, imaginary = points[0::2], points[1::2]
    middle, stages = length // 2, length.bit_length() - 1
    for stage in range(stages):
        next_real, next_imaginary = [0.0] * length, [0.0] * length
        for p in range(middle):
            c, s = factor(8 * (p >> stage << stage))
            x, y = real[p] - real[p + middle], imaginary[p] - imaginary[p + middle]
            next_real[2 * p] = real[p] + real[p + middle]
            next_imaginary[2 * p] = imaginary[p] + imaginary[p + middle]
            next_real[2 * p + 1] = x * c - y * s
            next_imaginary[2 * p + 1] = x * s + y * c
        real, imaginary = next_real, next_imaginary
    reverse = [int(format(j, f"0{stages}b")[::-1], 2) for j in range(length)]
    found = [0.0] * degree
    for j in range(length + 1):
        here, there = reverse[j % length], reverse[(length - j) % length]
        sum_real, sum_imaginary = real[here] + real[there], imaginary[here] - imaginary[there]
        dif_real, dif_imaginary = real[here] - real[there], imaginary[here] + imaginary[there]
        (c, s), (turned_c, turned_s) = factor(j), factor(5 * j)
        d, t = turned_s, -turned_c  # times -i
        found[j] = (sum_real * c - sum_imaginary * s) + (dif_real * d - dif_imaginary * t)
        if 0 < j < length:
            found[half - j] = -(
                (sum_real * s + sum_imaginary * c) + (dif_real * t + dif_imaginary * d)
            )
    for j in range(1, half):
        found[degree - j] = -found[j]
    return found
