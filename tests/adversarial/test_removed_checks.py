"""No check is spare: without it, and with all others in place, a forgery is accepted.

Every forgery here is refused by exactly the check that is then removed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from protocol.graph import linear_graph
from protocol.keys import EnrolledKey
from protocol.model import Feature, ModelCard, Profile
from protocol.parameters import CkksParameters, CodeParameters, Mode, Packing
from tests.adversarial.altered_answers import single_with_flooding, with_mask_word
from tests.adversarial.false_keys import (
    NONCE,
    REQUEST,
    honest,
    make_b,
    secrets_of,
)
from tests.adversarial.inverse_relation import InverseRelation, inverse_prover
from tests.adversarial.malicious_prover import (
    CLAMPED,
    MOVED,
    MaliciousProver,
    Strategy,
    forge,
    refusal,
    violations,
    without,
)
from tests.adversarial.network_scenario import TWO_OUTPUTS, make_public, moved
from tests.adversarial.scenario import (
    DEGREE,
    MODULI,
    SERVER_KEY,
    SINGLE_FLOODING,
    SINGLE_PARAMETERS,
    Batch,
    Single,
    in_every_limb,
    uniform_words,
)
from zk_layers.checks import Check
from zk_layers.enrolment import EnrolmentRelation
from zk_layers.fields import field, reed_solomon
from zk_layers.freivalds import verify_public_batch, verify_public_single
from zk_layers.layers.linear import SingleLinearRelation
from zk_layers.ligero.verifier import verify
from zk_layers.prove import prove_linear
from zk_layers.verify import verify_enrolment, verify_linear, verify_public_network

Verification = Callable[[], object]


def relation_parts(single: Single) -> tuple[np.ndarray, ...]:
    return (single.inputs, single.key, single.mask, single.body)


def unproved_limb(single: Single, batch: Batch, proof: bytes) -> Verification:
    """STATEMENT: the answer carries one more limb of words than was proved."""
    mask = np.concatenate([single.mask, single.mask[:1]])
    longer = replace(single, mask=mask)

    def verification() -> object:
        relation = replace(longer).relation
        return verify_linear(relation, forge(relation, single.blocks, attempts=12))

    return verification


def root_after_nonce(single: Single, batch: Batch, proof: bytes) -> Verification:
    """ROOT: the client commits after it has learnt the nonce, to an a of its choice."""
    secret, errors = honest(6)
    secrets = secrets_of(secret, errors)
    announced = os.urandom(32)
    blank = EnrolledKey(REQUEST, announced, NONCE, np.zeros((1, 2, DEGREE), dtype=np.uint64))
    fitted = replace(blank, b=make_b(secrets, blank.a))
    relation = EnrolmentRelation(REQUEST, fitted)
    late = MaliciousProver(relation, secrets.blocks()).answer(relation)
    return lambda: verify_enrolment(fitted, late)


def appended_byte(single: Single, batch: Batch, proof: bytes) -> Verification:
    """SIZE: bytes after the end, which nobody reads."""
    return lambda: verify_linear(single.relation, proof + b"\0")


def second_spelling(single: Single, batch: Batch, proof: bytes) -> Verification:
    """CANONICAL: an output word w + q, another answer to whoever reads it as a number."""
    body = single.body.copy()
    body[0, 1] += np.uint64(single.moduli[1])

    def verification() -> object:
        relation = replace(single, body=body).relation
        return verify_linear(relation, forge(relation, single.blocks, attempts=12))

    return verification


def long_flooding(single: Single, batch: Batch, proof: bytes) -> Verification:
    """INTERVAL: flooding out of range; the integers are sent as they are."""
    errors = batch.e0.copy()
    family = batch.relation.families[0]
    errors[0, 0] = family.interval + (family.interval >> 3)
    forged = batch.answered(e0=in_every_limb(errors, batch.moduli))
    prover = MaliciousProver(forged.relation, batch.blocks, zero_masks=True)
    answer = prover.answer(forged.relation)
    assert not prover.in_range
    return lambda: verify_linear(forged.relation, answer)


def wrong_sum(single: Single, batch: Batch, proof: bytes) -> Verification:
    """LINEAR_SUM: a changed output word, honest polynomials."""
    relation = with_mask_word(single, 1, 9).relation
    answer = forge(relation, single.blocks, CLAMPED)
    return lambda: verify_linear(relation, answer)


def moved_polynomial(single: Single, batch: Batch, proof: bytes) -> Verification:
    """LINEAR: the same, with polynomials that sum to the target."""
    relation = with_mask_word(single, 1, 9).relation
    answer = forge(relation, single.blocks, MOVED)
    return lambda: verify_linear(relation, answer)


def row_off_the_code(single: Single, batch: Batch, proof: bytes) -> Verification:
    """PROXIMITY: a row that is 1 / x everywhere, for an x with a zero."""
    relation = InverseRelation()
    answer = inverse_prover(os.urandom(32)).answer(relation)
    return lambda: verify(relation, answer)


def bit_of_two(single: Single, batch: Batch, proof: bytes) -> Verification:
    """QUADRATIC: flooding out of range with a top bit of 2."""
    forged, blocks = single_with_flooding(single, 1 << SINGLE_FLOODING, top=True)
    answer = forge(forged.relation, blocks, attempts=12)
    return lambda: verify_linear(forged.relation, answer)


class ColumnInventor(MaliciousProver):
    """Opens blinding rows that make the linear test hold at the opened columns."""

    def open_columns(self, positions: np.ndarray) -> bytes:
        forms = self.relation.complete_forms(self.challenges)
        for limb, form in enumerate(forms):
            modulus, shape = self.moduli[limb], self.shapes[limb]
            arithmetic, rows = field(modulus), reed_solomon(modulus, self.code)
            basis = rows.lagrange(positions)
            constraints = shape.layout.place(form.coefficients, 2)
            sent = rows.evaluate_at(self.linear_sent[limb], positions)
            for c in range(2):
                total = sent[c].copy()
                for row in range(shape.witness_rows):
                    constraint = constraints[c, row]
                    values = [arithmetic.dot(constraint.copy(), b.copy()) for b in basis]
                    word = np.ascontiguousarray(self.codewords[limb][row, positions])
                    product = arithmetic.mul(np.array(values, dtype=np.uint64), word)
                    total = arithmetic.sub(total, product)
                self.codewords[limb][shape.linear.start + c, positions] = total
        return super().open_columns(positions)


def invented_columns(single: Single, batch: Batch, proof: bytes) -> Verification:
    """MERKLE: a false output, with columns made up after the positions are known."""
    relation = with_mask_word(single, 1, 9).relation
    prover = ColumnInventor(relation, single.blocks, MOVED)
    prover.relation = relation
    answer = prover.answer(relation)
    return lambda: verify_linear(relation, answer)


def public_card(integers: np.ndarray) -> ModelCard:
    profiles = tuple(
        Profile(packing, replace(SINGLE_PARAMETERS, input_scale_log2=60), None)
        for packing in Packing
    )
    return ModelCard(
        name="public",
        version="1",
        purpose="",
        mode=Mode.PUBLIC,
        features=tuple(Feature(f"x{k}", -8.0, 8.0, 0.0, 1.0) for k in range(integers.shape[1] - 1)),
        graph=linear_graph(integers.shape[1] - 1, len(integers)),
        outputs=tuple(f"y{j}" for j in range(len(integers))),
        labels=(),
        link="identity",
        unit=1.0,
        row_l1_bounds=(1 << 17,) * len(integers),
        profiles=profiles,
        commitment=b"",
        public_weights=tuple(tuple(int(w) for w in row) for row in integers),
    )


def public_answer(
    *, wrong: tuple[int, int, int] | None = None
) -> tuple[ModelCard, np.ndarray, np.ndarray]:
    """A public model's answer to two features, one word wrong if wished."""
    rng = np.random.default_rng(21)
    integers = rng.integers(-20_000, 20_000, (2, 3))
    card = public_card(integers)
    inputs = uniform_words(rng, (2, 2), MODULI[:2])
    outputs = np.empty_like(inputs)
    for limb, modulus in enumerate(MODULI[:2]):
        arithmetic = field(modulus)
        for j in range(2):
            for p in range(2):
                total = np.zeros(DEGREE, dtype=np.uint64)
                if p == 0:
                    bias = int(integers[j, 2]) * (1 << 60) % modulus
                    total = np.full(DEGREE, bias, dtype=np.uint64)
                for k in range(2):
                    scaled = arithmetic.scale(inputs[k, p, limb].copy(), int(integers[j, k]))
                    total = arithmetic.add(total, scaled)
                outputs[j, p, limb] = total
    if wrong is not None:
        j, p, limb = wrong
        outputs[j, p, limb, 4] = (int(outputs[j, p, limb, 4]) + 1) % MODULI[limb]
    return card, inputs, outputs


