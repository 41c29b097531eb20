"""Arithmetic over the quadratic extension, and products over it for all limbs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import (
    Extension,
    combine_rows_extension,
    cross_gram,
    evaluate_folded,
    sigma_fold,
)
from tests.reference.extension import Field, array, elements
from tests.reference.inputs import PRIMES, generators, limb_words, words

# 58, 60 and 61 bits; the last is Mersenne's, next to 2^61.
EXTENSION_PRIMES = (*PRIMES[2:], 2**61 - 1)

primes = st.sampled_from(EXTENSION_PRIMES)
limbs = st.lists(primes, min_size=1, max_size=3)
lengths = st.sampled_from([0, 1, 2, 15, 16, 17, 33, 100])


def stack(rng, moduli, *shape):
    """Words with one prime per entry of the first axis."""
    return np.stack([words(rng, q, *shape) for q in moduli])


@pytest.mark.parametrize("q", EXTENSION_PRIMES)
def test_the_nonresidue_is_the_least(q):
    field = Extension(q)
    assert field.q == q
    assert field.nonresidue == Field(q).nonresidue
    assert all(pow(x, (q - 1) // 2, q) == 1 for x in range(1, field.nonresidue))


@given(primes, generators(), lengths)
def test_products(q, rng, n):
    a, b, x = words(rng, q, 2, n), words(rng, q, 2, n), words(rng, q, 2)
    slow, field = Field(q), Extension(q)
    pairs = list(zip(elements(a), elements(b), strict=True))
    factor = tuple(x.tolist())
    assert elements(field.mul(a, b)) == [slow.mul(*pair) for pair in pairs]
    assert elements(field.scale(a, x)) == [slow.mul(one, factor) for one, _ in pairs]
    assert tuple(field.inner(a, b).tolist()) == slow.inner(elements(a), elements(b))


@given(primes, generators())
def test_products_of_any_shape(q, rng):
    a, b = words(rng, q, 2, 3, 4), words(rng, q, 2, 3, 4)
    field = Extension(q)
    flat = field.mul(a.reshape(2, 12), b.reshape(2, 12))
    assert np.array_equal(field.mul(a, b), flat.reshape(2, 3, 4))


@pytest.mark.parametrize("q", EXTENSION_PRIMES)
@pytest.mark.parametrize("n", [1, 16, 64, 4096, 5000])
def test_sums_of_the_largest_products_do_not_overflow(q, n):
    largest = np.full((2, n), q - 1, dtype=np.uint64)
    nu = Field(q).nonresidue
    assert Extension(q).inner(largest, largest).tolist() == [(1 + nu) * n % q, 2 * n % q]
    assert set(elements(Extension(q).mul(largest, largest))) == {(1 + nu, 2)}
    gram = cross_gram(largest[None, :, None], largest[None, :, None], [q])
    assert gram.reshape(2).tolist() == [(1 + nu) * n % q, 2 * n % q]


@given(primes, generators(), st.integers(0, 5))
def test_eq_table(q, rng, bits):
    points = words(rng, q, bits, 2)
    slow = Field(q)
    listed = [(int(low), int(high)) for low, high in points]
    wanted = [slow.eq(listed, index) for index in range(2**bits)]
    assert elements(Extension(q).eq_table(points)) == wanted


@given(primes, generators(), st.integers(0, 5), lengths)
def test_rows_of_words(q, rng, rows, n):
    matrix, weights, b = words(rng, q, rows, n), words(rng, q, 2, rows), words(rng, q, 2, n)
    combined = Extension(q).combine_words(matrix, weights)
    products = Extension(q).inner_words(matrix, b)
    assert combined.shape == (2, n)
    assert products.shape == (2, rows)
    integers = matrix.astype(object)
    for component in (0, 1):
        column = weights[component].astype(object)[:, None]
        assert np.array_equal(combined[component], (column * integers).sum(axis=0) % q)
        line = b[component].astype(object)
        assert np.array_equal(products[component], (integers * line).sum(axis=1) % q)


def folded(slow, sigma, polys):
    """sum_p sigma^p words[p], word by word."""
    powers = [slow.power(sigma, p) for p in range(len(polys))]
    return [
        slow.sum(
            [slow.mul(power, (int(word), 0)) for power, word in zip(powers, column, strict=True)]
        )
        for column in polys.T
    ]


@given(limbs, generators(), st.integers(0, 3), st.integers(1, 6), st.sampled_from([0, 1, 5, 20]))
@settings(max_examples=60)
def test_folds_of_ciphertexts(moduli, rng, units, polys, n):
    ciphertexts = limb_words(rng, moduli, units, polys, n)
    sigmas, weights = stack(rng, moduli, 2), stack(rng, moduli, 2, n)
    rows = sigma_fold(ciphertexts, sigmas, moduli)
    sums = evaluate_folded(ciphertexts, weights, sigmas, moduli)
    assert rows.shape == (len(moduli), 2, units, n)
    assert sums.shape == (len(moduli), 2, units)
    for limb, q in enumerate(moduli):
        slow = Field(q)
        for unit in range(units):
            sigma = tuple(sigmas[limb].tolist())
            wanted = folded(slow, sigma, ciphertexts[unit, :, limb])
            assert elements(rows[limb, :, unit]) == wanted
            total = slow.inner(wanted, elements(weights[limb]))
            assert tuple(sums[limb, :, unit].tolist()) == total


def test_no_polynomial_folds_to_zero():
    q = EXTENSION_PRIMES[1]
    empty = np.zeros((2, 0, 1, 4), dtype=np.uint64)
    point = np.ones((1, 2), dtype=np.uint64)
    assert not sigma_fold(empty, point, [q]).any()
    assert not evaluate_folded(empty, np.ones((1, 2, 4), dtype=np.uint64), point, [q]).any()


@given(limbs, generators(), st.integers(0, 6), st.integers(0, 6), lengths)
@settings(max_examples=60)
def test_rows_of_elements(moduli, rng, a_rows, b_rows, n):
    a, b = stack(rng, moduli, 2, a_rows, n), stack(rng, moduli, 2, b_rows, n)
    weights = stack(rng, moduli, 2, a_rows)
    gram = cross_gram(a, b, moduli)
    combined = combine_rows_extension(weights, a, moduli)
    assert gram.shape == (len(moduli), 2, a_rows, b_rows)
    assert combined.shape == (len(moduli), 2, n)
    for limb, q in enumerate(moduli):
        slow = Field(q)
        rows = [elements(a[limb, :, i]) for i in range(a_rows)]
        for i, row in enumerate(rows):
            for j in range(b_rows):
                wanted = slow.inner(row, elements(b[limb, :, j]))
                assert tuple(gram[limb, :, i, j].tolist()) == wanted
        scales = elements(weights[limb])
        columns = [slow.inner(scales, [row[m] for row in rows]) for m in range(n)]
        assert np.array_equal(combined[limb], array(columns).reshape(2, n))


def test_refused_arguments():
    q = EXTENSION_PRIMES[1]
    field = Extension(q)
    zeros = lambda *shape: np.zeros(shape, dtype=np.uint64)  # noqa: E731
    large = np.full((2, 3), q, dtype=np.uint64)
    rows = zeros(1, 2, 3, 4)
    for message, call in (
        ("odd prime", lambda: Extension(2**60)),
        ("b: expected shape", lambda: field.mul(zeros(2, 3), zeros(2, 4))),
        ("a: expected a first axis of 2", lambda: field.mul(zeros(3, 2), zeros(3, 2))),
        ("b: expected words below", lambda: field.mul(zeros(2, 3), large)),
        ("x: expected shape", lambda: field.scale(zeros(2, 3), zeros(3))),
        ("a: expected shape", lambda: field.inner(zeros(3, 2), zeros(3, 2))),
        ("a: expected words below", lambda: field.inner(large, zeros(2, 3))),
        ("weights: expected shape", lambda: field.combine_words(zeros(3, 4), zeros(2, 4))),
        ("b: expected shape", lambda: field.inner_words(zeros(3, 4), zeros(2, 3))),
        ("points: expected shape", lambda: field.eq_table(zeros(3, 3))),
        ("result: expected at most", lambda: field.eq_table(zeros(70, 2))),
        ("result: expected at most", lambda: field.eq_table(zeros(28, 2))),
        ("moduli: expected 3 moduli", lambda: sigma_fold(rows, zeros(1, 2), [q])),
        ("sigmas: expected shape", lambda: sigma_fold(zeros(3, 2, 1, 4), zeros(2), [q])),
        (
            "sigmas: expected words below",
            lambda: sigma_fold(zeros(3, 2, 1, 4), large[:1, :2].copy(), [q]),
        ),
        (
            "words: expected words below",
            lambda: sigma_fold(zeros(1, 1, 1, 4) + np.uint64(q), zeros(1, 2), [q]),
        ),
        (
            "weights: expected shape",
            lambda: evaluate_folded(zeros(3, 2, 1, 4), zeros(1, 2, 5), zeros(1, 2), [q]),
        ),
        ("a: expected shape", lambda: cross_gram(rows, rows, [q, q])),
        ("b: expected shape", lambda: cross_gram(rows, zeros(1, 2, 3, 5), [q])),
        (
            "b: expected words below",
            lambda: cross_gram(rows, rows + np.uint64(q), [q]),
        ),
        ("weights: expected shape", lambda: combine_rows_extension(zeros(1, 2, 4), rows, [q])),
    ):
        with pytest.raises(ValueError, match=message):
            call()
