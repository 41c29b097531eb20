"""For every absorbed item: a transcript that forgets it is forgeable, and the real one refuses.

Prover and verifier share the forgetful transcript; the forged proof is then shown to the real
verifier.
"""

from __future__ import annotations

import math
import os
from dataclasses import replace

import numpy as np
import pytest

import zk_layers.relation
from protocol.keys import EnrolledKey, expand_a
from tests.adversarial.altered_answers import (
    other_requests,
    single_with_flooding,
    with_mask_word,
    with_word,
)
from tests.adversarial.false_keys import (
    NONCE,
    REQUEST,
    honest,
    secrets_of,
)
from tests.adversarial.forgetful import forgetting, request_without
from tests.adversarial.inverse_relation import InverseRelation, inverse_prover
from tests.adversarial.lattice import short_solution
from tests.adversarial.malicious_prover import (
    CLAMPED,
    GLUED,
    MOVED,
    OTHER_POSITIONS,
    MaliciousProver,
    Strategy,
    enrolment_members,
    forge,
    glue,
    interpolated,
    points,
    refused_by,
    solve_two,
    vanishing,
    violations,
)
from tests.adversarial.scenario import (
    MODULI,
    SERVER_KEY,
    SINGLE_FLOODING,
    Batch,
    Single,
    in_every_limb,
    make_card,
    random_model,
)
from zk_layers.checks import Check
from zk_layers.enrolment import EnrolmentRelation
from zk_layers.fields import field
from zk_layers.layers import linear
from zk_layers.layers.linear import SingleLinearRelation
from zk_layers.ligero.prover import prove
from zk_layers.ligero.verifier import verify
from zk_layers.prove import prove_linear, prove_registration
from zk_layers.registration import RegistrationRelation
from zk_layers.transcript import Transcript

pytestmark = pytest.mark.rejects("C-07")


REQUEST_ITEMS = {
    "registration": 3,
    "records": 5,
    "client": 6,
    "server": 7,
    "key digest": 8,
    "request id": 9,
    "nonce": 10,
    "log head": 11,
    "input digest": 12,
    "plaintext digest": 13,
    "model name": 2,
}


@pytest.mark.parametrize("item", REQUEST_ITEMS)
def test_forgetting_an_item_of_the_request(batch, item):
    other = replace(batch, request=other_requests(batch)[item])
    with request_without(REQUEST_ITEMS[item]):
        proof = prove_linear(replace(batch).relation, batch.secrets, SERVER_KEY)
        assert refused_by(replace(other).relation, proof) is None
    assert refused_by(replace(other).relation, proof) in OTHER_POSITIONS


def test_the_profile_is_bound_twice(batch):
    """By itself and by the card's digest: a forgery needs both to be forgotten."""
    other = replace(batch, request=other_requests(batch)["model version"])
    with request_without(4):
        proof = prove_linear(replace(batch).relation, batch.secrets, SERVER_KEY)
        assert refused_by(replace(other).relation, proof) in OTHER_POSITIONS
    assert refused_by(replace(other).relation, proof) in OTHER_POSITIONS


def test_forgetting_the_label(single):
    class OtherLabel(SingleLinearRelation):
        label = "a relation of another kind"

    parts = (single.request, single.inputs, single.key, single.mask, single.body)
    other = OtherLabel(*parts)
    with forgetting(label=True):
        proof = prove(other, other.witness(single.secrets), SERVER_KEY)
        assert refused_by(single.relation, proof) is None
    assert refused_by(single.relation, proof) in OTHER_POSITIONS


def test_forgetting_the_parameters(single):
    class OtherBounds(SingleLinearRelation):
        def __init__(self, *parts) -> None:
            super().__init__(*parts)
            *others, weights, opening = self.families
            self.families = (*others, replace(weights, mask_bound=weights.mask_bound - 1), opening)

    other = OtherBounds(single.request, single.inputs, single.key, single.mask, single.body)
    with forgetting("parameters"):
        proof = prove(other, other.witness(single.secrets), SERVER_KEY)
        assert refused_by(single.relation, proof) is None
    assert refused_by(single.relation, proof) in OTHER_POSITIONS


