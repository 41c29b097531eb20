"""The negacyclic transform against the matrix it is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels import NegacyclicNtt
from tests.reference import ntt
from tests.reference.inputs import PRIMES, generators, primes, words

lengths = st.sampled_from([2, 4, 8, 16, 32, 64])


def lists(array):
    return [[int(word) for word in row] for row in array]


@given(primes, generators(), lengths, st.integers(0, 3))
def test_the_four_maps(q, rng, n, rows):
    transform = NegacyclicNtt(q, n)
    matrix = ntt.negacyclic_matrix(q, n)
    transposed = ntt.transpose(matrix)
    a = words(rng, q, rows, n)
    assert lists(transform.forward(a)) == [ntt.multiply(matrix, row, q) for row in lists(a)]
    wanted = [ntt.multiply(transposed, row, q) for row in lists(a)]
    assert lists(transform.forward_transpose(a)) == wanted
    # An inverse is right exactly when the matrix undoes it.
    inverse, back = transform.inverse(a), transform.inverse_transpose(a)
    assert [ntt.multiply(matrix, row, q) for row in lists(inverse)] == lists(a)
    assert [ntt.multiply(transposed, row, q) for row in lists(back)] == lists(a)


@given(primes, generators(), st.sampled_from([2048, 8192, 16384]))
def test_large_transforms(q, rng, n):
    transform = NegacyclicNtt(q, n)
    a, b = words(rng, q, n), words(rng, q, n)
    forward = transform.forward(a)
    assert np.array_equal(transform.inverse(forward), a)
    assert np.array_equal(transform.inverse_transpose(transform.forward_transpose(a)), a)
    # <V a, b> = <a, V^T b>
    left = int(forward.astype(object) @ b.astype(object)) % q
    right = int(a.astype(object) @ transform.forward_transpose(b).astype(object)) % q
    assert left == right
    # One value by its definition.
    psi, bits = ntt.smallest_primitive_root(q, 2 * n), n.bit_length() - 1
    index = int(rng.integers(0, n))
    point = pow(psi, 2 * ntt.bit_reversal(index, bits) + 1, q)
    value = 0
    for coefficient in reversed(a.tolist()):
        value = (value * point + coefficient) % q
    assert int(forward[index]) == value


def test_batches_over_any_leading_axes(rng):
    q, n = PRIMES[3], 16
    transform = NegacyclicNtt(q, n)
    a = words(rng, q, 3, 2, n)
    rows = [[transform.forward(row) for row in plane] for plane in a]
    assert np.array_equal(transform.forward(a), np.array(rows))
    assert transform.forward(np.zeros((0, 2, n), dtype=np.uint64)).shape == (0, 2, n)


def test_properties_and_refusals():
    transform = NegacyclicNtt(PRIMES[3], 64)
    assert (transform.q, transform.n) == (PRIMES[3], 64)
    for n in (0, 1, 3, 24, 2**21, 2**63):
        with pytest.raises(ValueError, match="n: expected a power of two"):
            NegacyclicNtt(PRIMES[3], n)
    with pytest.raises(ValueError, match="congruent to 1 modulo 8"):
        NegacyclicNtt(2**61 - 1, 4)
    with pytest.raises(ValueError, match="a last axis of 64"):
        transform.forward(np.zeros((64, 2), dtype=np.uint64))
