"""A network's transcript without one of its items is forgeable, and the real one refuses.

Prover and verifier share the forgetful transcript; the forged proof is then shown to the real
verifier.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest

import zk_layers.network
import zk_layers.relation
from protocol.graph import Add, Dense, Graph, square
from tests.adversarial.forgetful import forgetting, request_without
from tests.adversarial.lattice import short_solution
from tests.adversarial.malicious_prover import (
    OTHER_POSITIONS,
    Strategy,
    glue,
    refused_by,
    solve_two,
    violations,
)
from tests.adversarial.network_prover import (
    CheatingSpeaker,
    NetworkCheat,
    balance,
    in_range,
    moved_element,
)
from tests.adversarial.network_scenario import (
    Network,
    make_network,
    merged,
    moved,
    network_proof,
    one_output,
    rescaled,
    two_outputs,
    with_outputs,
)
from tests.adversarial.scenario import MODULI, SERVER_KEY, in_every_limb
from zk_layers.checks import Check
from zk_layers.extension import Element, element, scalars
from zk_layers.fields import field
from zk_layers.layers.power import PowerStep
from zk_layers.network import NetworkRelation
from zk_layers.prove import prove_network
from zk_layers.relation import Challenges
from zk_layers.transcript import Transcript

LIAR = 1
HONEST = Strategy(limbs=(0, 2))


def false_answer(base: Network) -> Network:
    """One output word moved in the liar's limb."""
    return with_outputs(base, moved(base.outputs, (0, 1, LIAR, 77), MODULI[LIAR]))


def added() -> Network:
    """A residual sum: its reduction sends a share."""
    return make_network(Graph(3, (Dense(0, 3), square(1), Add(2, 1), Dense(3, 1))), seed=6)


REQUEST_ITEMS = {
    "model": (2, lambda r: replace(r, card=replace(r.card, name="another network"))),
    "registration": (3, lambda r: replace(r, registration_digest=bytes(32))),
    "client": (6, lambda r: replace(r, client_id="another client")),
    "request id": (9, lambda r: replace(r, request_id=bytes(16))),
    "nonce": (10, lambda r: replace(r, nonce=bytes(32))),
    "log head": (11, lambda r: replace(r, log_head=b"\x01" + bytes(31))),
}


@pytest.mark.parametrize("item", REQUEST_ITEMS)
def test_forgetting_an_item_of_the_request(item):
    index, change = REQUEST_ITEMS[item]
    base = one_output()
    other = replace(base, request=change(base.request))
    with request_without(index):
        proof = prove_network(replace(base).relation, base.secrets, SERVER_KEY)
        assert refused_by(replace(other).relation, proof) is None
    assert refused_by(replace(other).relation, proof) in OTHER_POSITIONS
    assert refused_by(replace(other).relation, network_proof(one_output)) in OTHER_POSITIONS


def chosen_words(
    relation_of: Callable[[int, int], Network], limb: int
) -> tuple[Network, bytes, NetworkCheat]:
    """Two public words chosen after the challenges so that the liar's equation holds."""
    base = relation_of(0, 0)
    first, _ = in_range(lambda seed: NetworkCheat(base, strategy=HONEST, seed=seed))
    found = violations(base.relation, first)
    assert found[limb] != (0, 0)
    first.projected = first.sent
    steps = []
    for step in ((1, 0), (0, 1)):
        first.answer_of = relation_of(*step)
        first.talk()
        steps.append(violations(first.answer_of.relation, first)[limb])
    forged = relation_of(*solve_two(found[limb], *steps, MODULI[limb]))
    first.answer_of = forged
    return forged, first.answer(forged.relation), first


def test_forgetting_the_output(monkeypatch):
    """The answer is chosen after the challenges: any words at all, but two."""
    base = one_output()
    words = base.outputs.copy()
    words[0, 0, LIAR, 2:] = np.arange(words.shape[-1] - 2, dtype=np.uint64)

    def relation_of(x: int, y: int) -> Network:
        changed = moved(words, (0, 0, LIAR, 0), MODULI[LIAR], x)
        return with_outputs(base, moved(changed, (0, 0, LIAR, 1), MODULI[LIAR], y))

    with monkeypatch.context() as patch:
        patch.setattr(zk_layers.network, "output_digest", lambda words: b"")
        forged, proof, _ = chosen_words(relation_of, LIAR)
        assert refused_by(forged.relation, proof) is None
    assert refused_by(replace(forged).relation, proof) in OTHER_POSITIONS


