"""A cheat that changes one committed residue, of any block in any limb, is refused.

Mutating a finished proof mostly meets the Merkle tree.  Here the tree is built over the change, so
the algebra alone has to see it, whatever the cheat then sends.
"""

from __future__ import annotations

import numpy as np
import pytest

from protocol.keys import EnrolledKey, expand_a
from tests.adversarial.false_keys import (
    NONCE,
    REQUEST,
    honest,
    make_b,
    secrets_of,
)
from tests.adversarial.malicious_prover import (
    CLAMPED,
    GLUED,
    MOVED,
    MaliciousProver,
    Strategy,
    forge,
    refused_by,
)
from tests.adversarial.scenario import make_card, random_model
from zk_layers.checks import Check
from zk_layers.enrolment import EnrolmentRelation
from zk_layers.registration import RegistrationRelation
from zk_layers.relation import Relation

ALGEBRA = {Check.INTERVAL, Check.LINEAR_SUM, Check.LINEAR, Check.QUADRATIC}
STRATEGIES = [GLUED, CLAMPED, MOVED, Strategy((0,)), Strategy((0,), move_sum=True)]


def changed_blocks(
    rng: np.random.Generator, blocks: list[dict[str, np.ndarray]], moduli: tuple[int, ...]
):
    """One change in every block of every limb."""
    for limb, block in enumerate(blocks):
        for name, words in block.items():
            changed = [dict(other) for other in blocks]
            moved = words.copy()
            at = int(rng.integers(words.size))
            moved[at] = (int(moved[at]) + int(rng.integers(1, 4))) % moduli[limb]
            changed[limb][name] = moved
            yield changed


def assert_refused(relation: Relation, blocks: list[dict[str, np.ndarray]], seed: int) -> None:
    rng = np.random.default_rng(seed)
    for index, changed in enumerate(changed_blocks(rng, blocks, relation.moduli)):
        strategy = STRATEGIES[(index + seed) % len(STRATEGIES)]
        assert refused_by(relation, forge(relation, changed, strategy, 3)) in ALGEBRA


@pytest.mark.rejects("C-21")
@pytest.mark.parametrize("seed", range(5))
def test_cells_of_a_batch(batch, seed):
    assert_refused(batch.relation, [dict(block) for block in batch.blocks], seed)


@pytest.mark.rejects("C-21")
@pytest.mark.parametrize("seed", range(5))
def test_cells_of_a_record(single, seed):
    assert_refused(single.relation, [dict(block) for block in single.blocks], seed)


@pytest.mark.rejects("C-15")
@pytest.mark.rejects("C-17")
@pytest.mark.parametrize("seed", range(3))
def test_cells_of_a_registration(seed):
    integers, opening = random_model(60, 2, 3)
    relation = RegistrationRelation(make_card(integers, opening))
    blocks = [dict(block) for block in relation.witness(integers, opening).blocks]
    assert refused_by(relation, forge(relation, blocks)) is None
    assert_refused(relation, blocks, seed)


@pytest.mark.rejects("C-23")
@pytest.mark.rejects("C-24")
@pytest.mark.parametrize("seed", range(3))
def test_cells_of_an_enrolment(seed):
    secrets = secrets_of(*honest())
    rng = np.random.default_rng(seed)
    for index, changed in enumerate(changed_blocks(rng, secrets.blocks(), REQUEST.moduli)):
        strategy = STRATEGIES[(index + seed) % len(STRATEGIES)]
        prover = MaliciousProver(EnrolmentRelation(REQUEST), changed, strategy)
        b = make_b(secrets, expand_a(REQUEST, prover.root, NONCE))
        relation = EnrolmentRelation(REQUEST, EnrolledKey(REQUEST, prover.root, NONCE, b))
        prover.members = MaliciousProver(relation, changed).members
        assert refused_by(relation, prover.answer(relation)) in ALGEBRA