def test_forgetting_the_statement_of_a_registration():
    integers, opening = random_model(13, 1, 2)
    card = make_card(integers, opening)
    other = replace(card, name="another model")
    with forgetting("statement"):
        proof = prove_registration(card, integers, opening, SERVER_KEY)
        assert refused_by(RegistrationRelation(other), proof) is None
    assert refused_by(RegistrationRelation(other), proof) in OTHER_POSITIONS


def in_range_answer(prover_of, relation) -> tuple[MaliciousProver, bytes]:
    """Provers of fresh seeds until one has its integers in range."""
    for _ in range(20):
        prover = prover_of(os.urandom(32))
        proof = prover.answer(relation)
        if prover.in_range:
            return prover, proof
    raise AssertionError("no attempt in range")


def test_forgetting_the_root(single):
    """Challenges are known beforehand: masks of limb 1 are chosen to balance a false output."""
    altered = with_mask_word(single, 1, 9)
    relation, strategy = altered.relation, Strategy(limbs=(0,))
    with forgetting("root"):
        for _ in range(20):
            seed = os.urandom(32)
            first = MaliciousProver(relation, single.blocks, strategy, seed=seed)
            first.answer(relation)
            if first.in_range:
                break
        wrong = violations(relation, first)
        assert wrong[0] == (0, 0)
        assert wrong[1] != (0, 0)
        modulus = relation.moduli[1]
        gammas = first.challenges.gammas[1]["small"]
        steps = [tuple(int(wrong[1][c] + int(gammas[c, s])) for c in range(2)) for s in range(2)]
        x, y = solve_two(wrong[1], *steps, modulus)
        masks = first.witness.blocks[1]["mask small"].copy()
        masks[0] = (int(masks[0]) + x) % modulus
        masks[1] = (int(masks[1]) + y) % modulus
        second = MaliciousProver(
            relation, single.blocks, strategy, seed=seed, mask_residues={(1, "small"): masks}
        )
        proof = second.answer(relation)
        assert second.root != first.root
        assert refused_by(relation, proof) is None
    assert refused_by(relation, proof) in OTHER_POSITIONS


def test_forgetting_the_projections(batch):
    """The integers U are chosen after the gammas: a short solution of two equations mod Q."""
    altered = with_word(batch, (0, 0, 1, 77))
    relation = altered.relation
    modulus = math.prod(relation.moduli)
    with forgetting("projections"):
        first, _ = in_range_answer(
            lambda seed: MaliciousProver(relation, batch.blocks, Strategy(limbs=(0, 2)), seed=seed),
            relation,
        )
        wrong = violations(relation, first)
        assert wrong[1] != (0, 0)
        gammas = [limb["flooding"] for limb in first.challenges.gammas]
        rows = tuple(
            [glue([int(g[c, s]) for g in gammas], relation.moduli) for s in range(4)]
            for c in range(2)
        )
        targets = tuple(glue([limb[c] for limb in wrong], relation.moduli) for c in range(2))
        moves = short_solution(rows, targets, modulus)
        sent = [list(values) for values in first.sent]
        for s, move in enumerate(moves):
            sent[0][s] += move
        first.projected = sent
        proof = first.answer(relation)
        assert first.in_range
        assert refused_by(relation, proof) is None
    assert refused_by(relation, proof) in OTHER_POSITIONS


