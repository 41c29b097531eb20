"""Keys of a network: one for each output and power, all of one secret, each for its own a_m."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest

from protocol.keys import EnrolledKey, expand_a
from tests.adversarial.false_keys import LIMBS, NONCE, REQUEST, enrol, honest, make_b, secrets_of
from tests.adversarial.malicious_prover import (
    CLAMPED,
    GLUED,
    MOVED,
    OTHER_POSITIONS,
    MaliciousProver,
    Strategy,
    refusal,
)
from tests.adversarial.scenario import DEGREE, in_every_limb
from zk_layers.checks import Check
from zk_layers.enrolment import EnrolmentRelation
from zk_layers.fields import field, ntt
from zk_layers.verify import verify_enrolment

FOUR_KEYS = replace(REQUEST, keys=4)
"""Two outputs of a square: powers 0 and 1 of each."""
ALWAYS_SEEN = [(GLUED, Check.INTERVAL), (CLAMPED, Check.LINEAR_SUM), (MOVED, Check.LINEAR)]


def refused(key: EnrolledKey, proof: bytes) -> Check | None:
    return refusal(lambda: verify_enrolment(key, proof))


@pytest.mark.accepts("C-23")
@pytest.mark.accepts("C-25")
def test_four_honest_keys_are_accepted():
    key, proof = enrol(secrets_of(*honest(keys=4)), request=FOUR_KEYS)
    assert refused(key, proof) is None
    halves = {key.a[m, limb].tobytes() for m in range(4) for limb in range(len(LIMBS))}
    assert len(halves) == 4 * len(LIMBS), "every key has its own a_m"


@pytest.mark.rejects("C-23")
@pytest.mark.parametrize("m", range(4))
def test_one_key_of_four_that_is_no_sample(m):
    """b_m = -a_m s + e_m + 2^34: under it u of that power would show."""

    def change(b: np.ndarray) -> None:
        for limb, modulus in enumerate(LIMBS):
            b[m, limb] = field(modulus).add(
                b[m, limb].copy(), np.full(DEGREE, 1 << 34, dtype=np.uint64)
            )

    strategy, check = ALWAYS_SEEN[m % 3]
    key, proof = enrol(secrets_of(*honest(keys=4)), strategy, change, request=FOUR_KEYS)
    assert refused(key, proof) is check


@pytest.mark.rejects("C-23")
@pytest.mark.parametrize("m", [1, 3])
def test_one_key_of_four_made_for_another_power(m):
    """The sum of two keys is a sample for the sum of their a_m, not for either."""

    def change(b: np.ndarray) -> None:
        for limb, modulus in enumerate(LIMBS):
            b[m, limb] = field(modulus).add(b[m, limb].copy(), b[m - 1, limb].copy())

    strategy, check = ALWAYS_SEEN[m % 3]
    key, proof = enrol(secrets_of(*honest(keys=4)), strategy, change, request=FOUR_KEYS)
    assert refused(key, proof) is check


@pytest.mark.rejects("C-23")
@pytest.mark.parametrize("m", [0, 2])
def test_one_key_of_four_of_another_secret(m):
    """Every b_m has to be a sample of the one committed secret."""
    other = np.roll(honest()[0], 1)

    def change(b: np.ndarray) -> None:
        for limb, modulus in enumerate(LIMBS):
            difference = ntt(modulus, DEGREE).forward(
                field(modulus).reduce_i64(np.ascontiguousarray(other - honest()[0]))
            )
            a = np.random.default_rng(limb).integers(0, modulus, DEGREE, dtype=np.uint64)
            b[m, limb] = field(modulus).multiply_add(b[m, limb].copy(), a, difference)

    strategy, check = ALWAYS_SEEN[m % 3]
    key, proof = enrol(secrets_of(*honest(keys=4)), strategy, change, request=FOUR_KEYS)
    assert refused(key, proof) is check


@pytest.mark.rejects("C-24")
@pytest.mark.parametrize("m", [1, 2])
def test_an_error_of_one_key_that_differs_in_one_limb(m):
    secret, errors = honest(keys=4)
    other = errors.copy()
    other[m, 5] ^= 1
    secrets = secrets_of(secret, errors)
    secrets.errors = (secrets.errors[0], in_every_limb(other, LIMBS)[1])
    for strategy, check in (ALWAYS_SEEN[m], (Strategy(limbs=(0,)), Check.LINEAR_SUM)):
        key, proof = enrol(secrets, strategy, request=FOUR_KEYS)
        assert refused(key, proof) is check


@pytest.mark.rejects("C-25")
@pytest.mark.parametrize("fitted", [(2,), (0, 1, 2, 3)], ids=["one key", "all keys"])
def test_keys_fitted_to_their_halves_after_the_nonce(fitted):
    """Errors chosen when the a_m are known: the proof opens another root than was announced."""
    secret, errors = honest(6, keys=4)
    announced = secrets_of(secret, errors)
    root = MaliciousProver(EnrolmentRelation(FOUR_KEYS), announced.blocks()).root
    blank = EnrolledKey(FOUR_KEYS, root, NONCE, np.zeros((4, 2, DEGREE), dtype=np.uint64))
    chosen = errors.copy()
    for m in fitted:  # errors that depend on a_m, in range all the same
        chosen[m] = (blank.a[m, 0] % np.uint64(32)).astype(np.int64) - 16
    secrets = secrets_of(secret, chosen)
    key = replace(blank, b=make_b(secrets, blank.a))
    relation = EnrolmentRelation(FOUR_KEYS, key)
    late = MaliciousProver(relation, secrets.blocks())
    proof = late.answer(relation)
    assert late.root != root
    assert refused(key, proof) is Check.ROOT
    # the root that was announced does not hold these errors
    for strategy, check in ((CLAMPED, Check.LINEAR_SUM), (MOVED, Check.LINEAR)):
        early = MaliciousProver(relation, announced.blocks(), strategy)
        own = replace(key, root=early.root)
        moved = replace(own, b=make_b(secrets, own.a))
        answer = early.answer(EnrolmentRelation(FOUR_KEYS, moved))
        assert refused(moved, answer) is check


@pytest.mark.rejects("C-25")
def test_a_proof_for_fewer_keys_or_other_halves():
    key, proof = enrol(secrets_of(*honest(keys=4)), request=FOUR_KEYS)
    three = replace(FOUR_KEYS, keys=3)
    assert refused(replace(key, request=three, b=key.b[:3].copy()), proof) in OTHER_POSITIONS | {
        Check.INTERVAL
    }
    other = replace(key, nonce=os.urandom(32))
    assert refused(other, proof) in OTHER_POSITIONS
    assert (expand_a(FOUR_KEYS, key.root, NONCE) == key.a).all()