def test_forgetting_the_key_words(monkeypatch):
    """Keys that fit a false answer."""
    base = false_answer(one_output())

    def relation_of(x: int, y: int) -> Network:
        keys = moved(base.keys, (1, 0, LIAR, 0), MODULI[LIAR], x)
        return replace(base, keys=moved(keys, (1, 0, LIAR, 1), MODULI[LIAR], y))

    with monkeypatch.context() as patch:
        patch.setattr(zk_layers.network, "words_digest", lambda label, words: b"")
        forged, proof, _ = chosen_words(relation_of, LIAR)
        assert refused_by(forged.relation, proof) is None
    assert refused_by(replace(forged).relation, proof) in OTHER_POSITIONS


def test_forgetting_the_models_commitment():
    """A commitment chosen after the challenges opens to any other network."""
    base = one_output()
    other = make_network(base.graph, seed=70)
    weights = in_every_limb(other.integers, base.moduli)
    answered = base.answered(weights=weights)
    blocks = [
        {**block, "weights": words} for block, words in zip(base.blocks, weights, strict=True)
    ]

    def answer_of(x: int, y: int) -> Network:
        h = base.card.commitment_words().copy().reshape(-1)
        for n, move in enumerate((x, y)):
            h[n] = (int(h[n]) + move) % MODULI[0]
        card = replace(base.card, commitment=h.astype("<u8").tobytes())
        return replace(answered, request=replace(base.request, card=card))

    with request_without(2):
        start = answer_of(0, 0)
        prover, _ = in_range(lambda seed: NetworkCheat(start, blocks=blocks, seed=seed))
        found = violations(start.relation, prover)
        steps = [violations(answer_of(*at).relation, prover)[0] for at in ((1, 0), (0, 1))]
        forged = answer_of(*solve_two(found[0], *steps, MODULI[0]))
        prover.answer_of, prover.projected = forged, prover.sent
        proof = prover.answer(forged.relation)
        assert refused_by(forged.relation, proof) is None
    assert refused_by(replace(forged).relation, proof) in OTHER_POSITIONS


def test_forgetting_the_root():
    """Masks of the liar's limb are chosen after everything else."""
    answer, modulus = false_answer(one_output()), MODULI[LIAR]
    with forgetting("root"):
        first, _ = in_range(lambda seed: NetworkCheat(answer, strategy=HONEST, seed=seed))
        found = violations(answer.relation, first)
        assert found[0] == (0, 0)
        assert found[LIAR] != (0, 0)
        gammas = first.challenges.gammas[LIAR]["u"]
        steps = [tuple(int(found[LIAR][c]) + int(gammas[c, s]) for c in range(2)) for s in range(2)]
        masks = first.witness.blocks[LIAR]["mask u"].copy()
        for s, move in enumerate(solve_two(found[LIAR], *steps, modulus)):
            masks[s] = (int(masks[s]) + move) % modulus
        second = NetworkCheat(
            answer, strategy=HONEST, seed=first.seed, mask_residues={(LIAR, "u"): masks}
        )
        assert second.root != first.root
        second.projected = first.sent
        proof = second.answer(answer.relation)
        assert refused_by(answer.relation, proof) is None
    assert refused_by(answer.relation, proof) in OTHER_POSITIONS


def test_forgetting_the_projections():
    """The integers U are chosen after the gammas: a short solution of two equations mod Q."""
    answer = false_answer(one_output())
    relation, modulus = answer.relation, math.prod(MODULI)
    with forgetting("projections"):
        prover, _ = in_range(lambda seed: NetworkCheat(answer, strategy=HONEST, seed=seed))
        found = violations(relation, prover)
        assert found[LIAR] != (0, 0)
        gammas = [limb["flooding"] for limb in prover.challenges.gammas]
        rows = tuple(
            [glue([int(g[c, s]) for g in gammas], MODULI) for s in range(6)] for c in range(2)
        )
        targets = tuple(glue([limb[c] for limb in found], MODULI) for c in range(2))
        sent = [list(values) for values in prover.sent]
        for s, move in enumerate(short_solution(rows, targets, modulus)):
            sent[0][s] += move
        prover.projected = sent
        proof = prover.answer(relation)
        assert prover.in_range
        assert refused_by(relation, proof) is None
    assert refused_by(relation, proof) in OTHER_POSITIONS