def test_forgetting_the_proximity_polynomials():
    """They are chosen after the columns are known, through whatever the columns hold."""
    relation, seed, modulus = InverseRelation(), os.urandom(32), MODULI[0]
    assert refused_by(relation, inverse_prover(seed).answer(relation)) is Check.PROXIMITY
    with forgetting("proximity"):
        first = inverse_prover(seed)
        first.answer(relation)
        code, rows = relation.code, first.codewords[0][:, first.positions]
        weights = first.proximity_weights[0]
        sent = []
        for c in range(2):
            values = rows[first.shapes[0].proximity][c].copy()
            for i in range(3):
                scaled = field(modulus).scale(rows[i].copy(), int(weights[c, i]))
                values = field(modulus).add(values, scaled)
            at = points(first, 0)
            sent.append(interpolated(at, values.tolist(), code.row_degree, modulus))
        second = inverse_prover(seed)
        second.proximity_sent[0] = np.stack(sent)
        proof = second.answer(relation)
        assert refused_by(relation, proof) is None
    assert refused_by(relation, proof) in OTHER_POSITIONS


def test_forgetting_the_linear_polynomials(single):
    """They are moved by a multiple of the polynomial that vanishes on the opened columns."""
    altered = with_mask_word(single, 1, 9)
    relation, seed = altered.relation, os.urandom(32)
    code = relation.code
    with forgetting("linear"):
        first = MaliciousProver(relation, single.blocks, CLAMPED, seed=seed)
        first.answer(relation)
        wrong = violations(relation, first)
        second = MaliciousProver(relation, single.blocks, CLAMPED, seed=seed)
        for limb, modulus in enumerate(relation.moduli):
            zero = vanishing(points(first, limb), code.linear_length, modulus)
            total = sum(int(x) for x in zero[:: code.message_length]) * code.message_length
            for c in range(2):
                share = -wrong[limb][c] * pow(total, -1, modulus)
                second.patches[limb, c] = field(modulus).scale(zero, share % modulus)
        proof = second.answer(relation)
        assert refused_by(relation, proof) is None
    assert refused_by(relation, proof) in OTHER_POSITIONS


def test_forgetting_the_quadratic_quotients(single):
    """They are interpolated through what the columns need."""
    altered, blocks = single_with_flooding(single, 1 << SINGLE_FLOODING, top=True)
    relation, modulus = altered.relation, altered.moduli[0]
    code, arithmetic = relation.code, field(altered.moduli[0])
    with forgetting("quadratic"):
        for _ in range(20):
            seed = os.urandom(32)
            first = MaliciousProver(relation, blocks, seed=seed)
            first.answer(relation)
            if first.in_range:
                break
        shape, at = first.shapes[0], points(first, 0)
        columns = np.ascontiguousarray(first.codewords[0][:, first.positions])
        weights, sent = first.quadratic_weights[0], []
        for c in range(2):
            values = columns[shape.products][c].copy()
            for i, (a, b, product) in enumerate(shape.triples):
                defect = arithmetic.mul(columns[a].copy(), columns[b].copy())
                defect = arithmetic.sub(defect, columns[product].copy())
                values = arithmetic.add(values, arithmetic.scale(defect, int(weights[c, i])))
            quotients = [
                int(value) * pow(pow(x, code.message_length, modulus) - 1, -1, modulus) % modulus
                for value, x in zip(values, at, strict=True)
            ]
            sent.append(interpolated(at, quotients, code.quotient_length, modulus))
        second = MaliciousProver(relation, blocks, seed=seed)
        second.quotients_sent[0] = np.stack(sent)
        proof = second.answer(relation)
        assert refused_by(relation, proof) is None
    assert refused_by(relation, proof) in OTHER_POSITIONS


def balanced_by_two_words(relation_of, prover_of, limb: int, blocks) -> tuple:
    """Choose two public words after the challenges so that limb's equation holds.

    Args:
        relation_of: relation whose two free words were moved by (x, y).
        prover_of: prover for a relation and a seed.
        limb: where the words are.
        blocks: committed residues.

    Returns:
        The relation and its proof.
    """
    base = relation_of(0, 0)
    for _ in range(20):
        seed = os.urandom(32)
        first = prover_of(base, blocks, seed)
        first.answer(base)
        if first.in_range:
            break
    wrong = violations(base, first)
    assert wrong[limb] != (0, 0)
    steps = [violations(relation_of(*step), first)[limb] for step in ((1, 0), (0, 1))]
    solution = solve_two(wrong[limb], *steps, base.moduli[limb])
    relation = relation_of(*solution)
    second = prover_of(relation, blocks, seed)
    second.projected = first.sent
    return relation, second.answer(relation)


