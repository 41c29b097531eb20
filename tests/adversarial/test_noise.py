"""Sanitiser noise out of range, long values that look short, masks that are not bound."""

from __future__ import annotations

import math
import os

import numpy as np
import pytest

from tests.adversarial.altered_answers import single_bits, single_with_flooding
from tests.adversarial.malicious_prover import (
    CLAMPED,
    GLUED,
    MOVED,
    MaliciousProver,
    Strategy,
    forge,
    refused_by,
)
from tests.adversarial.scenario import (
    SINGLE_FLOODING,
    Batch,
    in_every_limb,
    residues,
)
from zk_layers.checks import Check

ALWAYS_SEEN = [(GLUED, Check.INTERVAL), (CLAMPED, Check.LINEAR_SUM), (MOVED, Check.LINEAR)]
WRONG_EQUATION = [(GLUED, Check.LINEAR_SUM), (Strategy(move_sum=True), Check.LINEAR)]


def moved(values: np.ndarray, by: int) -> np.ndarray:
    """Python integers, the first of the first row moved."""
    changed = values.astype(object)
    changed.reshape(-1)[0] += by
    return changed


def batch_with(batch: Batch, name: str, by: int) -> tuple[Batch, list[dict[str, np.ndarray]]]:
    """A batch with one value of its noise moved, and the blocks of a prover that did so."""
    values = in_every_limb(moved(getattr(batch, name), by), batch.moduli)
    blocks = [dict(block) for block in batch.blocks]
    if name == "u":
        for block, words in zip(blocks, values, strict=True):
            block["u"] = words
    return batch.answered(**{name: values}), blocks


@pytest.mark.rejects("C-20")
@pytest.mark.rejects("C-09")
@pytest.mark.parametrize("log2", [112, 115, 140, 170])
@pytest.mark.parametrize(("strategy", "check"), ALWAYS_SEEN)
def test_flooding_of_a_batch_out_of_range(batch, log2, strategy, check):
    forged, blocks = batch_with(batch, "e0", 1 << log2)
    assert refused_by(forged.relation, forge(forged.relation, blocks, strategy)) is check


@pytest.mark.rejects("C-11")
@pytest.mark.parametrize("name", ["e1", "u"])
@pytest.mark.parametrize("log2", [30, 50, 90])
@pytest.mark.parametrize(("strategy", "check"), ALWAYS_SEEN)
def test_small_noise_of_a_batch_out_of_range(batch, name, log2, strategy, check):
    forged, blocks = batch_with(batch, name, 1 << log2)
    assert refused_by(forged.relation, forge(forged.relation, blocks, strategy)) is check


@pytest.mark.rejects("C-11")
@pytest.mark.parametrize("name", ["e0", "e1", "u"])
@pytest.mark.parametrize("log2", [20, 87])
@pytest.mark.parametrize(("strategy", "check"), ALWAYS_SEEN)
def test_a_value_that_is_an_inverse_power_of_two(batch, name, log2, strategy, check):
    inverse = pow(1 << log2, -1, math.prod(batch.moduli))
    forged, blocks = batch_with(batch, name, inverse)
    assert refused_by(forged.relation, forge(forged.relation, blocks, strategy)) is check


@pytest.mark.rejects("C-09")
@pytest.mark.rejects("C-11")
@pytest.mark.parametrize("name", ["e0", "e1", "u"])
@pytest.mark.parametrize(("strategy", "check"), ALWAYS_SEEN)
def test_values_short_in_each_limb_but_long_together(batch, name, strategy, check):
    values = list(in_every_limb(getattr(batch, name), batch.moduli))
    changed = moved(getattr(batch, name), 1)
    values[1] = residues(changed, batch.moduli[1])  # short there too, but another integer
    forged = batch.answered(**{name: tuple(values)})
    blocks = [dict(block) for block in batch.blocks]
    if name == "u":
        blocks[1]["u"] = values[1]
    assert refused_by(forged.relation, forge(forged.relation, blocks, strategy)) is check