def wrong_public_answer(single: Single, batch: Batch, proof: bytes) -> Verification:
    """FREIVALDS: an output word that is not the public model's."""
    card, inputs, outputs = public_answer(wrong=(1, 1, 1))
    return lambda: verify_public_batch(card, inputs, outputs)


def wrong_public_network(single: Single, batch: Batch, proof: bytes) -> Verification:
    """SUM_CHECK: an output word that is not the public network's."""
    answer = make_public(TWO_OUTPUTS)
    wrong = replace(answer, outputs=moved(answer.outputs, (1, 2, 1, 9), MODULI[1]))
    return lambda: verify_public_network(wrong.statement, answer.proof)


def reprofiled(single: Single, parameters: CkksParameters, limit: float = 8.0) -> Single:
    """The answer under a card of other parameters or feature ranges."""
    card = single.request.card
    features = tuple(replace(f, low=-limit, high=limit) for f in card.features)
    profile = Profile(Packing.SINGLE, parameters, SINGLE_FLOODING)
    changed = replace(card, features=features, profiles=(profile,))
    return replace(single, request=replace(single.request, card=changed))


def wrapping_answer(single: Single, batch: Batch, proof: bytes) -> Verification:
    """NO_WRAP: inputs so large that the sum wraps mod Q, though each word is right."""
    changed = reprofiled(single, SINGLE_PARAMETERS, limit=2.0**10)
    answer = prove_linear(changed.relation, single.secrets, SERVER_KEY)
    return lambda: verify_linear(changed.relation, answer)


