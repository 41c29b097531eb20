"""The secret key's words modulo the special prime, which is too short for the kernels.

Symbols: N ring degree, p a prime = 1 mod 2N, psi the numerically smallest primitive 2N-th root of
unity mod p, br the reversal of log2 N bits. Word i of the NTT is the polynomial's value at psi^(2
br(i) + 1): SEAL's choice of root and order. Used once per key, so exact Python integers are fast
enough.
"""

from __future__ import annotations

import numpy as np

from fhe_layers import rns


def forward_ntt(polynomial: rns.Integers, prime: int) -> rns.Words:
    """Signed coefficients (N,) to NTT words (N,) mod `prime`, by Cooley-Tukey butterflies."""
    degree = polynomial.size
    order = _bit_reversal(degree)
    powers = np.array(_powers(_smallest_root(prime, 2 * degree), degree, prime), dtype=object)
    twiddles = powers[order]
    values = polynomial.astype(object) % prime
    blocks = 1
    while blocks < degree:
        pairs = values.reshape(blocks, 2, -1)
        high = pairs[:, 1] * twiddles[blocks : 2 * blocks, None] % prime
        values = np.stack([pairs[:, 0] + high, pairs[:, 0] - high], axis=1) % prime
        blocks *= 2
    return values.reshape(degree).astype(np.uint64)


def _smallest_root(prime: int, order: int) -> int:
    """The smallest primitive `order`-th root of unity, `order` a power of two.

    The odd powers of any such root are all of them.
    """
    candidate = 2
    while pow(candidate, (prime - 1) // 2, prime) != prime - 1:
        candidate += 1
    root = pow(candidate, (prime - 1) // order, prime)
    step = root * root % prime
    smallest = root
    for _ in range(order // 2 - 1):
        root = root * step % prime
        smallest = min(smallest, root)
    return smallest


def _powers(base: int, count: int, prime: int) -> list[int]:
    powers = [1]
    while len(powers) < count:
        powers.append(powers[-1] * base % prime)
    return powers


def _bit_reversal(size: int) -> rns.Integers:
    """br(i) for i < size, by doubling: br over one more bit is (2 br, 2 br + 1)."""
    order = np.zeros(1, dtype=np.int64)
    while order.size < size:
        order = np.concatenate([2 * order, 2 * order + 1])
    return order