@pytest.mark.rejects("C-21")
@pytest.mark.parametrize(
    ("limbs", "check"),
    [(None, Check.INTERVAL), ((0, 2), Check.LINEAR_SUM)],
    ids=["all limbs", "the limbs that agree"],
)
def test_a_mask_that_is_another_integer_in_one_limb(batch, limbs, check):
    """Were it not bound, the mask would absorb whatever a long value adds to one limb."""
    for _ in range(12):
        seed = os.urandom(32)
        honest = MaliciousProver(batch.relation, batch.blocks, seed=seed)
        masks = honest.witness.blocks[1]["mask small"].copy()
        masks[0] = (int(masks[0]) + 12345) % batch.moduli[1]
        strategy, chosen = Strategy(limbs=limbs), {(1, "small"): masks}
        prover = MaliciousProver(
            batch.relation, batch.blocks, strategy, seed=seed, mask_residues=chosen
        )
        proof = prover.answer(batch.relation)
        if prover.in_range:
            break
    assert refused_by(batch.relation, proof) is check


JUST_OUTSIDE = [1 << SINGLE_FLOODING, -(1 << SINGLE_FLOODING) - 1, 1 << 100, -(1 << 110)]


@pytest.mark.rejects("C-10")
@pytest.mark.parametrize("value", JUST_OUTSIDE)
@pytest.mark.parametrize(("strategy", "check"), WRONG_EQUATION)
def test_exact_flooding_out_of_range_with_true_bits(single, value, strategy, check):
    forged, blocks = single_with_flooding(single, value, top=False)
    assert refused_by(forged.relation, forge(forged.relation, blocks, strategy, 12)) is check


@pytest.mark.rejects("C-10")
@pytest.mark.rejects("C-33")
@pytest.mark.parametrize("value", JUST_OUTSIDE[:2])
def test_exact_flooding_out_of_range_with_a_top_bit_that_is_none(single, value):
    forged, blocks = single_with_flooding(single, value, top=True)
    proof = forge(forged.relation, blocks, GLUED, 12)
    assert refused_by(forged.relation, proof) is Check.QUADRATIC


@pytest.mark.accepts("C-10")
@pytest.mark.parametrize("value", [0, 1, -1, (1 << SINGLE_FLOODING) - 1, -(1 << SINGLE_FLOODING)])
def test_exact_flooding_at_the_edges_is_accepted(single, value):
    forged, blocks = single_with_flooding(single, value, top=False)
    assert refused_by(forged.relation, forge(forged.relation, blocks, GLUED, 12)) is None


@pytest.mark.rejects("C-10")
@pytest.mark.parametrize(
    ("strategy", "check"),
    [
        (GLUED, Check.INTERVAL),
        (CLAMPED, Check.LINEAR_SUM),
        (MOVED, Check.LINEAR),
        (Strategy(limbs=(0,)), Check.LINEAR_SUM),
        (Strategy(limbs=(0,), move_sum=True), Check.LINEAR),
    ],
)
def test_bits_right_in_limb_0_and_others_in_limb_1(single, strategy, check):
    value = single.e0[0]
    far = value + 12345 * single.moduli[0]  # the same integer in limb 0
    forged = single.answered(e0=in_every_limb(np.array([far], dtype=object), single.moduli))
    blocks = [dict(block) for block in single.blocks]
    blocks[1]["bits"] = single_bits(single, [far], top=True)[1]
    assert refused_by(forged.relation, forge(forged.relation, blocks, strategy, 12)) is check


@pytest.mark.rejects("C-11")
@pytest.mark.parametrize("name", ["e1", "u"])
@pytest.mark.parametrize("glued", [False, True], ids=["2^50", "2^-20 mod Q"])
@pytest.mark.parametrize(("strategy", "check"), ALWAYS_SEEN)
def test_small_noise_of_a_record_out_of_range(single, name, glued, strategy, check):
    by = pow(1 << 20, -1, math.prod(single.moduli)) if glued else 1 << 50
    values = in_every_limb(moved(getattr(single, name), by), single.moduli)
    forged = single.answered(**{name: values})
    blocks = [dict(block) for block in single.blocks]
    if name == "u":
        for block, words in zip(blocks, values, strict=True):
            block["u"] = words
    assert refused_by(forged.relation, forge(forged.relation, blocks, strategy)) is check
