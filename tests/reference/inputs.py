"""Primes and arrays for the property tests."""

from __future__ import annotations

from math import prod

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

# The largest prime of each bit length that is 1 modulo 2^20, so every transform size exists.
PRIMES = (
    1125899865948161,
    36028797001138177,
    288230376131788801,
    1152921504577486849,
    2305843009211596801,
)

# Just above 2^60: half of all masked words are rejected.
HALF_REJECTED = 1152921504618381313
# Just above 2^65 / 17: SEAL's sampler rejects one word in seventeen.
SEAL_REJECTS = 2170205185152909313

primes = st.sampled_from(PRIMES)
uneven_primes = st.sampled_from((*PRIMES, HALF_REJECTED, SEAL_REJECTS))
seeds = st.integers(0, 2**32 - 1)


@st.composite
def generators(draw: st.DrawFn) -> np.random.Generator:
    """A reproducible generator: one drawn integer stands for any amount of input."""
    return np.random.default_rng(draw(seeds))


def words(rng: np.random.Generator, q: int, *shape: int) -> NDArray[np.uint64]:
    """Words below ``q``: uniform, all ``q - 1``, all zero, or a mixture of extremes."""
    uniform = np.asarray(rng.integers(0, q, shape, dtype=np.uint64))
    match rng.integers(0, 6):
        case 0:
            return np.full(shape, q - 1, dtype=np.uint64)
        case 1:
            return np.asarray(np.where(rng.random(shape) < 0.7, np.uint64(0), uniform))
        case 2:
            extremes = np.array([0, 1, q - 1, q // 2, q // 2 + 1], dtype=np.uint64)
            return np.asarray(extremes[rng.integers(0, extremes.size, shape)])
        case _:
            return uniform


def limb_words(
    rng: np.random.Generator, moduli: list[int], count: int, polys: int, n: int
) -> NDArray[np.uint64]:
    """Ciphertext words ``[count, poly, limb, n]``."""
    limbs = [words(rng, q, count, polys, n) for q in moduli]
    return (
        np.ascontiguousarray(np.stack(limbs, axis=2))
        if limbs
        else np.zeros((count, polys, 0, n), dtype=np.uint64)
    )


def integers(rng: np.random.Generator, bound: int, *shape: int) -> list[int]:
    """Signed integers in ``[-bound, bound]``, extremes included, as a flat list."""
    span = 2 * bound + 1
    size = prod(shape)
    values = [int.from_bytes(rng.bytes(24), "little") % span - bound for _ in range(size)]
    return [
        bound if choice == 0 else -bound if choice == 1 else value
        for choice, value in zip(rng.integers(0, 8, size), values, strict=True)
    ]


def wide(values: list[int]) -> NDArray[np.uint64]:
    """Signed 128-bit integers as (low, high) pairs of words, two's complement."""
    pairs = [(value % 2**64, (value >> 64) % 2**64) for value in values]
    return np.array(pairs, dtype=np.uint64).reshape(len(values), 2)
