"""Answers of another model than the committed one, or of one that differs between limbs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.adversarial.malicious_prover import (
    CLAMPED,
    GLUED,
    MOVED,
    Strategy,
    forge,
    refused_by,
    second_opening,
)
from tests.adversarial.scenario import (
    Batch,
    Residues,
    Single,
    in_every_limb,
    limb_blocks,
    random_model,
    residues,
)
from zk_layers.checks import Check

ATTEMPTS = 12
ALWAYS_SEEN = [(GLUED, Check.INTERVAL), (CLAMPED, Check.LINEAR_SUM), (MOVED, Check.LINEAR)]
"""What becomes of a value that is long mod Q, by what the cheat sends for it."""
SHORT_BUT_WRONG = [(GLUED, Check.LINEAR_SUM), (Strategy(move_sum=True), Check.LINEAR)]
"""What becomes of an equation between short values which does not hold."""


@pytest.fixture(params=["batch", "single"])
def answer(request: pytest.FixtureRequest) -> Batch | Single:
    return request.getfixturevalue(request.param)


def shifted(answer: Batch | Single, by: int, limbs: tuple[int, ...]) -> Residues:
    """The model's residues, the second weight moved in some limbs."""
    changed = answer.integers.copy()
    changed[0, 1] += by
    return tuple(
        residues(changed if limb in limbs else answer.integers, modulus)
        for limb, modulus in enumerate(answer.moduli)
    )


def committed(answer: Batch | Single, weights: Residues) -> list[dict[str, np.ndarray]]:
    """The honest blocks with other weights."""
    return [
        {**block, "weights": weight.reshape(-1)}
        for block, weight in zip(answer.blocks, weights, strict=True)
    ]


@pytest.mark.rejects("C-13")
@pytest.mark.parametrize(("strategy", "check"), SHORT_BUT_WRONG)
def test_another_model_with_a_short_opening(answer, strategy, check):
    integers, opening = random_model(77, *(np.array(answer.integers.shape) - [0, 1]))
    cheat = replace(answer, integers=integers, opening=opening)
    forged = replace(answer.answered(in_every_limb(integers, answer.moduli)))
    proof = forge(forged.relation, cheat.blocks, strategy, ATTEMPTS)
    assert refused_by(forged.relation, proof) is check


@pytest.mark.rejects("C-13")
@pytest.mark.parametrize(("strategy", "check"), ALWAYS_SEEN)
def test_another_model_with_a_long_opening_of_the_pinned_commitment(answer, strategy, check):
    integers, _ = random_model(78, *(np.array(answer.integers.shape) - [0, 1]))
    forged = answer.answered(in_every_limb(integers, answer.moduli))
    blocks = committed(answer, in_every_limb(integers, answer.moduli))
    modulus = answer.moduli[0]
    h = answer.request.card.commitment_words()
    blocks[0]["opening"] = second_opening(modulus, h, blocks[0]["weights"])
    assert refused_by(forged.relation, forge(forged.relation, blocks, strategy)) is check


@pytest.mark.rejects("C-12")
@pytest.mark.parametrize("by", [1, 5, 1 << 20])
@pytest.mark.parametrize("limb", [0, 1])
@pytest.mark.parametrize(("strategy", "check"), ALWAYS_SEEN)
def test_a_weight_changed_in_one_limb_and_committed_so(answer, limb, by, strategy, check):
    weights = shifted(answer, by, (limb,))
    forged = answer.answered(weights)
    proof = forge(forged.relation, committed(answer, weights), strategy)
    assert refused_by(forged.relation, proof) is check


@pytest.mark.rejects("C-12")
@pytest.mark.rejects("C-21")
@pytest.mark.parametrize("limb", [0, 1])
@pytest.mark.parametrize(
    ("move", "check"), [(False, Check.LINEAR_SUM), (True, Check.LINEAR)], ids=["as is", "moved"]
)
def test_a_weight_changed_in_one_limb_and_projections_of_the_others(answer, limb, move, check):
    weights = shifted(answer, 5, (limb,))
    forged = answer.answered(weights)
    others = tuple(i for i in range(len(answer.moduli)) if i != limb)
    strategy = Strategy(limbs=others, move_sum=move)
    proof = forge(forged.relation, committed(answer, weights), strategy, ATTEMPTS)
    assert refused_by(forged.relation, proof) is check


@pytest.mark.rejects("C-12")
@pytest.mark.parametrize("limbs", [(0,), (1,), (0, 1, 2)], ids=["limb 0", "limb 1", "all limbs"])
@pytest.mark.parametrize(("strategy", "check"), ALWAYS_SEEN)
def test_a_changed_weight_with_the_honest_model_committed(answer, limbs, strategy, check):
    forged = answer.answered(shifted(answer, 5, limbs))
    proof = forge(forged.relation, answer.blocks, strategy)
    assert refused_by(forged.relation, proof) is check


@pytest.mark.rejects("C-13")
@pytest.mark.parametrize(("strategy", "check"), SHORT_BUT_WRONG)
def test_a_weight_changed_in_all_limbs_and_committed_so(answer, strategy, check):
    weights = shifted(answer, 5, (0, 1, 2))
    forged = answer.answered(weights)
    proof = forge(forged.relation, committed(answer, weights), strategy, ATTEMPTS)
    assert refused_by(forged.relation, proof) is check


def without_bias(answer: Batch | Single) -> Residues:
    changed = answer.integers.copy()
    changed[0, -1] = 0
    return in_every_limb(changed, answer.moduli)


@pytest.mark.rejects("C-13")
@pytest.mark.parametrize(("strategy", "check"), SHORT_BUT_WRONG)
def test_a_dropped_bias_committed_so(answer, strategy, check):
    weights = without_bias(answer)
    forged = answer.answered(weights)
    proof = forge(forged.relation, committed(answer, weights), strategy, ATTEMPTS)
    assert refused_by(forged.relation, proof) is check


@pytest.mark.rejects("C-09")
@pytest.mark.parametrize(("strategy", "check"), ALWAYS_SEEN)
def test_a_dropped_bias_in_a_batch_with_the_honest_model_committed(batch, strategy, check):
    forged = batch.answered(without_bias(batch))
    assert refused_by(forged.relation, forge(forged.relation, batch.blocks, strategy)) is check


@pytest.mark.rejects("C-10")
@pytest.mark.parametrize(("strategy", "check"), SHORT_BUT_WRONG)
def test_a_dropped_bias_in_a_record_with_the_honest_model_committed(single, strategy, check):
    forged = single.answered(without_bias(single))
    proof = forge(forged.relation, single.blocks, strategy, ATTEMPTS)
    assert refused_by(forged.relation, proof) is check


@pytest.mark.rejects("C-13")
def test_the_honest_blocks_are_accepted_through_the_same_code(answer):
    blocks = limb_blocks(answer.integers, answer.opening, answer.u, answer.moduli)
    blocks = tuple({**old, **new} for old, new in zip(answer.blocks, blocks, strict=True))
    proof = forge(answer.relation, blocks, GLUED, ATTEMPTS)
    assert refused_by(answer.relation, proof) is None
