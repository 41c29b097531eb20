"""Words w + q, which mean the same residue and must not be a second spelling of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import kernels
from protocol.errors import VerificationError
from protocol.parameters import LINEAR_CODE, QUADRATIC_CODE, CodeParameters
from tests.adversarial.malicious_prover import MaliciousProver, refused_by
from tests.adversarial.scenario import Batch, Single
from zk_layers.checks import Check
from zk_layers.ligero.messages import projection_bytes
from zk_layers.merkle import HASH_BYTES, LEAF_PREFIX, merkle_tree
from zk_layers.relation import Relation


def lifted(words: np.ndarray, index: tuple[int, ...], modulus: int) -> np.ndarray:
    changed = words.copy()
    changed[index] += np.uint64(modulus)
    return changed


@pytest.mark.rejects("C-03")
@pytest.mark.parametrize("limb", [0, 1, 2])
@pytest.mark.parametrize("name", ["inputs", "keys", "outputs"])
def test_statement_words_of_a_batch(batch, name, limb):
    words = lifted(getattr(batch, name), (0, 1, limb, 5), batch.moduli[limb])
    with pytest.raises(VerificationError) as refused:
        _ = replace(batch, **{name: words}).relation
    assert refused.value.check == Check.CANONICAL


@pytest.mark.rejects("C-03")
@pytest.mark.parametrize("limb", [0, 1])
@pytest.mark.parametrize(
    ("name", "before", "after"), [("inputs", (1,), (5,)), ("key", (0,), (5,)), ("mask", (), (5,))]
)
def test_statement_words_of_a_record(single, name, before, after, limb):
    words = lifted(getattr(single, name), (*before, limb, *after), single.moduli[limb])
    with pytest.raises(VerificationError) as refused:
        _ = replace(single, **{name: words}).relation
    assert refused.value.check == Check.CANONICAL


@pytest.mark.rejects("C-03")
@pytest.mark.parametrize("limb", [0, 1])
def test_body_words_of_a_record(single, limb):
    words = lifted(single.body, (0, limb), single.moduli[limb])
    with pytest.raises(VerificationError) as refused:
        _ = replace(single, body=words).relation
    assert refused.value.check == Check.CANONICAL


def polynomial_words(code: CodeParameters, limbs: int, quadratic: int) -> dict[str, range]:
    """Word indices of the test polynomials, counted from the end of the integers U."""
    ends = np.cumsum([2 * code.row_degree * limbs, 2 * code.linear_length * limbs])
    last = int(ends[1]) + 2 * code.quotient_length * quadratic
    return {
        "proximity": range(int(ends[0])),
        "linear": range(int(ends[0]), int(ends[1])),
        "quadratic": range(int(ends[1]), last),
    }


def with_word_lifted(answer: Batch | Single, proof: bytes, word: int, limb: int) -> bytes:
    at = HASH_BYTES + projection_bytes(answer.relation.families) + 8 * word
    value = int.from_bytes(proof[at : at + 8], "little") + answer.moduli[limb]
    return proof[:at] + value.to_bytes(8, "little") + proof[at + 8 :]


@pytest.mark.rejects("C-03")
@pytest.mark.parametrize("test", ["proximity", "linear"])
@pytest.mark.parametrize("limb", [0, 1, 2])
def test_words_of_test_polynomials_of_a_batch(batch, batch_proof, test, limb):
    words = polynomial_words(LINEAR_CODE, 3, 0)[test]
    share = len(words) // 3
    word = words[limb * share + 7]
    proof = with_word_lifted(batch, batch_proof, word, limb)
    assert refused_by(batch.relation, proof) is Check.CANONICAL


@pytest.mark.rejects("C-03")
def test_words_of_the_quadratic_quotient(single, single_proof):
    word = polynomial_words(QUADRATIC_CODE, 2, 1)["quadratic"][7]
    proof = with_word_lifted(single, single_proof, word, 0)
    assert refused_by(single.relation, proof) is Check.CANONICAL


class LiftingProver(MaliciousProver):
    """Hashes and opens the first row of a limb as w + q, and computes with w."""

    lifted_limb = 0

    def lift(self) -> None:
        self.codewords[self.lifted_limb][0] += np.uint64(self.moduli[self.lifted_limb])

    def answer(self, relation: Relation) -> bytes:
        original = [words.copy() for words in self.codewords]
        self.lift()
        self.tree = merkle_tree(kernels.hash_columns(self.codewords, self.salts, LEAF_PREFIX))
        self.root = self.tree[1].tobytes()
        self.codewords = original
        return super().answer(relation)

    def open_columns(self, positions: np.ndarray) -> bytes:
        self.lift()
        return super().open_columns(positions)


@pytest.mark.rejects("C-03")
@pytest.mark.parametrize("limb", [0, 1])
def test_committed_words(single, limb):
    """The leaves hash w + q, so the paths are right and only the range is wrong."""
    for _ in range(12):
        prover = LiftingProver(single.relation, single.blocks)
        prover.lifted_limb = limb
        proof = prover.answer(single.relation)
        if prover.in_range:
            break
    assert refused_by(single.relation, proof) is Check.CANONICAL
