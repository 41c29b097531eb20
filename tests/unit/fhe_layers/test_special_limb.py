from __future__ import annotations

import numpy as np
import pytest

from fhe_layers import special_limb
from fhe_layers.moduli import ntt_primes


def smallest_primitive_root(prime: int, order: int) -> int:
    """By definition: the first x with x^(order / 2) = -1, found among the powers of one root."""
    for base in range(2, 200):
        root = pow(base, (prime - 1) // order, prime)
        if pow(root, order // 2, prime) == prime - 1:
            return min(pow(root, k, prime) for k in range(1, order, 2))
    raise AssertionError("no root found")


@pytest.mark.parametrize("degree", [2, 8, 64])
@pytest.mark.parametrize("bits", [30, 34, 47])
def test_words_are_values_at_odd_powers_in_bit_reversed_order(degree: int, bits: int) -> None:
    prime = ntt_primes(degree, bits, 1)[0]
    secret = np.random.default_rng(degree).integers(-1, 2, degree)
    root = smallest_primitive_root(prime, 2 * degree)
    length = degree.bit_length() - 1
    expected = []
    for index in range(degree):
        reversed_index = int(format(index, f"0{length}b")[::-1], 2)
        point = pow(root, 2 * reversed_index + 1, prime)
        expected.append(sum(int(c) * pow(point, j, prime) for j, c in enumerate(secret)) % prime)
    assert special_limb.forward_ntt(secret, prime).tolist() == expected
