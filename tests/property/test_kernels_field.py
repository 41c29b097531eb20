"""Elementwise arithmetic, dense products and the choice of moduli."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels import Modulus, combine_rows, gemm
from tests.reference.inputs import (
    HALF_REJECTED,
    PRIMES,
    generators,
    integers,
    uneven_primes,
    wide,
    words,
)

shapes = st.lists(st.integers(0, 5), max_size=3).map(tuple)


def ints(array):
    return [int(word) for word in array.reshape(-1)]


@given(uneven_primes, generators(), shapes)
def test_elementwise_operations(q, rng, shape):
    field = Modulus(q)
    a, b, acc = (words(rng, q, *shape) for _ in range(3))
    pairs = list(zip(ints(a), ints(b), strict=True))
    s = integers(rng, 2**130, 1)[0]
    expected = {
        "add": (field.add(a, b), [(x + y) % q for x, y in pairs]),
        "sub": (field.sub(a, b), [(x - y) % q for x, y in pairs]),
        "mul": (field.mul(a, b), [x * y % q for x, y in pairs]),
        "neg": (field.neg(a), [-x % q for x in ints(a)]),
        "scale": (field.scale(a, s), [s * x % q for x in ints(a)]),
        "multiply_add": (
            field.multiply_add(acc, a, b),
            [(z + x * y) % q for z, (x, y) in zip(ints(acc), pairs, strict=True)],
        ),
    }
    for name, (found, wanted) in expected.items():
        assert found.shape == shape, name
        assert found.dtype == np.uint64, name
        assert ints(found) == wanted, name


@given(uneven_primes, generators(), st.sampled_from([0, 1, 63, 64, 65, 500, 40_000]))
def test_dot_reduces_lazily_but_correctly(q, rng, n):
    a, b = words(rng, q, n), words(rng, q, n)
    wanted = sum(x * y for x, y in zip(ints(a), ints(b), strict=True)) % q
    assert Modulus(q).dot(a, b) == wanted


@given(uneven_primes, generators(), st.integers(0, 40))
def test_inverse(q, rng, n):
    a = np.maximum(words(rng, q, n), np.uint64(1))
    assert ints(Modulus(q).inverse(a)) == [pow(x, -1, q) for x in ints(a)]


@given(uneven_primes, st.integers(0, 9))
def test_inverse_refuses_zero(q, index):
    a = np.ones(10, dtype=np.uint64)
    a[index] = 0
    with pytest.raises(ValueError, match=f"zero at flat index {index}"):
        Modulus(q).inverse(a)


@given(uneven_primes, st.integers(-(2**70), 2**70), st.sampled_from([0, 1, 2, 100]))
def test_powers(q, base, count):
    assert ints(Modulus(q).powers(base, count)) == [pow(base, i, q) for i in range(count)]


def test_powers_across_tasks():
    q = PRIMES[3]
    found = Modulus(q).powers(3, 50_000)
    for index in (16_383, 16_384, 32_768, 49_999):
        assert int(found[index]) == pow(3, index, q)


@given(uneven_primes, generators(), st.integers(0, 30))
def test_signed_integers_to_residues(q, rng, n):
    small = integers(rng, 2**63 - 1, n)
    large = integers(rng, 2**127 - 1, n)
    field = Modulus(q)
    assert ints(field.reduce_i64(np.array(small, dtype=np.int64))) == [x % q for x in small]
    assert ints(field.reduce_wide(wide(large))) == [x % q for x in large]


def test_smallest_signed_integers():
    for q in PRIMES:
        field = Modulus(q)
        assert ints(field.reduce_i64(np.array([-(2**63)]))) == [-(2**63) % q]
        assert ints(field.reduce_wide(wide([-(2**127)]))) == [-(2**127) % q]


@given(
    uneven_primes,
    generators(),
    st.integers(0, 3),
    st.sampled_from([0, 1, 2, 62, 63, 64, 65, 130]),
    st.sampled_from([0, 1, 7, 511, 513]),
)
def test_combine_rows(q, rng, combinations, rows, m):
    matrix, weights = words(rng, q, rows, m), words(rng, q, combinations, rows)
    wanted = weights.astype(object) @ matrix.astype(object) % q if rows else 0
    found = combine_rows(q, matrix, weights)
    assert found.shape == (combinations, m)
    assert np.array_equal(found, wanted + np.zeros((combinations, m), dtype=object))


@given(
    uneven_primes,
    generators(),
    st.integers(0, 3),
    st.sampled_from([0, 1, 15, 16, 33]),
    st.sampled_from([0, 1, 64, 129]),
)
def test_gemm(q, rng, a_rows, b_rows, m):
    a, b = words(rng, q, a_rows, m), words(rng, q, b_rows, m)
    wanted = a.astype(object) @ b.astype(object).T % q if m else 0
    found = gemm(q, a, b)
    assert found.shape == (a_rows, b_rows)
    assert np.array_equal(found, wanted + np.zeros((a_rows, b_rows), dtype=object))


@pytest.mark.parametrize("q", [PRIMES[0], 2**61 - 1])
@pytest.mark.parametrize("count", [63, 64, 65, 128, 129, 1000])
def test_sums_of_the_largest_products_do_not_overflow(q, count):
    largest = np.full((1, count), q - 1, dtype=np.uint64)
    wanted = [[count % q]]
    assert combine_rows(q, largest.T.copy(), largest).tolist() == wanted
    assert gemm(q, largest, largest).tolist() == wanted
    assert Modulus(q).dot(largest[0], largest[0]) == count


def test_moduli_are_odd_primes_of_the_right_size():
    for q in (*PRIMES, HALF_REJECTED, 2**61 - 1):
        assert Modulus(q).value == q
    small_prime, large_prime = 562949953421231, 2305843009213693967  # 49 and 62 bits
    strong_pseudoprime = 3825123056546413051  # to the first nine prime bases; 62 bits
    product = 1073741789 * 1073741783
    for q in (0, 1, 2, 2**55, PRIMES[2] + 2, small_prime, large_prime, strong_pseudoprime, product):
        with pytest.raises(ValueError, match="odd prime of 50 to 61 bits"):
            Modulus(q)


@given(st.integers(2**49, 2**61))
def test_no_composite_passes(q):
    witnesses = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)
    passes = all(pow(base, q - 1, q) == 1 for base in witnesses)
    if passes:  # Fermat's test errs only on the side of acceptance
        return
    with pytest.raises(ValueError, match="odd prime"):
        Modulus(q)