def prover_from_limbs(*limbs: int):
    return lambda relation, blocks, seed: MaliciousProver(
        relation, blocks, Strategy(limbs=limbs), seed=seed
    )


def moved_words(words: np.ndarray, limb: int, x: int, y: int) -> np.ndarray:
    """Words (J, 2, L, N), the first two of polynomial 0 in a limb moved."""
    changed, modulus = words.copy(), MODULI[limb]
    for n, move in enumerate((x, y)):
        changed[0, 0, limb, n] = (int(changed[0, 0, limb, n]) + move) % modulus
    return changed


def test_forgetting_the_output(batch):
    """The answer is chosen after the challenges: any words at all, but two."""
    forged = batch.outputs.copy()
    forged[0, 0, 1, 2:] = np.arange(forged.shape[-1] - 2, dtype=np.uint64)

    def relation_of(x: int, y: int):
        return replace(batch, outputs=moved_words(forged, 1, x, y)).relation

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linear, "output_digest", lambda words: b"")
        relation, proof = balanced_by_two_words(
            relation_of, prover_from_limbs(0, 2), 1, batch.blocks
        )
        assert refused_by(relation, proof) is None
    real = replace(batch, outputs=relation.outputs).relation
    assert refused_by(real, proof) in OTHER_POSITIONS


def test_forgetting_the_key_words(batch):
    """A key that fits a false output."""
    altered = with_word(batch, (0, 0, 1, 77))

    def relation_of(x: int, y: int):
        return replace(altered, keys=moved_words(batch.keys, 1, x, y)).relation

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linear, "words_digest", lambda label, words: b"")
        relation, proof = balanced_by_two_words(
            relation_of, prover_from_limbs(0, 2), 1, batch.blocks
        )
        assert refused_by(relation, proof) is None
    real = replace(altered, keys=relation.keys).relation
    assert refused_by(real, proof) in OTHER_POSITIONS


def test_forgetting_the_models_commitment(batch):
    """A commitment chosen after the challenges: it opens to any other model."""
    integers, _ = random_model(70, 1, batch.integers.shape[1] - 1)
    answered = batch.answered(in_every_limb(integers, batch.moduli))
    blocks = [dict(block) for block in batch.blocks]
    for limb, words in enumerate(in_every_limb(integers.reshape(-1), batch.moduli)):
        blocks[limb]["weights"] = words
    card = batch.request.card

    def answer_of(x: int, y: int) -> Batch:
        h = card.commitment_words().copy().reshape(-1)
        for n, move in enumerate((x, y)):
            h[n] = (int(h[n]) + move) % MODULI[0]
        changed = replace(card, commitment=h.astype("<u8").tobytes())
        return replace(answered, request=replace(batch.request, card=changed))

    with request_without(2):
        relation, proof = balanced_by_two_words(
            lambda x, y: answer_of(x, y).relation, prover_from_limbs(0, 1, 2), 0, blocks
        )
        assert refused_by(relation, proof) is None
        request = relation.request
    assert refused_by(replace(answered, request=request).relation, proof) in OTHER_POSITIONS


