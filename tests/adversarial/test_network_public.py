"""Public networks: no answer but the card's, and nothing in a proof that does not count."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

import zk_layers.public_network
import zk_layers.reduction.speaker
from protocol.errors import VerificationError
from protocol.graph import Add, Dense, Graph, Mul, SumPool, square
from tests.adversarial.forgetful import forgetting, request_without
from tests.adversarial.malicious_prover import refusal, solve_two
from tests.adversarial.network_prover import Edit, inverse, moved_element
from tests.adversarial.network_scenario import (
    MERGED,
    ONE_OUTPUT,
    SMALL_SCALE,
    TWO_OUTPUTS,
    PublicAnswer,
    Tampering,
    make_public,
    moved,
    one_output,
)
from tests.adversarial.scenario import MODULI
from zk_layers.checks import Check
from zk_layers.extension import ONE, ZERO, Element, scalars
from zk_layers.public_network import PublicNetwork
from zk_layers.reduction.exchange import Exchange, Speaking
from zk_layers.reduction.run import Run
from zk_layers.reduction.speaker import NetworkSpeaker
from zk_layers.transcript import Transcript
from zk_layers.verify import verify_public_network

Words = np.ndarray
RESIDUAL = Graph(4, (Dense(0, 4), square(1), Add(2, 1), SumPool(3, (1, 2, 2), (2, 2), (1, 1))))
PRODUCT = Graph(3, (Dense(0, 2), Dense(0, 2), Mul(1, 2), Dense(3, 2)))
GRAPHS = {
    "one output": ONE_OUTPUT,
    "two outputs": TWO_OUTPUTS,
    "two dense layers": MERGED,
    "residual": RESIDUAL,
    "product": PRODUCT,
}


@cache
def honest(name: str) -> PublicAnswer:
    return make_public(GRAPHS[name], scale=SMALL_SCALE)


@cache
def honest_proof(name: str) -> bytes:
    return honest(name).proof


def refused(statement: PublicNetwork, proof: bytes) -> Check | None:
    return refusal(lambda: verify_public_network(statement, proof))


def said(
    answer: PublicAnswer, edits: Mapping[str, Edit] | None = None
) -> tuple[bytes, list[list[Element]], dict[str, Words]]:
    """A cheat's proof, what each equation is worth and the messages: it proves what it can."""
    changes, messages = dict(edits or {}), {}

    class Cheating(Speaking):
        def say(self, label, pads, clear):
            words = clear().copy()
            words = changes[label](words) if label in changes else words
            messages[label] = words
            return super().say(label, pads, lambda: words)

    statement = answer.statement
    scale = statement.card.profiles[0].parameters.input_scale_log2
    exchange = Cheating(statement.begin(), statement.moduli)
    sigmas = statement.draw_sigmas(exchange)
    speaker = NetworkSpeaker(
        statement.graph.nodes(scale),
        statement.moduli,
        statement.integers,
        tensors=dict(enumerate(answer.tensors)),
        sigmas=sigmas,
        pads=(),
    )
    runs: list[Run] = []

    class RecordedRun(Run):
        def __init__(self, *args, **named) -> None:
            super().__init__(*args, **named)
            runs.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zk_layers.public_network, "Run", RecordedRun)
        patch.setattr(zk_layers.public_network, "require", lambda *_: None)
        patch.setattr(zk_layers.reduction.speaker, "low_rank_layer", lambda *_: None)
        statement.reduce(exchange, sigmas, speaker)
    worths = [[form.constant for form in forms] for forms in runs[0].constraints]
    return b"".join(exchange.sent), worths, messages


@pytest.mark.parametrize("name", GRAPHS)
def test_an_honest_answer_is_accepted(name):
    answer = honest(name)
    assert verify_public_network(answer.statement, honest_proof(name)).bits >= 100
    assert len(honest_proof(name)) == answer.statement.proof_bytes
    proof, worths, _ = said(answer)
    assert refused(answer.statement, proof) is None
    assert all(worth == ZERO for limb in worths for worth in limb)