ROUNDS = [
    (two_outputs, "outputs round 0", 2),
    (one_output, "power 2 round 0", 2),
    (one_output, "power 2 round 14", 2),
    (merged, "merge 3 round 0", 1),
    (merged, "merge 3 round 13", 1),
]


@pytest.mark.rejects("C-65")
@pytest.mark.parametrize(("make", "label", "end"), ROUNDS, ids=[label for _, label, _ in ROUNDS])
def test_forgetting_a_round(make, label, end):
    """Its challenge is known beforehand: a polynomial through the wrong sum and the right end."""
    answer = false_answer(make())
    with forgetting(label):
        prover, _ = in_range(lambda seed: NetworkCheat(answer, strategy=HONEST, seed=seed))
        assert prover.broken()[LIAR] == {end}
        balance(prover, label, LIAR, 0, lambda: prover.values()[LIAR][end])
        proof = prover.answer(answer.relation)
        assert refused_by(answer.relation, proof) is None
    assert refused_by(answer.relation, proof) in OTHER_POSITIONS
    assert refused_by(answer.relation, prover.answer(answer.relation)) is not None


ENDS = [(one_output, "power 2 end", 1), (merged, "merge 3 end", 1), (added, "affine 3 shares", 0)]


@pytest.mark.rejects("C-65")
@pytest.mark.parametrize(("make", "label", "at"), ENDS, ids=[label for _, label, _ in ENDS])
def test_forgetting_the_values_at_an_end(make, label, at):
    """The challenges which combine the equations are known: one value balances their sum."""
    answer = false_answer(make())
    relation = answer.relation
    with forgetting(label):
        prover, _ = in_range(lambda seed: NetworkCheat(answer, strategy=HONEST, seed=seed))
        prover.projected = prover.sent
        balance(prover, label, LIAR, at, lambda: violations(relation, prover)[LIAR])
        proof = prover.answer(relation)
        assert refused_by(relation, proof) is None
    assert refused_by(relation, proof) in OTHER_POSITIONS


@contextmanager
def known(name: str, value: Element) -> Iterator[None]:
    """A challenge of the liar's limb that everybody knows beforehand."""
    full = NetworkRelation.draw_challenges

    def draw(self: NetworkRelation, *args: Any) -> Challenges:
        challenges = full(self, *args)
        challenges.extra[LIAR][name] = np.array(value, dtype=np.uint64)
        return challenges

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(NetworkRelation, "draw_challenges", draw)
        yield


@pytest.mark.rejects("C-65")
def test_knowing_sigma():
    """A multiple of sigma's minimal polynomial, added to an answer, vanishes at sigma."""
    base, modulus = one_output(), MODULI[LIAR]
    sigma: Element = (123_456, 789)
    nonresidue = scalars(modulus).nonresidue
    minimal = (sigma[0] ** 2 - nonresidue * sigma[1] ** 2, -2 * sigma[0], 1)
    outputs = base.outputs
    for poly, coefficient in enumerate(minimal):
        outputs = moved(outputs, (0, poly, LIAR, 50), modulus, 1000 * coefficient)
    answer = with_outputs(base, outputs)
    with known("sigma", sigma):
        prover, proof = in_range(lambda seed: NetworkCheat(answer, strategy=HONEST, seed=seed))
        assert refused_by(answer.relation, proof) is None
        # of another degree it is seen even so
        other = false_answer(base)
        _, refused = in_range(lambda seed: NetworkCheat(other, strategy=HONEST, seed=seed))
        assert refused_by(other.relation, refused) is Check.LINEAR_SUM
    assert refused_by(answer.relation, proof) is not None
    assert refused_by(answer.relation, prover.answer(answer.relation)) is not None


