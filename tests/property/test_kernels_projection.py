"""Folding and projecting by public random matrices."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels import (
    fold_bits,
    fold_i32,
    project_bits_i64,
    project_bits_mod,
    project_bits_wide,
    project_i32,
)
from tests.reference import projection
from tests.reference.inputs import PRIMES, generators, integers, primes, wide, words

groups = st.integers(0, 6)
widths = st.sampled_from([0, 1, 2, 7, 40])


def lists(array):
    return [[int(word) for word in row] for row in array]


def packed(rng, count, n):
    if rng.random() < 0.2:
        return np.full((count, n), 255, dtype=np.uint8)
    return rng.integers(0, 256, (count, n), dtype=np.uint8)


@given(primes, generators(), groups, widths, st.integers(0, 3))
def test_fold_bits(q, rng, count, n, combinations):
    bits, gammas = packed(rng, count, n), words(rng, q, combinations, 8 * count)
    found = fold_bits(q, bits, gammas)
    assert found.shape == (combinations, n)
    assert lists(found) == projection.fold(projection.unpack(bits), lists(gammas), n, q)


@given(primes, generators(), groups, widths)
def test_project_bits(q, rng, count, n):
    bits = packed(rng, count, n)
    matrix = projection.unpack(bits)
    narrow = integers(rng, 2**40, n)
    extreme = integers(rng, 2**63 - 1, n)
    large = integers(rng, 2**113 - 1, n)
    residues = words(rng, q, n)
    for x in (narrow, extreme):
        found = project_bits_i64(bits, np.array(x, dtype=np.int64))
        assert found == projection.project(matrix, x)
    assert project_bits_wide(bits, wide(large)) == projection.project(matrix, large)
    wanted = [x % q for x in projection.project(matrix, [int(word) for word in residues])]
    assert project_bits_mod(q, bits, residues).tolist() == wanted


@pytest.mark.parametrize("sign", [-1, 1])
def test_projections_of_extremes_are_exact(sign):
    # Long enough that 128 bits would not hold the sum of the wide ones.
    n = 2**15 + 3
    bits = np.full((1, n), 255, dtype=np.uint8)
    assert project_bits_i64(bits, np.full(n, sign * (2**63 - 1))) == [sign * (2**63 - 1) * n] * 8
    assert project_bits_i64(bits, np.full(n, -(2**63))) == [-(2**63) * n] * 8
    x = sign * (2**113 - 1)
    assert project_bits_wide(bits, wide([x] * n)) == [x * n] * 8
    q = PRIMES[4]
    words_ = np.full(n, q - 1, dtype=np.uint64)
    assert project_bits_mod(q, bits, words_).tolist() == [-n % q] * 8
    for count in (1, 4, 5, 17):
        all_bits = np.full((count, 3), 255, dtype=np.uint8)
        gammas = np.full((1, 8 * count), q - 1, dtype=np.uint64)
        assert fold_bits(q, all_bits, gammas).tolist() == [[q - 8 * count] * 3]
    coefficients = np.full((2, n), -(2**31), dtype=np.int32)
    found = project_i32(coefficients, np.full(n, sign * (2**63 - 1)))
    assert found == [-sign * 2**31 * (2**63 - 1) * n] * 2


def test_many_groups_and_many_columns(rng):
    # Several tiles, and more groups than are added between reductions.
    q, count, n = PRIMES[4], 16, 5000
    bits, gammas = packed(rng, count, n), words(rng, q, 2, 8 * count)
    matrix = np.unpackbits(bits, axis=0, bitorder="little").astype(object)
    wanted = gammas.astype(object) @ matrix % q
    assert np.array_equal(fold_bits(q, bits, gammas), wanted)
    x = integers(rng, 2**112, n)
    assert project_bits_wide(bits, wide(x)) == (matrix @ np.array(x, dtype=object)).tolist()


@given(primes, generators(), st.integers(0, 5), widths, st.integers(0, 3))
def test_32_bit_coefficients(q, rng, rows, n, combinations):
    coefficients = rng.integers(-(2**31), 2**31, (rows, n)).astype(np.int32)
    gammas = words(rng, q, combinations, rows)
    x = integers(rng, 2**63 - 1, n)
    matrix = lists(coefficients)
    found = fold_i32(q, coefficients, gammas)
    assert found.shape == (combinations, n)
    assert lists(found) == projection.fold(matrix, lists(gammas), n, q)
    assert project_i32(coefficients, np.array(x, dtype=np.int64)) == projection.project(matrix, x)


def test_refusals():
    bits = np.zeros((1, 2), dtype=np.uint8)
    for value in (2**113, -(2**113), 2**127 - 1, -(2**127)):
        with pytest.raises(ValueError, match="magnitudes below 2\\^113, found a larger one at ind"):
            project_bits_wide(bits, wide([0, value]))
    with pytest.raises(ValueError, match=r"gammas: expected shape \[1, 8\]"):
        fold_bits(PRIMES[0], bits, np.zeros((1, 7), dtype=np.uint64))
    with pytest.raises(ValueError, match=r"bits: expected shape \[1, 3\]"):
        project_bits_i64(bits, np.zeros(3, dtype=np.int64))