@pytest.mark.rejects("C-68")
@pytest.mark.parametrize("name", GRAPHS)
def test_every_output_word_counts(name):
    answer = honest(name)
    rng = np.random.default_rng(2)
    units, polys = answer.outputs.shape[:2]
    for unit, poly in [(0, 0), (units - 1, polys - 1), (0, 1)]:
        limb = int(rng.integers(3))
        at = (unit, poly, limb, int(rng.integers(answer.outputs.shape[-1])))
        wrong = replace(answer, outputs=moved(answer.outputs, at, MODULI[limb]))
        assert refused(wrong.statement, honest_proof(name)) is Check.SUM_CHECK
        assert refused(wrong.statement, said(wrong)[0]) is Check.SUM_CHECK


def one_word(tensor: int, limbs: tuple[int, ...]) -> Tampering:
    def tamper(limb: int, index: int, tensors: list[Words]) -> Words:
        if limb in limbs and index == tensor:
            return moved(tensors[-1], (0, 1, 30), MODULI[limb])
        return tensors[-1]

    return tamper


@pytest.mark.rejects("C-68")
@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("limbs", [(0,), (0, 1, 2)], ids=["one limb", "all limbs"])
def test_a_wrong_intermediate_consistent_with_its_output(name, limbs):
    for tensor in range(1, len(GRAPHS[name].layers) + 1):
        tampered = make_public(GRAPHS[name], scale=SMALL_SCALE, tamper=one_word(tensor, limbs))
        proof, worths, _ = said(tampered)
        assert refused(tampered.statement, proof) is Check.SUM_CHECK
        assert [any(worth != ZERO for worth in limb) for limb in worths] == [
            limb in limbs for limb in range(3)
        ]


@pytest.mark.rejects("C-68")
@pytest.mark.parametrize("name", ["one output", "product"])
def test_other_weights(name):
    """One weight of the card is another one: for the answer, and for the card."""
    answer = honest(name)
    card = answer.request.card
    rows = [list(row) for row in card.public_weights]
    rows[0][0] += 1
    other = replace(card, public_weights=tuple(map(tuple, rows)))
    request = replace(answer.request, card=other)
    statement = PublicNetwork(request, answer.inputs, answer.outputs)
    assert refused(statement, honest_proof(name)) is Check.SUM_CHECK
    assert refused(statement, said(replace(answer, request=request))[0]) is Check.SUM_CHECK


@pytest.mark.rejects("C-68")
@pytest.mark.parametrize("name", ["two outputs", "residual"])
def test_other_inputs(name):
    answer = honest(name)
    for limb in range(3):
        inputs = moved(answer.inputs, (1, limb % 2, limb, 99), MODULI[limb])
        wrong = replace(answer, inputs=inputs)
        assert refused(wrong.statement, honest_proof(name)) is Check.SUM_CHECK