@pytest.mark.rejects("C-65")
@pytest.mark.parametrize("square", [True, False], ids=["square", "product"])
def test_knowing_the_sacrifice(square):
    """Errors p and r p, or r^2 p, of a product of pads and of its spare one cancel."""
    base, modulus = one_output(), MODULI[LIAR]
    elements, r, wrong = scalars(modulus), (77, 88), 987_654_321
    tensor, shift = (2, wrong) if square else (3, 4 * wrong)

    def tamper(limb: int, index: int, tensors: list[np.ndarray]) -> np.ndarray:
        words = tensors[-1].copy()
        if limb == LIAR and index == tensor:
            words[:, 0] = field(modulus).add(words[:, 0].copy(), np.full_like(words[:, 0], shift))
        return words

    (step,) = dict(base.relation.schedule.steps)[2]
    assert isinstance(step, PowerStep)
    which = step.multiplications[0 if square else 1]

    def spoil(limb: int, pads: np.ndarray) -> None:
        factor = elements.mul(r, r) if square else r
        for index, by in (
            (which.product, (wrong, 0)),
            (which.spare_product, elements.scale(factor, wrong)),
        ):
            if limb == LIAR:
                pads[index] = elements.add(element(pads[index]), by)

    def prepare(speaker: CheatingSpeaker) -> None:
        speaker.offsets[LIAR], speaker.where = wrong, "values" if square else "layer"

    answer = base.answered(tamper=tamper)
    edits = {"power 2 end": moved_element(LIAR, 2, (wrong, 0), modulus)} if square else {}

    def cheat(seed: bytes) -> NetworkCheat:
        return NetworkCheat(
            answer, seed=seed, tamper=tamper, edits=edits, pads=spoil, speaker=prepare
        )

    with known("sacrifice", r):
        _, proof = in_range(cheat)
        assert refused_by(answer.relation, proof) is None
    assert refused_by(answer.relation, proof) is not None
    prover, proof = in_range(cheat)
    assert prover.broken() == [set(), {4 if square else 7}, set()]
    assert refused_by(answer.relation, proof) is Check.LINEAR_SUM


class Hearing(Transcript):
    """Remembers states and messages; changes one message if told to."""

    changed: str | None = None
    absorbed: ClassVar[dict[str, tuple[bytes, bytes]]] = {}
    drawn: ClassVar[list[bytes]] = []

    def absorb(self, label: str, data: bytes) -> None:
        type(self).absorbed[label] = (self._state, data)
        if label == self.changed:
            data = bytes([data[0] ^ 1]) + data[1:]
        super().absorb(label, data)

    def challenge_positions(self, label: str, count: int, length: int) -> np.ndarray:
        positions = super().challenge_positions(label, count, length)
        type(self).drawn.append(positions.tobytes())
        return positions


@pytest.mark.rejects("C-65")
def test_every_message_moves_the_columns(monkeypatch):
    """Each message of a network, every round among them, decides on the columns."""
    base, proof = two_outputs(), network_proof(two_outputs)
    monkeypatch.setattr(zk_layers.relation, "Transcript", Hearing)
    Hearing.drawn.clear()
    assert refused_by(base.relation, proof) is None
    labels = list(Hearing.absorbed)
    assert labels[:4] == ["parameters", "statement", "root", "projections"]
    assert labels[4:6] == ["outputs round 0", "power 2 round 0"]
    assert labels[-4:] == ["power 2 end", "proximity", "linear", "quadratic"]
    assert len(labels) == 4 + 1 + 15 + 1 + 3
    for label in labels[:-1]:  # without products the last message is empty
        monkeypatch.setattr(Hearing, "changed", label)
        refused_by(base.relation, proof)
    assert len(Hearing.drawn) == len(set(Hearing.drawn)) == len(labels)


@pytest.mark.rejects("C-65")
def test_the_last_challenge_depends_on_every_byte_of_the_last_message(monkeypatch):
    base, proof = one_output(), network_proof(one_output)
    monkeypatch.setattr(zk_layers.relation, "Transcript", Hearing)
    refused_by(base.relation, proof)
    state, message = Hearing.absorbed["power 2 end"]

    def challenge(data: bytes) -> bytes:
        transcript = Transcript("")
        transcript._state = state
        transcript.absorb("power 2 end", data)
        return transcript.challenge_seed("constraints 0")

    seen = {challenge(message)}
    for at in range(len(message)):
        flipped = bytearray(message)
        flipped[at] ^= 1 << (at % 8)
        seen.add(challenge(bytes(flipped)))
    assert len(seen) == len(message) + 1


def test_the_same_falsehood_without_forgetting():
    for base in (one_output(), rescaled()):
        answer = false_answer(base)
        for strategy in (Strategy(), Strategy(clamp=True), Strategy(clamp=True, move_sum=True)):
            proof = NetworkCheat(answer, strategy=strategy).answer(answer.relation)
            assert refused_by(answer.relation, proof) is not None
