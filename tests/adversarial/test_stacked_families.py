"""Why families are never scaled and stacked, and why a tie needs exactness in limb 0.

Each shows that a variant of the relation, kept here only, accepts what the real relation refuses.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from protocol.families import (
    INTEGER_BITS,
    INTEGER_PROJECTIONS,
    enrolment_family,
    flooding_family,
)
from tests.adversarial.malicious_prover import (
    GLUED,
    MaliciousProver,
    batch_members,
    forge,
    refused_by,
)
from tests.adversarial.scenario import DEGREE, MODULI, Batch, in_every_limb
from zk_layers.checks import Check
from zk_layers.fields import field
from zk_layers.layers.linear import BatchLinearRelation
from zk_layers.relation import Challenges, LinearForm, Relation

SHIFT = 85
"""The variant projects {e_0, 2^85 e_1}, so that both have about the size of the flooding."""


class StackedChallenges(Challenges):
    """Shows the folds of the stack as if e_0 and e_1 had families of their own."""

    def folded(self, name: str, limb: int, modulus: int) -> np.ndarray:
        whole = super().folded("flooding", limb, modulus)
        half = whole.shape[1] // 2
        if name == "flooding":
            return np.ascontiguousarray(whole[:, :half])
        if name == "small":
            u = super().folded("small", limb, modulus)[:, :DEGREE]
            e1 = field(modulus).scale(np.ascontiguousarray(whole[:, half:]), 1 << SHIFT)
            return np.concatenate([u, e1], axis=1)
        return super().folded(name, limb, modulus)


class StackedRelation(BatchLinearRelation):
    """One family {e_0, 2^85 e_1}: fewer projections, and forgeable."""

    label = "a relation with a stacked family"

    def __init__(self, batch: Batch) -> None:
        super().__init__(batch.request, batch.inputs, batch.keys, batch.outputs)
        _, *others = self.families
        size = 2 * self.outputs_count * self.degree
        self.families = (flooding_family(size, self.flooding_log2, self.limbs), *others)

    def linear_forms(self, challenges: Challenges) -> list[LinearForm]:
        parts = (challenges.projections, challenges.projected, challenges.gammas, challenges.extra)
        return super().linear_forms(StackedChallenges(*parts))


def stacked_members(
    relation: Relation, blocks: Sequence[Mapping[str, np.ndarray]], limb: int
) -> dict[str, np.ndarray]:
    members = batch_members(relation, blocks, limb)
    modulus = relation.moduli[limb]
    u, e1 = members["small"][:DEGREE], members["small"][DEGREE:].copy()
    scaled = field(modulus).scale(e1, 1 << SHIFT)
    stack = np.concatenate([members["flooding"], scaled])
    # u keeps its family; its second half repeats nothing long
    return {**members, "flooding": stack, "small": np.concatenate([u, np.zeros_like(e1)])}


def with_inverse_power(batch: Batch) -> Batch:
    """e_1 moved by 2^-85 mod Q in one coefficient: long, but 2^85 times it is 1."""
    errors = batch.e1.astype(object)
    errors[0, 0] += pow(1 << SHIFT, -1, math.prod(batch.moduli))
    return batch.answered(e1=in_every_limb(errors, batch.moduli))


@pytest.mark.rejects("C-22")
def test_a_stacked_family_accepts_an_inverse_power_of_two(batch):
    forged = with_inverse_power(batch)
    stacked = StackedRelation(forged)
    proof = forge(stacked, batch.blocks, GLUED, 20, stacked_members)
    assert refused_by(stacked, proof) is None, "the variant is forgeable"
    assert refused_by(forged.relation, forge(forged.relation, batch.blocks)) is Check.INTERVAL


@pytest.mark.accepts("C-22")
def test_the_variant_is_complete_and_still_sees_plain_long_values(batch):
    stacked = StackedRelation(batch)
    proof = forge(stacked, batch.blocks, GLUED, 20, stacked_members)
    assert refused_by(stacked, proof) is None
    errors = batch.e1.astype(object)
    errors[0, 0] += 1 << 60
    long = StackedRelation(batch.answered(e1=in_every_limb(errors, batch.moduli)))
    prover = MaliciousProver(long, batch.blocks, members=stacked_members)
    assert refused_by(long, prover.answer(long)) is Check.INTERVAL


@pytest.mark.rejects("C-24")
def test_a_tie_without_exactness_lets_a_third_of_q_pass():
    """x = Q/3 is long; <r, x> is short whenever 3 divides r, and that four times in 81."""
    family = enrolment_family(DEGREE, 1, MODULI)
    modulus = math.prod(MODULI)
    third = modulus // 3
    rng = np.random.default_rng(9)
    trials = 20_000
    half = 1 << (INTEGER_BITS - 1)
    vectors = rng.integers(-half, half, (trials, INTEGER_PROJECTIONS))
    passed = 0
    for row in vectors:
        residues = (int(r) * third % modulus for r in row)
        passed += all(min(x, modulus - x) <= family.interval for x in residues)
    deviation = math.sqrt(1 / 81 * 80 / 81 / trials)
    assert abs(passed / trials - 1 / 81) < 5 * deviation
    # exact in limb 0 it is not short there: no such value passes the bit constraints
    residue = third % MODULI[0]
    assert min(residue, MODULI[0] - residue) > 1 << 50


@pytest.mark.rejects("C-24")
def test_a_tie_to_values_exact_in_limb_0_passes_one_coefficient_at_most():
    """x = t mod q_0 but another integer: <r, x - t> is a multiple of q_0 times r, long unless 0."""
    family = enrolment_family(DEGREE, 1, MODULI)
    modulus = math.prod(MODULI)
    assert family.proved_bound + (16 << INTEGER_BITS) < MODULI[0]
    rng = np.random.default_rng(10)
    for other in (1, 5, modulus // MODULI[0] // 3, modulus // MODULI[0] // 2):
        value = (1 + MODULI[0] * other) % modulus
        for r in rng.integers(-(1 << 31), 1 << 31, 2000):
            product = int(r) * value % modulus
            assert r == 0 or min(product, modulus - product) > family.interval
