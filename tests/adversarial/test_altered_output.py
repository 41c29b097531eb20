"""Output words that are not the proved ones: changed on the way, changed by the prover, swapped."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from protocol.errors import VerificationError
from tests.adversarial.altered_answers import with_body_word, with_mask_word, with_word
from tests.adversarial.malicious_prover import (
    CLAMPED,
    GLUED,
    MOVED,
    OTHER_POSITIONS,
    Strategy,
    forge,
    refusal,
    refused_by,
)
from zk_layers.checks import Check
from zk_layers.verify import verify_linear

ALWAYS_SEEN = [(GLUED, Check.INTERVAL), (CLAMPED, Check.LINEAR_SUM), (MOVED, Check.LINEAR)]


@pytest.mark.rejects("C-06")
@pytest.mark.parametrize("poly", [0, 1])
@pytest.mark.parametrize("limb", [0, 1, 2])
def test_a_batch_word_changed_in_transit(batch, batch_proof, poly, limb):
    altered = with_word(batch, (0, poly, limb, 77))
    assert refusal(lambda: verify_linear(altered.relation, batch_proof)) in OTHER_POSITIONS


@pytest.mark.rejects("C-06")
@pytest.mark.parametrize("poly", [0, 1])
@pytest.mark.parametrize("limb", [0, 1, 2])
@pytest.mark.parametrize(("strategy", "check"), ALWAYS_SEEN)
def test_a_batch_word_changed_by_the_prover(batch, poly, limb, strategy, check):
    altered = with_word(batch, (0, poly, limb, 77))
    assert refused_by(altered.relation, forge(altered.relation, batch.blocks, strategy)) is check


@pytest.mark.rejects("C-21")
@pytest.mark.parametrize(
    ("move", "check"), [(False, Check.LINEAR_SUM), (True, Check.LINEAR)], ids=["as is", "moved"]
)
def test_a_batch_word_changed_by_a_prover_who_projects_the_other_limbs(batch, move, check):
    altered = with_word(batch, (0, 0, 1, 77))
    proof = forge(altered.relation, batch.blocks, Strategy(limbs=(0, 2), move_sum=move), 12)
    assert refused_by(altered.relation, proof) is check


@pytest.mark.rejects("C-06")
@pytest.mark.parametrize("limb", [0, 1])
def test_a_record_word_changed_in_transit(single, single_proof, limb):
    for altered in (with_mask_word(single, limb, 9), with_body_word(single, limb)):
        relation = altered.relation
        assert refusal(lambda at=relation: verify_linear(at, single_proof)) in OTHER_POSITIONS


@pytest.mark.rejects("C-06")
@pytest.mark.parametrize("limb", [0, 1])
@pytest.mark.parametrize(("strategy", "check"), ALWAYS_SEEN)
def test_a_mask_word_changed_by_the_prover(single, limb, strategy, check):
    altered = with_mask_word(single, limb, 9)
    assert refused_by(altered.relation, forge(altered.relation, single.blocks, strategy)) is check


@pytest.mark.rejects("C-10")
@pytest.mark.parametrize("limb", [0, 1])
@pytest.mark.parametrize(
    ("move", "check"), [(False, Check.LINEAR_SUM), (True, Check.LINEAR)], ids=["as is", "moved"]
)
def test_a_body_word_changed_by_the_prover(single, limb, move, check):
    altered = with_body_word(single, limb)
    proof = forge(altered.relation, single.blocks, Strategy(move_sum=move), 12)
    assert refused_by(altered.relation, proof) is check


@pytest.mark.rejects("C-14")
def test_swapped_outputs_of_a_batch(two_outputs, two_outputs_proof):
    swapped = replace(two_outputs, outputs=two_outputs.outputs[::-1].copy())
    replayed = refusal(lambda: verify_linear(swapped.relation, two_outputs_proof))
    assert replayed in OTHER_POSITIONS
    proof = forge(swapped.relation, two_outputs.blocks)
    assert refused_by(swapped.relation, proof) is Check.INTERVAL
    proof = forge(swapped.relation, two_outputs.blocks, MOVED)
    assert refused_by(swapped.relation, proof) is Check.LINEAR
    blocks = [dict(block) for block in two_outputs.blocks]
    for block in blocks:  # the rows of the model swapped as well: then it is another model
        block["weights"] = block["weights"].reshape(2, -1)[::-1].reshape(-1).copy()
    same_keys = replace(swapped, keys=two_outputs.keys[::-1].copy())
    proof = forge(same_keys.relation, blocks, GLUED, 12)
    assert refused_by(same_keys.relation, proof) is Check.LINEAR_SUM


@pytest.mark.rejects("C-14")
def test_swapped_outputs_of_a_record(single_two_outputs, single_two_outputs_proof):
    swapped = replace(single_two_outputs, body=single_two_outputs.body[::-1].copy())
    proof = single_two_outputs_proof
    assert refusal(lambda: verify_linear(swapped.relation, proof)) in OTHER_POSITIONS
    proof = forge(swapped.relation, single_two_outputs.blocks, GLUED, 12)
    assert refused_by(swapped.relation, proof) is Check.LINEAR_SUM


@pytest.mark.rejects("C-14")
def test_statement_words_of_other_shapes(batch, single):
    limb_more = np.concatenate([single.mask, single.mask[:1]])
    for broken, part in (
        (batch, {"inputs": batch.inputs[:1]}),
        (batch, {"keys": np.concatenate([batch.keys, batch.keys])}),
        (batch, {"outputs": np.concatenate([batch.outputs, batch.outputs])}),
        (batch, {"outputs": batch.outputs[:, :, :2].copy()}),
        (batch, {"outputs": batch.outputs.astype(np.int64)}),
        (single, {"mask": limb_more}),
        (single, {"body": np.concatenate([single.body, single.body])}),
    ):
        with pytest.raises(VerificationError) as refused:
            _ = replace(broken, **part).relation
        assert refused.value.check == Check.STATEMENT
