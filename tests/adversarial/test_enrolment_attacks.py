"""Enrolling a key that is no honest RLWE sample, and what such a key would reveal."""

from __future__ import annotations

import os
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from protocol.errors import EnrolmentError
from protocol.keys import EnrolledKey, expand_a
from tests.adversarial.false_keys import (
    LIMBS,
    NONCE,
    REQUEST,
    TWO_KEYS,
    Secrets,
    enrol,
    honest,
    make_b,
    secrets_of,
)
from tests.adversarial.malicious_prover import (
    CLAMPED,
    GLUED,
    MOVED,
    OTHER_POSITIONS,
    MaliciousProver,
    Strategy,
    glue,
    refusal,
)
from tests.adversarial.scenario import (
    DEGREE,
    SINGLE_SCALE,
    in_every_limb,
    make_single,
    residues,
)
from zk_layers.checks import Check
from zk_layers.enrolment import EnrolmentRelation
from zk_layers.fields import field, ntt
from zk_layers.prove import EnrolmentProver
from zk_layers.verify import verify_enrolment

ALWAYS_SEEN = [(GLUED, Check.INTERVAL), (CLAMPED, Check.LINEAR_SUM), (MOVED, Check.LINEAR)]


def refused(key: EnrolledKey, proof: bytes) -> Check | None:
    return refusal(lambda: verify_enrolment(key, proof))


@pytest.fixture(scope="module")
def enrolled() -> tuple[EnrolledKey, bytes]:
    prover = EnrolmentProver(REQUEST, honest()[0].astype(np.int8))
    return prover.answer(NONCE)


@pytest.mark.accepts("C-23")
@pytest.mark.accepts("C-24")
def test_honest_keys_are_accepted(enrolled):
    assert refused(*enrolled) is None
    assert refused(*enrol(secrets_of(*honest()))) is None
    assert refused(*enrol(secrets_of(*honest(keys=2)), request=TWO_KEYS)) is None


@pytest.mark.rejects("C-23")
@pytest.mark.parametrize("value", [2, -2, 1 << 20])
def test_a_secret_that_is_not_ternary(value):
    secret, errors = honest()
    secret[7] = value
    secrets = secrets_of(secret, errors)
    assert refused(*enrol(secrets)) is Check.QUADRATIC
    blocks = secrets.blocks()
    blocks[0]["square"][7] = 1
    secrets.blocks = lambda: blocks
    assert refused(*enrol(secrets)) is Check.QUADRATIC


@pytest.mark.rejects("C-24")
@pytest.mark.parametrize("limb", [0, 1])
@pytest.mark.parametrize(
    ("strategy", "check"),
    [
        *ALWAYS_SEEN,
        (Strategy(limbs=(0,)), Check.LINEAR_SUM),
        (Strategy((0,), move_sum=True), Check.LINEAR),
    ],
)
def test_a_secret_that_differs_between_limbs(limb, strategy, check):
    secret, errors = honest()
    other = secret.copy()
    other[7] = (other[7] + 2) % 3 - 1  # ternary too
    chosen = [residues(secret, q) for q in LIMBS]
    chosen[limb] = residues(other, LIMBS[limb])
    secrets = Secrets(tuple(chosen), in_every_limb(errors, LIMBS), errors)
    assert refused(*enrol(secrets, strategy)) is check


@pytest.mark.rejects("C-23")
@pytest.mark.parametrize("value", [16, -17, 1 << 12])
def test_an_error_out_of_range(value):
    secret, errors = honest()
    errors[0, 3] = value
    assert refused(*enrol(secrets_of(secret, errors))) is Check.LINEAR_SUM
    assert refused(*enrol(secrets_of(secret, errors), Strategy(move_sum=True))) is Check.LINEAR
    assert refused(*enrol(secrets_of(secret, errors, top=True))) is Check.QUADRATIC


@pytest.mark.rejects("C-24")
@pytest.mark.parametrize(("strategy", "check"), ALWAYS_SEEN)
def test_an_error_that_differs_in_one_limb(strategy, check):
    secret, errors = honest()
    other = errors.copy()
    other[0, 3] ^= 1
    secrets = Secrets(
        in_every_limb(secret, LIMBS),
        (residues(errors, LIMBS[0]), residues(other, LIMBS[1])),
        errors,
    )
    assert refused(*enrol(secrets, strategy)) is check


@pytest.mark.rejects("C-23")
@pytest.mark.parametrize("limb", [0, 1])
@pytest.mark.parametrize(("strategy", "check"), ALWAYS_SEEN)
def test_one_word_of_b_altered(limb, strategy, check):
    def change(b: np.ndarray) -> None:
        b[0, limb, 5] = (int(b[0, limb, 5]) + 1) % LIMBS[limb]

    assert refused(*enrol(secrets_of(*honest()), strategy, change)) is check


@pytest.mark.rejects("C-23")
@pytest.mark.parametrize(("strategy", "check"), ALWAYS_SEEN)
def test_b_shifted_by_a_large_constant(strategy, check):
    """b = -a s + 2^34: coefficient 0 only, the same in every limb."""

    def change(b: np.ndarray) -> None:
        for limb, modulus in enumerate(LIMBS):
            shift = np.full(DEGREE, 1 << 34, dtype=np.uint64)
            b[0, limb] = field(modulus).add(np.ascontiguousarray(b[0, limb]), shift)

    assert refused(*enrol(secrets_of(*honest()), strategy, change)) is check


