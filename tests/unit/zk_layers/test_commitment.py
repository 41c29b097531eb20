from __future__ import annotations

import os

import numpy as np
import pytest

from protocol.errors import ParameterError
from protocol.families import COMMITMENT_DEGREE, MAX_INTEGERS, OPENING_SIZE
from tests.adversarial.scenario import MODULI, residues
from zk_layers.commitment import (
    RANK,
    _matrix_entry,
    commit,
    commit_model,
    opened_form,
    opened_target,
    sample_opening,
)
from zk_layers.fields import field, ntt

Q = MODULI[0]
F = field(Q)


def uniform(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.integers(0, Q, shape, dtype=np.uint64)


@pytest.mark.parametrize("integers", [1, 31, 1024, 1025])
def test_commitments_are_linear(rng, integers):
    w, v = uniform(rng, integers), uniform(rng, integers)
    r, s = uniform(rng, OPENING_SIZE), uniform(rng, OPENING_SIZE)
    both = commit(Q, F.add(w, v), F.add(r, s))
    assert (both == F.add(commit(Q, w, r), commit(Q, v, s))).all()
    assert (commit(Q, F.scale(w, 5), F.scale(r, 5)) == F.scale(commit(Q, w, r), 5)).all()


@pytest.mark.accepts("C-13")
@pytest.mark.parametrize("integers", [1, 31, 1025])
def test_the_transposed_map_folds_the_commitment(rng, integers):
    w, r = uniform(rng, integers), uniform(rng, OPENING_SIZE)
    d = uniform(rng, 2, RANK, COMMITMENT_DEGREE)
    weights, opening = opened_form(Q, d, integers)
    target = opened_target(Q, d, commit(Q, w, r))
    for c in range(2):
        folded = (F.dot(weights[c].copy(), w) + F.dot(opening[c].copy(), r)) % Q
        assert folded == target[c] % Q


def test_a_commitment_is_the_product_in_the_ring():
    """h = A w + B r, by schoolbook multiplication of one integer and one opening coefficient."""
    w = np.zeros(3, dtype=np.uint64)
    r = np.zeros(OPENING_SIZE, dtype=np.uint64)
    w[2], r[COMMITMENT_DEGREE + 7] = 9, 4
    transform = ntt(Q, COMMITMENT_DEGREE)
    h = transform.inverse(commit(Q, w, r))
    for row in range(RANK):
        a = transform.inverse(_matrix_entry(Q, "A", row, 0).copy())
        b = transform.inverse(_matrix_entry(Q, "B", row, 1).copy())
        for n in range(0, COMMITMENT_DEGREE, 97):
            expected = 0
            for entry, shift, factor in ((a, 2, 9), (b, 7, 4)):
                sign = 1 if n >= shift else -1
                expected += sign * factor * int(entry[(n - shift) % COMMITMENT_DEGREE])
            assert int(h[row, n]) == expected % Q


def test_different_integers_and_openings_commit_differently(rng):
    integers = rng.integers(-1000, 1000, 31)
    opening = sample_opening(os.urandom(32))
    h = commit_model(Q, integers, opening)
    changed = integers.copy()
    changed[4] += 1
    assert (commit_model(Q, changed, opening) != h).any()
    assert (commit_model(Q, integers, sample_opening(os.urandom(32))) != h).any()
    assert (commit(Q, residues(integers, Q), residues(opening, Q)) == h).all()


def test_openings_are_ternary_uniform_and_reproducible():
    opening = sample_opening(bytes(32))
    assert opening.shape == (OPENING_SIZE,)
    assert (opening == sample_opening(bytes(32))).all()
    assert (opening != sample_opening(b"\x01" * 32)).any()
    counts = np.bincount(opening + 1, minlength=3)
    assert len(counts) == 3
    expected = OPENING_SIZE / 3
    assert ((counts - expected) ** 2 / expected).sum() < 28  # 2 degrees of freedom, 1e-6


@pytest.mark.parametrize("integers", [0, MAX_INTEGERS + 1])
def test_too_many_or_no_integers_are_refused(integers):
    with pytest.raises(ParameterError):
        opened_form(Q, np.zeros((2, RANK, COMMITMENT_DEGREE), dtype=np.uint64), integers)


def test_matrices_depend_on_modulus_place_and_name():
    entries = [
        _matrix_entry(q, name, row, column).tobytes()
        for q in MODULI[:2]
        for name in ("A", "B")
        for row in range(2)
        for column in range(2)
    ]
    assert len(set(entries)) == len(entries)
