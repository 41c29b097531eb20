"""Coefficients of the real polynomial with given real slots, to the last bit the same everywhere.

Real slots make m(zeta^e) = m(zeta^-e) for zeta = exp(i pi / N) and every odd e, so m_{N-j} = -m_j
and m_{N/2} = 0: the coefficients below M = N/2 say everything.  With the slots v_u as values at
zeta^(4u+1), u < M, they are one FFT away (`fhe_layers.embedding` has the converse),

    m_j - i m_{M-j} = zeta^-j / M * F_j,    F_j = sum_u v_u exp(-2 pi i u j / M),

and F of real v is a complex FFT of half the length, H = N/4: with z_k = v_2k + i v_{2k+1} and
Z = FFT(z), S = Z_j + conj Z_{H-j} and D = Z_j - conj Z_{H-j},

    zeta^-j F_j = (zeta^-j S - i zeta^-5j D) / 2        for j = 0 ... H.

Why it is the same everywhere
-----------------------------
Words of columns that travel in clear are computed by client, server and later verifiers, and must
agree.  Library FFTs choose their order of operations, and fused multiplications, by the processor.
Here every operation is one addition, subtraction or multiplication of doubles, which IEEE 754
defines to the last bit, in an order that is written down; real and imaginary parts are arrays of
their own, since NumPy may fuse inside a complex product but never across two calls; and twiddle
factors are rounded from exact integers, not taken from a mathematical library.  A vector's result
does not depend on the vectors beside it.

Symbols: K vectors, N ring degree, M = N / 2 slots, H = N / 4.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fhe_layers.embedding import powers, slot_points

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

_BLOCK_DOUBLES = 1 << 14
"""Points transformed together: real and imaginary parts, twice, stay in the cache."""


class _Factors(NamedTuple):
    """exp(-i x) as cos x and -sin x."""

    real: Floats
    imaginary: Floats


class _Plan(NamedTuple):
    """What depends on the ring degree only.

    Attributes:
        points: where slot i's value goes among the M.
        stages: factors (H/2,) of each stage.
        order: where in the result, which is bit-reversed, Z_j is, for j = 0 ... H, and mirrored
            H - j.
        sums, differences: zeta^-j and -i zeta^-5j, (H + 1,).
    """

    points: Indices
    stages: tuple[_Factors, ...]
    order: Indices
    mirrored: Indices
    sums: _Factors
    differences: _Factors


def coefficients_of_slots(values: Floats, ring_degree: int) -> Floats:
    """Slots (K, records), the others zero, to N times the coefficients (K, N), N at least 8.

    Errors are about 2^-50 of the largest value.
    """
    count, records = values.shape
    plan = _plan(ring_degree)
    half, quarter = ring_degree // 2, ring_degree // 4
    coefficients = np.empty((count, ring_degree))
    block = max(1, _BLOCK_DOUBLES // half)
    for start in range(0, count, block):
        rows = slice(start, start + block)
        slots = np.zeros((len(values[rows]), half))
        slots[:, plan.points[:records]] = values[rows]
        real, imaginary = _transform(slots, plan)
        result = coefficients[rows]
        result[:, : quarter + 1] = real
        result[:, half - 1 : quarter : -1] = -imaginary[:, 1:quarter]
        result[:, half] = 0.0
        result[:, :half:-1] = -result[:, 1:half]
    return coefficients


def _transform(slots: Floats, plan: _Plan) -> tuple[Floats, Floats]:
    """Slots (K, M) in the order of their points to 2 M m_j and -2 M m_{M-j}, (K, H + 1) each."""
    count, length = len(slots), slots.shape[1] // 2
    middle = length // 2
    real, imaginary = slots[:, 0::2].copy(), slots[:, 1::2].copy()
    next_real, next_imaginary = np.empty_like(real), np.empty_like(real)
    x, y, product = (np.empty((count, middle)) for _ in range(3))
    for factors in plan.stages:  # Pease's (1968): halves to neighbours, contiguous operands
        upper, lower = real[:, :middle], real[:, middle:]
        np.add(upper, lower, out=next_real[:, 0::2])
        np.subtract(upper, lower, out=x)
        upper, lower = imaginary[:, :middle], imaginary[:, middle:]
        np.add(upper, lower, out=next_imaginary[:, 0::2])
        np.subtract(upper, lower, out=y)
        odd_real, odd_imaginary = next_real[:, 1::2], next_imaginary[:, 1::2]
        np.multiply(x, factors.real, out=odd_real)
        np.multiply(y, factors.imaginary, out=product)
        np.subtract(odd_real, product, out=odd_real)
        np.multiply(x, factors.imaginary, out=odd_imaginary)
        np.multiply(y, factors.real, out=product)
        np.add(odd_imaginary, product, out=odd_imaginary)
        real, next_real = next_real, real
        imaginary, next_imaginary = next_imaginary, imaginary
    here, there = real[:, plan.order], real[:, plan.mirrored]
    here_imaginary, there_imaginary = imaginary[:, plan.order], imaginary[:, plan.mirrored]
    sums = here + there, here_imaginary - there_imaginary
    differences = here - there, here_imaginary + there_imaginary
    first, second = _times(*sums, plan.sums), _times(*differences, plan.differences)
    return first[0] + second[0], first[1] + second[1]


def _times(real: Floats, imaginary: Floats, factors: _Factors) -> tuple[Floats, Floats]:
    """Products with factors, real and imaginary parts."""
    return (
        real * factors.real - imaginary * factors.imaginary,
        real * factors.imaginary + imaginary * factors.real,
    )


@cache
def _plan(ring_degree: int) -> _Plan:
    length = ring_degree // 4
    stages = length.bit_length() - 1
    position = np.arange(length // 2)
    index = np.arange(length + 1)
    turned = _conjugate_powers(ring_degree, 5 * index)
    order, natural = np.zeros_like(index), index % length
    for _ in range(stages):
        order = 2 * order + natural % 2
        natural //= 2
    return _Plan(
        slot_points(ring_degree),
        tuple(
            _conjugate_powers(ring_degree, 8 * (position >> stage << stage))
            for stage in range(stages)
        ),
        order,
        order[::-1].copy(),
        _conjugate_powers(ring_degree, index),
        _Factors(turned.imaginary, -turned.real),  # times -i
    )


def _conjugate_powers(ring_degree: int, exponents: Indices) -> _Factors:
    """zeta^-e, parts rounded to the nearest double."""
    exact = powers(ring_degree)
    exponents = exponents % (2 * ring_degree)
    sign = np.where(exponents < ring_degree, 1.0, -1.0)
    index = exponents % ring_degree
    return _Factors(sign * exact.real.high[index], -sign * exact.imaginary.high[index])