@pytest.mark.rejects("C-23")
@pytest.mark.parametrize("kind", ["zero", "another nonce"])
@pytest.mark.parametrize(("strategy", "check"), ALWAYS_SEEN)
def test_keys_made_with_another_a(kind, strategy, check):
    uniform = np.zeros((1, len(LIMBS), DEGREE), dtype=np.uint64)
    if kind == "another nonce":
        uniform = expand_a(REQUEST, bytes(32), bytes(32))
    key, proof = enrol(secrets_of(*honest()), strategy, uniform=uniform)
    assert refused(key, proof) is check


@pytest.mark.rejects("C-25")
def test_a_proof_replayed_under_a_new_nonce(enrolled):
    key, proof = enrolled
    assert refused(replace(key, nonce=os.urandom(32)), proof) in OTHER_POSITIONS


@pytest.mark.rejects("C-25")
def test_a_root_swapped_after_the_nonce(enrolled):
    """The client learns the nonce, then commits anew: to anything that suits the a it knows."""
    key, _ = enrolled
    secret, errors = honest(6)
    secrets = secrets_of(secret, errors)
    fitted = EnrolledKey(REQUEST, key.root, NONCE, make_b(secrets, key.a))
    relation = EnrolmentRelation(REQUEST, fitted)
    prover = MaliciousProver(relation, secrets.blocks())
    assert prover.root != key.root
    assert refused(fitted, prover.answer(relation)) is Check.ROOT


@pytest.mark.rejects("C-25")
@pytest.mark.parametrize("field_name", ["client_id", "server_id"])
def test_a_proof_replayed_for_another_identity(enrolled, field_name):
    key, proof = enrolled
    other = replace(key, request=replace(REQUEST, **{field_name: "somebody else"}))
    assert refused(other, proof) in OTHER_POSITIONS


@pytest.mark.rejects("C-23")
@pytest.mark.parametrize(("strategy", "check"), ALWAYS_SEEN)
def test_two_keys_of_one_enrolment_swapped(strategy, check):
    def change(b: np.ndarray) -> None:
        b[:] = b[::-1].copy()

    secrets = secrets_of(*honest(keys=2))
    key, proof = enrol(secrets, strategy, change, request=TWO_KEYS)
    assert refused(key, proof) is check


@pytest.mark.rejects("C-25")
def test_a_commitment_answers_one_nonce_only():
    prover = EnrolmentProver(REQUEST, honest()[0].astype(np.int8))
    prover.answer(NONCE)
    with pytest.raises(RuntimeError, match="opens once"):
        prover.answer(os.urandom(32))


@pytest.mark.rejects("C-23")
def test_a_key_of_other_shape_or_with_a_large_word(enrolled):
    key, _ = enrolled
    b = key.b.copy()
    b[0, 1, 3] = LIMBS[1]
    for words in (b, key.b[:, :1], key.b.astype(np.int64)):
        with pytest.raises(EnrolmentError):
            replace(key, b=words)


@pytest.mark.rejects("C-23")
def test_why_a_malicious_key_would_reveal_everything():
    """Under the key a = 0, b = 2^90 the client reads the weights, the bias and then u.

    The input is the client's choice as well: X_1 = 1, X_0 = 0.
    """
    single = make_single()
    key, inputs = np.zeros_like(single.key), np.zeros_like(single.inputs)
    inputs[1] = 1
    for limb, modulus in enumerate(single.moduli):
        key[0, limb] = (1 << 90) % modulus
    answered = replace(single, key=key, inputs=inputs).answered()
    q = answered.moduli[0]
    seen = ntt(q, DEGREE).inverse(answered.mask[0].copy())  # W(X) + e_1: nothing hides it
    noise = 5
    assert abs(glue([int(seen[0])], [q]) - int(single.integers[0, 0])) <= noise
    assert abs(glue([int(seen[DEGREE - 1])], [q]) + int(single.integers[0, 1])) <= noise
    owed = glue([int(word) for word in answered.body[0]], answered.moduli)
    bias = round(Fraction(owed, 1 << SINGLE_SCALE))
    assert bias == single.integers[0, -1]
    assert round(Fraction(owed - (bias << SINGLE_SCALE), 1 << 90)) == single.u[0]
    honest_key = replace(answered, key=single.key).answered()
    hidden = ntt(q, DEGREE).inverse(honest_key.mask[0].copy())
    assert abs(glue([int(hidden[0])], [q]) - int(single.integers[0, 0])) > 1 << 40


@pytest.mark.rejects("C-28")
def test_why_outputs_share_no_key():
    """Two outputs under one key and one u differ by (w_1 - w_2) X_1 + small, free of u."""
    first = make_single()
    changed = first.integers.copy()
    changed[0, 1] += 77
    second = first.answered(weights=in_every_limb(changed, first.moduli))
    q = first.moduli[0]
    arithmetic, transform = field(q), ntt(q, DEGREE)
    difference = arithmetic.sub(second.mask[0].copy(), first.mask[0].copy())
    shift = np.zeros(DEGREE, dtype=np.int64)
    found = []
    for guess in range(-100, 101):
        shift[DEGREE - 1] = -guess  # weight 1 of output 0 sits at X^-1
        known = arithmetic.mul(first.inputs[1, 0].copy(), transform.forward(residues(shift, q)))
        rest = transform.inverse(arithmetic.sub(difference, known))
        if np.minimum(rest, np.uint64(q) - rest).max() < 64:
            found.append(guess)
    assert found == [77]