def drowned_answer(single: Single, batch: Batch, proof: bytes) -> Verification:
    """PRECISION: a scale at which the error bound swallows the value."""
    parameters = replace(SINGLE_PARAMETERS, input_scale_log2=40)
    changed = reprofiled(single, parameters)
    # the bias is a multiple of the scale, so the answer has to be made anew
    body = changed.body.copy()
    for limb, modulus in enumerate(changed.moduli):
        move = int(single.integers[0, -1]) * ((1 << 40) - (1 << SINGLE_PARAMETERS.input_scale_log2))
        body[0, limb] = (int(body[0, limb]) + move) % modulus
    changed = replace(changed, body=body)
    answer = prove_linear(changed.relation, single.secrets, SERVER_KEY)
    return lambda: verify_linear(changed.relation, answer)


class OneColumnRelation(SingleLinearRelation):
    """The same relation with a code of which one column is opened."""

    code = CodeParameters(message_length=512, opened_columns=1, codeword_length=8192)


def one_column(single: Single, batch: Batch, proof: bytes) -> Verification:
    """SOUNDNESS: X^m - x^m vanishes on m / n of the columns and moves the sum to the target."""
    altered = with_mask_word(single, 1, 9)
    relation = OneColumnRelation(altered.request, *relation_parts(altered))
    code, modulus = relation.code, relation.moduli[1]
    rows, length = reed_solomon(modulus, code), code.message_length
    line = np.array([[0, 1]], dtype=np.uint64)
    point = int(rows.evaluate_at(line, np.array([0], dtype=np.int64))[0, 0])
    zero = np.zeros(code.linear_length, dtype=np.uint64)
    zero[0], zero[length] = -pow(point, length, modulus) % modulus, 1
    share = pow((1 + int(zero[0])) * length, -1, modulus)
    strategy = Strategy(limbs=(0,))
    for _ in range(400):
        seed = os.urandom(32)
        first = MaliciousProver(relation, single.blocks, strategy, seed=seed)
        first.answer(relation)
        if not first.in_range:
            continue
        wrong = violations(relation, first)[1]
        cheat = MaliciousProver(relation, single.blocks, strategy, seed=seed)
        for c in range(2):
            cheat.patches[1, c] = field(modulus).scale(zero, -wrong[c] * share % modulus)
        answer = cheat.answer(relation)
        if refusal(lambda at=answer: verify(relation, at)) is None:
            return lambda: verify_linear(relation, answer)
    raise AssertionError("no luck in 400 attempts, each of which succeeds about once in 16")


