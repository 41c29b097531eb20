"""Rows that are no codewords, blinding that breaks its rules, columns that are seldom opened."""

from __future__ import annotations

import math

import numpy as np
import pytest

import kernels
from protocol.parameters import CodeParameters
from tests.adversarial.malicious_prover import MaliciousProver, refused_by
from tests.adversarial.scenario import Batch, Single
from zk_layers.checks import Check
from zk_layers.fields import field, reed_solomon
from zk_layers.merkle import LEAF_PREFIX, merkle_tree


@pytest.fixture(params=["batch", "single"])
def answer(request: pytest.FixtureRequest) -> Batch | Single:
    return request.getfixturevalue(request.param)


def refusal_of(answer: Batch | Single, corrupt) -> Check | None:
    """What refuses an honest prover whose codewords are changed before they are hashed."""
    for _ in range(12):
        prover = MaliciousProver(answer.relation, answer.blocks, corrupt=corrupt)
        proof = prover.answer(answer.relation)
        if prover.in_range:
            break
    return refused_by(answer.relation, proof)


def random_half(rng: np.random.Generator, answer: Batch | Single, limb: int, row: int):
    """Replace half the positions of one row by random words."""

    def corrupt(at: int, codewords: np.ndarray) -> None:
        if at == limb:
            half = codewords.shape[1] // 2
            modulus = answer.moduli[limb]
            codewords[row, :half] = rng.integers(0, modulus, half, dtype=np.uint64)

    return corrupt


@pytest.mark.rejects("C-31")
@pytest.mark.parametrize("limb", [0, 1])
@pytest.mark.parametrize("row", [0, -1])
def test_a_witness_row_of_which_half_is_random(rng, answer, limb, row):
    rows = answer.relation.layouts()[limb].rows
    corrupt = random_half(rng, answer, limb, row % rows)
    assert refusal_of(answer, corrupt) is Check.PROXIMITY


def high_degree(answer: Batch | Single, limb: int, row: int, degree: int):
    """Add X^degree to one row."""
    code, modulus = answer.relation.code, answer.moduli[limb]
    monomial = np.zeros((1, degree + 1), dtype=np.uint64)
    monomial[0, -1] = 1
    values = reed_solomon(modulus, code).evaluate(monomial)[0]

    def corrupt(at: int, codewords: np.ndarray) -> None:
        if at == limb:
            codewords[row] = field(modulus).add(codewords[row].copy(), values)

    return corrupt


@pytest.mark.rejects("C-31")
def test_a_witness_row_of_one_degree_too_many(answer):
    degree = answer.relation.code.row_degree
    assert refusal_of(answer, high_degree(answer, 1, 0, degree)) is Check.PROXIMITY


def rows_from(answer: Batch | Single, limb: int) -> int:
    """Index of the first blinding row: two for proximity, two linear, two quadratic follow."""
    return answer.relation.layouts()[limb].rows


@pytest.mark.rejects("C-31")
@pytest.mark.rejects("C-32")
@pytest.mark.rejects("C-33")
@pytest.mark.parametrize(
    ("offset", "check"),
    [
        (0, Check.PROXIMITY),
        (1, Check.PROXIMITY),
        (2, Check.LINEAR),
        (3, Check.LINEAR),
        (4, Check.QUADRATIC),
        (5, Check.QUADRATIC),
    ],
)
def test_a_blinding_row_of_which_half_is_random(rng, single, offset, check):
    row = rows_from(single, 0) + offset
    assert refusal_of(single, random_half(rng, single, 0, row)) is check


@pytest.mark.rejects("C-31")
@pytest.mark.rejects("C-32")
@pytest.mark.rejects("C-33")
@pytest.mark.parametrize(
    ("offset", "length", "check"),
    [
        (0, "row_degree", Check.PROXIMITY),
        (2, "linear_length", Check.LINEAR),
        (4, "product_length", Check.QUADRATIC),
    ],
)
def test_a_blinding_row_of_one_degree_too_many(single, offset, length, check):
    row = rows_from(single, 0) + offset
    degree = getattr(single.relation.code, length)
    assert refusal_of(single, high_degree(single, 0, row, degree)) is check


class BlindingCheat(MaliciousProver):
    """Adds 1 to a blinding polynomial: its sum on H, or its value there, is no longer zero."""

    blinding_name = "linear"

    def _blinding(self, limb: int) -> dict[str, np.ndarray]:
        blinding = super()._blinding(limb)
        if limb == 0:
            row = blinding[self.blinding_name][0]
            row[0] = (int(row[0]) + 1) % self.moduli[0]
        return blinding


class QuadraticBlindingCheat(BlindingCheat):
    blinding_name = "quadratic"


@pytest.mark.rejects("C-32")
@pytest.mark.rejects("C-33")
@pytest.mark.parametrize(
    ("cheat", "check"),
    [(BlindingCheat, Check.LINEAR_SUM), (QuadraticBlindingCheat, Check.QUADRATIC)],
)
def test_blinding_that_moves_the_result(single, cheat, check):
    """It would absorb the defect of one false equation, if the prover could guess the defect."""
    for _ in range(12):
        prover = cheat(single.relation, single.blocks)
        proof = prover.answer(single.relation)
        if prover.in_range:
            break
    assert refused_by(single.relation, proof) is check


def missed(code: CodeParameters, bad: int) -> float:
    """Chance that no bad position is opened."""
    n, t = code.codeword_length, code.opened_columns
    return math.comb(n - bad, t) / math.comb(n, t)


class BadColumnsProver(MaliciousProver):
    """Hashes and opens a few wrong words, and computes its polynomials with the right ones."""

    def spoil(self, columns: np.ndarray) -> None:
        self.right = [words.copy() for words in self.codewords]
        row = self.codewords[0][0]
        one = np.ones(len(columns), dtype=np.uint64)
        row[columns] = field(self.moduli[0]).add(row[columns], one)
        self.wrong, self.codewords = self.codewords, self.right
        self.tree = merkle_tree(kernels.hash_columns(self.wrong, self.salts, LEAF_PREFIX))
        self.root = self.tree[1].tobytes()

    def open_columns(self, positions: np.ndarray) -> bytes:
        self.codewords = self.wrong
        return super().open_columns(positions)


@pytest.mark.rejects("C-36")
def test_bad_columns_are_missed_as_often_as_the_soundness_says(single):
    """One word wrong in 45 columns: too few to change what the row decodes to."""
    code, bad, trials, accepted = single.relation.code, 45, 0, 0
    rng = np.random.default_rng(14)
    while trials < 60:
        prover = BadColumnsProver(single.relation, single.blocks)
        prover.spoil(rng.choice(code.codeword_length, bad, replace=False))
        proof = prover.answer(single.relation)
        if prover.in_range:
            trials += 1
            refused = refused_by(single.relation, proof)
            assert refused in {None, Check.PROXIMITY}
            accepted += refused is None
    p = missed(code, bad)
    assert 0.3 < p < 0.7
    assert abs(accepted / trials - p) < 5 * math.sqrt(p * (1 - p) / trials)
