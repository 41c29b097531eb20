from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from protocol.errors import EncodingError, ShapeError
from protocol.inputs import RequestInputs
from protocol.plaintext import NO_PLAINTEXT_FIELDS, PlaintextColumns
from tests.adversarial.scenario import DEGREE, MODULI, make_ciphertexts, uniform_words

OPEN = PlaintextColumns(np.ones((1, 2)), bytes(32))


@pytest.fixture
def mixed(rng) -> RequestInputs:
    """Inputs 0 and 2 encrypted, 1 and 3 known."""
    ciphertexts = make_ciphertexts(rng, 2, MODULI)
    known = uniform_words(rng, (2,), MODULI)
    return RequestInputs(ciphertexts, (0, 2), OPEN, (1, 3), lambda _: known)


@pytest.fixture
def summed(rng) -> RequestInputs:
    """One record, partly known."""
    ciphertexts = make_ciphertexts(rng, 1, MODULI)
    known = uniform_words(rng, (1,), MODULI)
    return RequestInputs(ciphertexts, (0,), OPEN, (0,), lambda _: known)


@pytest.mark.accepts("C-78")
def test_known_inputs_are_trivial_ciphertexts(mixed):
    words = mixed.words
    assert words.shape == (4, 2, len(MODULI), DEGREE)
    assert np.array_equal(words[[0, 2]], mixed.ciphertexts.words)
    assert np.array_equal(words[[1, 3], 0], mixed.known)
    assert not words[[1, 3], 1].any()


@pytest.mark.accepts("C-78")
def test_a_partly_known_input_is_a_sum(summed):
    sent = summed.ciphertexts.words
    for limb, prime in enumerate(MODULI):
        wanted = sent[0, 0, limb].astype(object) + summed.known[0, limb].astype(object)
        assert (summed.words[0, 0, limb].astype(object) == wanted % prime).all()
    assert np.array_equal(summed.words[0, 1], sent[0, 1])


def test_all_encrypted_inputs_are_the_ciphertexts(rng):
    ciphertexts = make_ciphertexts(rng, 2, MODULI)
    inputs = RequestInputs.encrypted_only(ciphertexts)
    assert inputs.words is ciphertexts.words
    assert inputs.digest == ciphertexts.digest == inputs.evaluated_digest
    assert inputs.plaintext_digest == NO_PLAINTEXT_FIELDS


def test_digests_are_of_what_was_sent(mixed):
    assert mixed.digest == mixed.ciphertexts.digest
    assert mixed.plaintext_digest == OPEN.digest


def test_compact_inputs_are_as_small_as_what_travelled(mixed):
    words, digest = mixed.words, mixed.evaluated_digest
    compact = mixed.compact()
    assert not {"words", "known"} & {*vars(compact), *vars(compact.ciphertexts)}
    assert np.array_equal(compact.words, words)
    assert compact.evaluated_digest == digest
    sent = sum(map(len, mixed.ciphertexts.seeds)) + mixed.ciphertexts.bodies.nbytes
    assert mixed.sent_bytes == sent + 8 * 2


def test_expanding_keeps_only_what_was_joined(mixed):
    assert mixed.words is mixed.words
    assert "words" not in vars(mixed.ciphertexts)


@pytest.mark.rejects("C-80")
def test_the_evaluated_digest_is_of_words_and_not_of_salt_or_raw_values(mixed):
    salted = replace(mixed, plaintext=PlaintextColumns(np.ones((1, 2)) * 3, b"s" * 32))
    assert salted.plaintext_digest != mixed.plaintext_digest
    assert salted.evaluated_digest == mixed.evaluated_digest
    known = mixed.known.copy()
    known[1, 0, 0] ^= np.uint64(1)
    assert replace(mixed, encoder=lambda _: known).evaluated_digest != mixed.evaluated_digest
    moved = replace(mixed, encrypted=(1, 3), known_inputs=(0, 2))
    assert np.array_equal(moved.words[[1, 3]], mixed.words[[0, 2]])


@pytest.mark.rejects("C-80")
def test_the_evaluated_digest_of_a_sum_does_not_tell_its_parts(summed):
    bodies, known = summed.ciphertexts.bodies.copy(), summed.known.copy()
    for limb, prime in enumerate(MODULI):
        bodies[0, limb] = (bodies[0, limb] + np.uint64(prime - 5)) % np.uint64(prime)
        known[0, limb] = (known[0, limb] + np.uint64(5)) % np.uint64(prime)
    ciphertexts = replace(summed.ciphertexts, bodies=bodies)
    other = replace(summed, ciphertexts=ciphertexts, encoder=lambda _: known)
    assert np.array_equal(other.words, summed.words)
    assert other.digest != summed.digest
    assert other.evaluated_digest == summed.evaluated_digest
    seeds = (bytes(64),)
    reseeded = replace(summed, ciphertexts=replace(summed.ciphertexts, seeds=seeds))
    assert reseeded.evaluated_digest != summed.evaluated_digest


@pytest.mark.rejects("C-78")
@pytest.mark.parametrize(
    "changes",
    [
        {"encrypted": (0, 4)},
        {"encrypted": (2, 0)},
        {"encrypted": (0,)},
        {"encrypted": (0, 0)},
        {"encoder": None},
        {"known_inputs": (3, 1)},
        {"known_inputs": (1, 4)},
        {"known_inputs": ()},
        {"plaintext": None},
    ],
)
def test_parts_that_do_not_fit_are_refused(mixed, changes):
    with pytest.raises(ShapeError):
        replace(mixed, **changes)


@pytest.mark.rejects("C-78")
def test_known_words_must_be_canonical(mixed):
    known = mixed.known.copy()
    known[0, 1, 7] = MODULI[1]
    with pytest.raises(EncodingError):
        _ = replace(mixed, encoder=lambda _: known).words
    for other in (mixed.known.astype(np.int64), mixed.known[:, :1], mixed.known[:1]):
        with pytest.raises(ShapeError):
            _ = replace(mixed, encoder=lambda _, words=other: words).words


def test_no_repr_shows_values(mixed):
    assert "1." not in repr(mixed)
    assert "1." not in repr(mixed.plaintext)