FORGERIES: dict[Check, Callable[[Single, Batch, bytes], Verification]] = {
    Check.STATEMENT: unproved_limb,
    Check.ROOT: root_after_nonce,
    Check.SIZE: appended_byte,
    Check.CANONICAL: second_spelling,
    Check.INTERVAL: long_flooding,
    Check.LINEAR_SUM: wrong_sum,
    Check.PROXIMITY: row_off_the_code,
    Check.LINEAR: moved_polynomial,
    Check.QUADRATIC: bit_of_two,
    Check.MERKLE: invented_columns,
    Check.SUM_CHECK: wrong_public_network,
    Check.FREIVALDS: wrong_public_answer,
    Check.NO_WRAP: wrapping_answer,
    Check.PRECISION: drowned_answer,
    Check.SOUNDNESS: one_column,
}


def test_every_check_has_its_forgery():
    assert set(FORGERIES) == set(Check)


CLAIMS = {
    Check.STATEMENT: "C-14",
    Check.ROOT: "C-25",
    Check.SIZE: "C-35",
    Check.CANONICAL: "C-03",
    Check.INTERVAL: "C-20",
    Check.LINEAR_SUM: "C-32",
    Check.PROXIMITY: "C-31",
    Check.LINEAR: "C-32",
    Check.QUADRATIC: "C-33",
    Check.MERKLE: "C-34",
    Check.SUM_CHECK: "C-69",
    Check.FREIVALDS: "C-38",
    Check.NO_WRAP: "C-30",
    Check.PRECISION: "C-29",
    Check.SOUNDNESS: "C-36",
}


@pytest.mark.parametrize(
    "check", [pytest.param(c, marks=pytest.mark.rejects(CLAIMS[c]), id=c.name) for c in Check]
)
def test_a_forgery_which_this_check_alone_stops(check, single, batch, single_proof):
    verification = FORGERIES[check](single, batch, single_proof)
    assert refusal(verification) is check
    with without(check):
        assert refusal(verification) is None, "accepted once the check is gone"


@pytest.mark.rejects("C-38")
@pytest.mark.parametrize("output", [0, 1])
@pytest.mark.parametrize("poly", [0, 1])
@pytest.mark.parametrize("limb", [0, 1])
def test_a_public_batch(output, poly, limb):
    card, inputs, outputs = public_answer()
    assert refusal(lambda: verify_public_batch(card, inputs, outputs)) is None
    card, inputs, outputs = public_answer(wrong=(output, poly, limb))
    assert refusal(lambda: verify_public_batch(card, inputs, outputs)) is Check.FREIVALDS


@pytest.mark.rejects("C-38")
def test_a_public_record(single):
    """The unsanitised answer of the same integers: noise zero."""
    zero = np.zeros(DEGREE, dtype=np.int64)
    card = public_card(single.integers)
    scale = SINGLE_PARAMETERS.input_scale_log2
    exact = single.answered(
        u=in_every_limb(zero, single.moduli),
        e1=in_every_limb(zero, single.moduli),
        e0=in_every_limb(
            np.array([int(single.integers[0, -1]) * ((1 << 60) - (1 << scale))], dtype=object),
            single.moduli,
        ),
    )
    good = (exact.inputs, exact.mask, exact.body)
    assert refusal(lambda: verify_public_single(card, *good)) is None
    for limb in range(2):
        mask, body = exact.mask.copy(), exact.body.copy()
        mask[limb, 3] = (int(mask[limb, 3]) + 1) % MODULI[limb]
        body[0, limb] = (int(body[0, limb]) + 1) % MODULI[limb]
        for words in ((exact.inputs, mask, exact.body), (exact.inputs, exact.mask, body)):
            refused = refusal(lambda at=words: verify_public_single(card, *at))
            assert refused is Check.FREIVALDS


@pytest.mark.rejects("C-38")
def test_a_private_model_is_never_checked_as_a_public_one(single):
    words = (single.inputs, single.mask, single.body)
    refused = refusal(lambda: verify_public_single(single.request.card, *words))
    assert refused is Check.STATEMENT
