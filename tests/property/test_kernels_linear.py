"""Linear maps over ciphertext words."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels import inner_products, linear_small, linear_words
from tests.reference import linear
from tests.reference.inputs import PRIMES, generators, limb_words, words

limbs = st.lists(st.sampled_from(PRIMES), max_size=3)
counts = st.sampled_from([0, 1, 2, 5, 31, 32, 33, 70])
widths = st.sampled_from([0, 1, 7, 8, 9, 64, 65, 300])
BOUND = 2**17


def small_weights(rng, *shape):
    uniform = rng.integers(-BOUND, BOUND, shape, endpoint=True)
    return np.where(rng.random(shape) < 0.3, rng.choice([-BOUND, BOUND], shape), uniform)


@given(
    moduli=limbs,
    rng=generators(),
    count=counts,
    polys=st.integers(0, 2),
    n=widths,
    outputs=st.integers(0, 5),
)
def test_linear_small(*, moduli, rng, count, polys, n, outputs):
    x = limb_words(rng, moduli, count, polys, n)
    weights = small_weights(rng, outputs, count)
    found = linear_small(x, weights, moduli)
    assert found.shape == (outputs, polys, len(moduli), n)
    assert np.array_equal(found, linear.linear(x, weights, moduli))


@pytest.mark.parametrize("sign", [-1, 1])
def test_linear_small_reduces_before_it_overflows(sign):
    # More ciphertexts than one 64-bit accumulation may hold, all at their extremes.
    count = 2**15 + 5
    for q in (PRIMES[0], PRIMES[4]):
        x = np.full((count, 1, 1, 3), q - 1, dtype=np.uint64)
        weights = np.full((1, count), sign * BOUND, dtype=np.int64)
        expected = sign * BOUND * count * (q - 1) % q
        assert linear_small(x, weights, [q]).reshape(-1).tolist() == [expected] * 3


@given(
    moduli=limbs,
    rng=generators(),
    count=counts,
    polys=st.integers(0, 2),
    n=widths,
    outputs=st.integers(0, 3),
)
def test_linear_words(*, moduli, rng, count, polys, n, outputs):
    x = limb_words(rng, moduli, count, polys, n)
    weights = limb_words(rng, moduli, outputs, count, 1)[..., 0].copy()
    found = linear_words(x, weights, moduli)
    assert found.shape == (outputs, polys, len(moduli), n)
    assert np.array_equal(found, linear.linear(x, weights, moduli))


def test_linear_words_reduces_before_it_overflows():
    q, count = PRIMES[4], 200
    x = np.full((count, 1, 1, 2), q - 1, dtype=np.uint64)
    weights = np.full((1, count, 1), q - 1, dtype=np.uint64)
    assert linear_words(x, weights, [q]).reshape(-1).tolist() == [count, count]


@given(
    moduli=limbs,
    rng=generators(),
    count=st.integers(0, 4),
    polys=st.integers(0, 2),
    n=widths,
    vector_count=st.integers(0, 4),
)
def test_inner_products(*, moduli, rng, count, polys, n, vector_count):
    x = limb_words(rng, moduli, count, polys, n)
    vectors = limb_words(rng, moduli, vector_count, polys, n)
    found = inner_products(x, vectors, moduli)
    assert found.shape == (len(moduli), vector_count, count)
    assert np.array_equal(found, linear.inner_products(x, vectors, moduli))


def test_the_sizes_of_the_protocol(rng):
    moduli = [PRIMES[3]] * 3
    x = limb_words(rng, moduli, 31, 2, 8192)
    weights, vectors = small_weights(rng, 2, 31), limb_words(rng, moduli, 2, 2, 8192)
    found = linear_small(x, weights, moduli)
    q = moduli[0]
    residues = np.repeat((weights % q).astype(np.uint64)[:, :, None], 3, axis=2)
    assert np.array_equal(found, linear_words(x, residues, moduli))
    # Folding commutes with the inner products: an exact relation between the three kernels.
    products = inner_products(x, vectors, moduli).astype(object)
    folded = inner_products(found, vectors, moduli)
    for limb in range(3):
        wanted = products[limb] @ weights.astype(object).T % q
        assert np.array_equal(folded[limb], wanted)


def test_refusals(rng):
    q = PRIMES[3]
    x, one = words(rng, q, 2, 1, 1, 4), np.ones((1, 2), dtype=np.int64)
    with pytest.raises(ValueError, match="magnitudes of at most 131072"):
        linear_small(x, one * (BOUND + 1), [q])
    with pytest.raises(ValueError, match="magnitudes of at most 131072"):
        linear_small(x, one * -(2**63), [q])
    with pytest.raises(ValueError, match="1 moduli, one per limb"):
        linear_small(x, one, [q, q])
    with pytest.raises(ValueError, match=r"weights: expected shape \[1, 2\]"):
        linear_small(x, np.ones((1, 3), dtype=np.int64), [q])
    with pytest.raises(ValueError, match=r"vectors: expected shape \[1, 1, 1, 4\]"):
        inner_products(x, words(rng, q, 1, 1, 1, 5), [q])
    for index in (0, 3, 7):
        bad = x.copy()
        bad.reshape(-1)[index] = q
        message = f"words below {q}, found {q} at flat index {index % 4}"
        with pytest.raises(ValueError, match=message):
            linear_small(bad, one, [q])
        with pytest.raises(ValueError, match=message):
            linear_words(bad, np.ones((1, 2, 1), dtype=np.uint64), [q])
        with pytest.raises(ValueError, match=message):
            inner_products(bad, x, [q])
        with pytest.raises(ValueError, match="vectors: expected words below"):
            inner_products(x, bad, [q])