@pytest.mark.rejects("C-69")
@pytest.mark.parametrize("name", GRAPHS)
def test_every_element_of_every_message_counts(name):
    """In the proof as it is, and with later messages made to fit."""
    answer, proof = honest(name), honest_proof(name)
    rng = np.random.default_rng(4)
    for at in rng.choice(len(proof) // 8, 24, replace=False):
        limb_word = int.from_bytes(proof[8 * at : 8 * at + 8], "little")
        changed = (limb_word ^ 1).to_bytes(8, "little")
        altered = proof[: 8 * at] + changed + proof[8 * at + 8 :]
        assert refused(answer.statement, altered) in {Check.SUM_CHECK, Check.CANONICAL}
    _, _, messages = said(answer)
    assert sum(words.shape[1] for words in messages.values()) * 48 == len(proof)
    for number, (label, words) in enumerate(messages.items()):
        position, limb = number % words.shape[1], number % 3
        edit = moved_element(limb, position, (0, 1), MODULI[limb])
        altered, worths, _ = said(answer, {label: edit})
        assert refused(answer.statement, altered) is Check.SUM_CHECK
        assert [any(w != ZERO for w in worth) for worth in worths] == [i == limb for i in range(3)]


def test_a_round_of_too_high_a_degree():
    """g + c X^2 (X - 2) (X - 3) has the wrong sum and g's values at 0, 2 and 3.

    What is sent is therefore g's; it is read as the cubic through it and the wrong sum.
    """
    base = honest("one output")
    answer = replace(base, outputs=moved(base.outputs, (0, 0, 0, 5), MODULI[0]))
    proof, worths, _ = said(answer)
    assert [bool(limb[0] != ZERO) for limb in worths] == [True, False, False]
    assert refused(answer.statement, proof) is Check.SUM_CHECK
    one_more_value = proof[:144] + bytes(48) + proof[144:]
    assert refused(answer.statement, one_more_value) is Check.SIZE


@pytest.mark.rejects("C-69")
@pytest.mark.parametrize("name", ["one output", "residual"])
def test_a_proof_of_another_length(name):
    statement, proof = honest(name).statement, honest_proof(name)
    for changed in (b"", proof[:-1], proof[:-16], proof + b"\0", proof + bytes(16), proof * 2):
        assert refused(statement, changed) is Check.SIZE


def test_words_that_are_not_canonical():
    answer, proof = honest("one output"), honest_proof("one output")
    limbs, count = 3, 3  # the first message: three values in each limb
    for limb in range(limbs):
        at = 16 * count * limb
        word = int.from_bytes(proof[at : at + 8], "little") + MODULI[limb]
        altered = proof[:at] + word.to_bytes(8, "little") + proof[at + 8 :]
        assert refused(answer.statement, altered) is Check.CANONICAL
    for name in ("inputs", "outputs"):
        words = getattr(answer, name).copy()
        words[0, 0, 1, 3] += np.uint64(MODULI[1])
        with pytest.raises(VerificationError) as refusal_of_words:
            replace(answer, **{name: words}).statement  # noqa: B018
        assert refusal_of_words.value.check == Check.CANONICAL


def test_shapes_of_another_statement():
    answer = honest("two outputs")
    for outputs in (answer.outputs[:1], answer.outputs[:, :2], answer.outputs[:, :, :2]):
        with pytest.raises(VerificationError) as refusal_of_shape:
            PublicNetwork(answer.request, answer.inputs, np.ascontiguousarray(outputs))
        assert refusal_of_shape.value.check == Check.STATEMENT


def test_a_private_network_has_no_public_proof():
    private = one_output()
    with pytest.raises(Exception, match="public"):
        PublicNetwork(private.request, private.inputs, private.outputs)


# ---------------------------------------------------------------------------------- Fiat-Shamir


REQUEST_ITEMS = {
    "model": (2, lambda r: replace(r, card=replace(r.card, name="another network"))),
    "request id": (9, lambda r: replace(r, request_id=bytes(16))),
    "nonce": (10, lambda r: replace(r, nonce=bytes(32))),
    "input digest": (12, lambda r: replace(r, input_digest=bytes(32))),
}


@pytest.mark.parametrize("item", REQUEST_ITEMS)
def test_forgetting_an_item_of_the_request(item):
    index, change = REQUEST_ITEMS[item]
    answer = honest("one output")
    other = replace(answer, request=change(answer.request))
    with request_without(index):
        proof = said(answer)[0]
        assert refused(other.statement, proof) is None
    assert refused(other.statement, proof) is Check.SUM_CHECK
    assert refused(other.statement, honest_proof("one output")) is Check.SUM_CHECK


def solved(
    answer: PublicAnswer, label: str, limb: int, position: int, equation: int
) -> tuple[bytes, list[list[Element]]]:
    """The proof with one value changed so that one equation holds."""
    elements = scalars(MODULI[limb])
    before = said(answer)[1][limb][equation]
    moved_by_one = {label: moved_element(limb, position, ONE, MODULI[limb])}
    step = elements.sub(said(answer, moved_by_one)[1][limb][equation], before)
    by = elements.neg(elements.mul(before, inverse(step, MODULI[limb])))
    proof, worths, _ = said(answer, {label: moved_element(limb, position, by, MODULI[limb])})
    return proof, worths


@pytest.mark.rejects("C-70")
@pytest.mark.parametrize(
    ("name", "label", "equation"),
    [
        ("one output", "power 2 round 0", 0),
        ("one output", "power 2 round 7", 0),
        ("one output", "power 2 round 14", 0),
        ("residual", "merge 1 round 3", 1),
        ("product", "product 3 round 0", 0),
    ],
)
def test_forgetting_a_round(name, label, equation):
    base = honest(name)
    answer = replace(base, outputs=moved(base.outputs, (0, 2, 1, 5), MODULI[1]))
    with forgetting(label):
        broken = [at for at, worth in enumerate(said(answer)[1][1]) if worth != ZERO]
        assert broken == [equation]
        proof, _ = solved(answer, label, 1, 0, equation)
        assert refused(answer.statement, proof) is None
    assert refused(answer.statement, proof) is Check.SUM_CHECK


@pytest.mark.rejects("C-70")
def test_forgetting_the_output(monkeypatch):
    """Output words chosen after the point: two of them balance the liar's equation."""
    base = honest("one output")
    words = base.outputs.copy()
    words[0, 1, 1, 2:] = np.arange(words.shape[-1] - 2, dtype=np.uint64)

    def answer_of(x: int, y: int) -> PublicAnswer:
        changed = moved(words, (0, 1, 1, 0), MODULI[1], x)
        return replace(base, outputs=moved(changed, (0, 1, 1, 1), MODULI[1], y))

    def worth(answer: PublicAnswer) -> Element:
        return said(answer)[1][1][0]

    with monkeypatch.context() as patch:
        patch.setattr(zk_layers.public_network, "output_digest", lambda words: b"")
        steps = [worth(answer_of(*at)) for at in ((0, 0), (1, 0), (0, 1))]
        forged = answer_of(*solve_two(*steps, MODULI[1]))
        proof = said(forged)[0]
        assert refused(forged.statement, proof) is None
    assert refused(forged.statement, proof) is Check.SUM_CHECK


@pytest.mark.rejects("C-70")
def test_knowing_sigma(monkeypatch):
    """A multiple of sigma's minimal polynomial, added to an answer, vanishes at sigma."""
    base, modulus = honest("one output"), MODULI[1]
    sigma: Element = (123_456, 789)
    nonresidue = scalars(modulus).nonresidue
    minimal = (sigma[0] ** 2 - nonresidue * sigma[1] ** 2, -2 * sigma[0], 1)
    outputs = base.outputs
    for poly, coefficient in enumerate(minimal):
        outputs = moved(outputs, (0, poly, 1, 50), modulus, 1000 * coefficient)
    answer = replace(base, outputs=outputs)
    full = PublicNetwork.draw_sigmas

    def draw(self: PublicNetwork, exchange: Exchange) -> Words:
        drawn = full(self, exchange)
        drawn[1] = sigma
        return drawn

    with monkeypatch.context() as patch:
        patch.setattr(PublicNetwork, "draw_sigmas", draw)
        proof = said(answer)[0]
        assert refused(answer.statement, proof) is None
    assert refused(answer.statement, proof) is Check.SUM_CHECK
    assert refused(answer.statement, said(answer)[0]) is Check.SUM_CHECK


@pytest.mark.rejects("C-70")
def test_every_message_moves_what_is_drawn_after_it(monkeypatch):
    """sigma and the point follow the statement, every challenge what was said before it."""
    log: list[tuple[str, str]] = []
    seeds: dict[str, bytes] = {}

    class Hearing(Transcript):
        changed: str | None = None

        def absorb(self, label: str, data: bytes) -> None:
            log.append(("absorb", label))
            if label == self.changed:
                data = bytes([data[0] ^ 1]) + data[1:]
            super().absorb(label, data)

        def challenge_seed(self, label: str) -> bytes:
            log.append(("draw", label))
            seeds[label] = super().challenge_seed(label)
            return seeds[label]

    answer, proof = honest("two outputs"), honest_proof("two outputs")
    monkeypatch.setattr(zk_layers.public_network, "Transcript", Hearing)
    refused(answer.statement, proof)
    order, first = list(log), dict(seeds)
    assert order[0] == ("absorb", "statement")
    assert order[1:7] == [
        ("draw", f"{name} {limb}") for name in ("sigma", "point") for limb in range(3)
    ]
    for position, (kind, label) in enumerate(order):
        if kind == "draw" or label.endswith("end"):
            continue
        monkeypatch.setattr(Hearing, "changed", label)
        refused(answer.statement, proof)
        later = {name for what, name in order[position:] if what == "draw"}
        assert later, "a message that nothing follows"
        for name, seed in first.items():
            assert (seeds[name] != seed) == (name in later)