def test_forgetting_the_enrolled_key():
    """b is chosen after the challenges: any words at all, but two in each limb."""
    secrets = secrets_of(*honest())
    seed = os.urandom(32)
    with forgetting("key"):
        blocks = secrets.blocks()
        prover = MaliciousProver(EnrolmentRelation(REQUEST), blocks, CLAMPED, seed=seed)
        a = expand_a(REQUEST, prover.root, NONCE)
        b = np.broadcast_to(np.arange(a.shape[-1], dtype=np.uint64), a.shape).copy()

        def relation_of(words: np.ndarray) -> EnrolmentRelation:
            return EnrolmentRelation(REQUEST, EnrolledKey(REQUEST, prover.root, NONCE, words))

        relation = relation_of(b)
        prover.answer(relation)
        wrong = violations(relation, prover)
        for limb, modulus in enumerate(relation.moduli):
            steps = []
            for n in range(2):
                moved = b.copy()
                moved[0, limb, n] += np.uint64(1)
                steps.append(violations(relation_of(moved), prover)[limb])
            for n, move in enumerate(solve_two(wrong[limb], *steps, modulus)):
                b[0, limb, n] = (int(b[0, limb, n]) + move) % modulus
        forged = relation_of(b)
        prover.projected = prover.sent
        proof = prover.answer(forged)
        verify(forged, proof, expected_root=prover.root)
    assert refused_by(forged, proof) in OTHER_POSITIONS
    assert enrolment_members(forged, blocks, 0)["key"].max() > 1 << 58, "b is no RLWE sample"


def test_the_enrolment_nonce_is_bound_twice():
    """By itself and by the key's digest, which holds it: forgetting it alone changes nothing."""
    secrets = secrets_of(*honest())
    with forgetting("nonce"):
        prover = MaliciousProver(EnrolmentRelation(REQUEST), secrets.blocks())
        a = expand_a(REQUEST, prover.root, NONCE)
        key = EnrolledKey(REQUEST, prover.root, NONCE, np.zeros_like(a))
        proof = prover.answer(EnrolmentRelation(REQUEST, key))
        other = replace(key, nonce=bytes(32))
        with_other = refused_by(EnrolmentRelation(REQUEST, other), proof)
        assert with_other in {*OTHER_POSITIONS, Check.INTERVAL}


def test_positions_depend_on_every_byte_before_them(single, single_proof):
    """Each byte of the last prover message moves the columns."""
    states: dict[str, tuple[bytes, bytes]] = {}

    class Recording(Transcript):
        def absorb(self, label: str, data: bytes) -> None:
            states[label] = (self._state, data)
            super().absorb(label, data)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zk_layers.relation, "Transcript", Recording)
        verify(single.relation, single_proof)
    state, message = states["quadratic"]
    code = single.relation.code

    def positions(data: bytes) -> bytes:
        transcript = Transcript("")
        transcript._state = state
        transcript.absorb("quadratic", data)
        drawn = transcript.challenge_positions("columns", code.opened_columns, code.codeword_length)
        return drawn.tobytes()

    seen = {positions(message)}
    for at in range(len(message)):
        flipped = bytearray(message)
        flipped[at] ^= 1 << (at % 8)
        seen.add(positions(bytes(flipped)))
    assert len(seen) == len(message) + 1


@pytest.mark.parametrize("label", ["root", "projections", "proximity", "linear", "quadratic"])
def test_every_message_moves_the_columns(single, single_proof, label):
    """A flip in the middle of each message changes the positions that follow."""
    messages: dict[str, bytes] = {}
    drawn: list[bytes] = []

    class Recording(Transcript):
        changed: str | None = None

        def absorb(self, name: str, data: bytes) -> None:
            messages[name] = data
            if name == self.changed:
                middle = len(data) // 2
                data = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
            super().absorb(name, data)

        def challenge_positions(self, name: str, count: int, length: int) -> np.ndarray:
            positions = super().challenge_positions(name, count, length)
            drawn.append(positions.tobytes())
            return positions

    for changed in (None, label):
        Recording.changed = changed
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(zk_layers.relation, "Transcript", Recording)
            refused_by(single.relation, single_proof)
    assert messages[label]
    assert drawn[0] != drawn[1]


@pytest.mark.parametrize("strategy", [GLUED, CLAMPED, MOVED])
def test_the_same_falsehoods_without_forgetting(single: Single, strategy):
    altered = with_mask_word(single, 1, 9)
    assert refused_by(altered.relation, forge(altered.relation, single.blocks, strategy))
