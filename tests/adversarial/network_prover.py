"""A prover of networks that commits to what it likes and says what it likes.

Everything is consistent with the residues it committed to and with tensors it may have tampered
with: such a cheat breaks single equations, never more than its lie needs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import kernels
import zk_layers.network
from protocol.families import Family
from protocol.nodes import Power, Product
from tests.adversarial.malicious_prover import (
    GLUED,
    Blocks,
    MaliciousProver,
    Members,
    Strategy,
)
from tests.adversarial.network_scenario import Network, Tampering, evaluated
from zk_layers.extension import ONE, ZERO, Element, element, scalars
from zk_layers.fields import field, ntt
from zk_layers.ligero.messages import encode_projections
from zk_layers.network import FLOODING, NetworkRelation
from zk_layers.reduction.exchange import Speaking
from zk_layers.reduction.forms import Form
from zk_layers.reduction.run import Run, SumcheckState
from zk_layers.reduction.speaker import NetworkSpeaker
from zk_layers.relation import Challenges, Relation, mask_name
from zk_layers.transcript import Transcript

Words = npt.NDArray[np.uint64]
Edit = Callable[[Words], Words]
"""Changes the clear values (limbs, count, 2) of one message."""


def tampered_members(answer: Network, tamper: Tampering | None = None) -> Members:
    """Family members as they would be if the tampered evaluation were the right one."""

    def members(relation: Relation, blocks: Blocks, limb: int) -> dict[str, Words]:
        assert isinstance(relation, NetworkRelation)
        modulus, degree, polys = relation.moduli[limb], relation.degree, relation.polys
        arithmetic, transform = field(modulus), ntt(modulus, degree)
        at = None if tamper is None else lambda i, t: tamper(limb, i, t)
        weights = blocks[limb]["weights"]
        bare = evaluated(answer.nodes, weights, relation.inputs[:, :, limb], modulus, at)[-1]
        found = {"weights": weights}
        hidden = None
        if limb < relation.kept:
            found["u"] = blocks[limb]["u"]
            hidden = transform.forward(blocks[limb]["u"])
            hidden = arithmetic.scale(hidden, relation.dropped_modulus)
        for i in range(polys):
            rows = []
            for j in range(relation.outputs_count):
                words = arithmetic.neg(np.ascontiguousarray(bare[j, i]))
                if hidden is not None:
                    sent = np.ascontiguousarray(relation.outputs[j, i, limb])
                    words = arithmetic.add(words, arithmetic.scale(sent, relation.dropped_modulus))
                    for power, poly in ((i, 0), (i - 1, 1)):
                        if 0 <= power < polys - 1:
                            key = relation.keys[j * (polys - 1) + power, poly, limb]
                            masked = arithmetic.mul(np.ascontiguousarray(key), hidden)
                            words = arithmetic.sub(words, masked)
                rows.append(transform.inverse(words))
            found[FLOODING if i == 0 else f"error {i}"] = np.concatenate(rows)
        return found if limb else {**found, "opening": blocks[0]["opening"]}

    return members


class EditedSpeaking(Speaking):
    """Changes chosen messages before they are padded; remembers every clear message."""

    def __init__(
        self,
        transcript: Transcript,
        moduli: Sequence[int],
        pads: Sequence[Words],
        edits: Mapping[str, Edit],
    ) -> None:
        super().__init__(transcript, moduli, pads)
        self.edits = edits
        self.clear: dict[str, Words] = {}

    def say(
        self, label: str, pads: Sequence[int | None], clear: Callable[[], Words] | None
    ) -> Words:
        """Send an edited message."""
        assert clear is not None
        words = clear()
        if label in self.edits:
            words = self.edits[label](words.copy())
        self.clear[label] = words
        return super().say(label, pads, lambda: words)


class SumOfStates:
    """The sum-check of a sum: messages add up."""

    def __init__(self, moduli: Sequence[int], states: Sequence[SumcheckState]) -> None:
        self.moduli, self.states = moduli, states

    def message(self) -> Words:
        total = self.states[0].message().copy()
        for state in self.states[1:]:
            other = state.message()
            for limb, modulus in enumerate(self.moduli):
                total[limb] = field(modulus).add(total[limb], other[limb])
        return total

    def bind(self, x: Words) -> None:
        for state in self.states:
            state.bind(x)

    def final(self) -> Words:
        return self.states[0].final()


class CheatingSpeaker(NetworkSpeaker):
    """Speaks about any tensors, with other integers in other limbs.

    Attributes:
        offsets: per limb a constant that a wrong product of pads adds to every term (unit, n) of a
            sum-check, 0 for an honest one.
        where: which product is wrong: "values" for those inside a layer's polynomial, "layer" for
            omega times the layer's value, "merge" for a merge's.
    """

    def __init__(
        self,
        answer: Network,
        weights: Sequence[Words],
        tensors: Sequence[Words],
        sigmas: Words,
        pads: Sequence[Words],
    ) -> None:
        super().__init__(
            answer.nodes,
            answer.moduli,
            answer.integers,
            tensors=dict(enumerate(tensors)),
            sigmas=sigmas,
            pads=pads,
        )
        self._residues = list(weights)
        self.offsets = [0] * len(weights)
        self.where = ""
        self._contracted: Words | None = None

    def _constant(self, units: int, lam: Words, degree: int) -> SumcheckState:
        """The sum of offset * lam(n) over all units and n, in messages of the given degree."""
        limbs, _, size = lam.shape
        omega = np.zeros((limbs, 2, units), dtype=np.uint64)
        omega[:, 0] = 1
        coefficients = np.zeros((limbs, degree), dtype=np.uint64)
        coefficients[:, 0] = self.offsets
        blank = np.zeros((limbs, 2, units, size), dtype=np.uint64)
        return kernels.PowerSumcheck(self._moduli, omega, lam, blank, coefficients)

    def power(self, node: Power, omegas: Words, lam: Words) -> SumcheckState:
        """The sum-check over stored tensors, offset included."""
        coefficients = np.array(
            [[c % modulus for c in node.coefficients] for modulus in self._moduli], dtype=np.uint64
        )
        if self.where == "values":
            for limb, modulus in enumerate(self._moduli):
                constant = int(coefficients[limb, 0]) + self.offsets[limb]
                coefficients[limb, 0] = constant % modulus
        folded = self.folded(node.source)
        state = kernels.PowerSumcheck(self._moduli, omegas, lam, folded, coefficients)
        if self.where != "layer":
            return state
        extra = self._constant(omegas.shape[2], lam, node.degree + 1)
        return SumOfStates(self._moduli, [state, extra])

    def product(self, node: Product, omegas: Words, lam: Words) -> SumcheckState:
        """The same for a product layer."""
        state = super().product(node, omegas, lam)
        if self.where != "layer":
            return state
        extra = self._constant(omegas.shape[2], lam, 3)
        return SumOfStates(self._moduli, [state, extra])

    def contract(self, tensor: int, lam: Words) -> Words:
        """Remembers lam for `line`."""
        self._contracted = lam
        return super().contract(tensor, lam)

    def line(self, lam: Words, row: Words) -> SumcheckState:
        """A merge's sum-checks: over the units first, then over n."""
        state = super().line(lam, row)
        if self.where != "merge":
            return state
        assert self._contracted is not None
        lams = self._contracted
        if lam.shape[2] != lams.shape[2]:  # over the units: lam summed over n, for each of them
            lams = np.zeros_like(lam)
            for limb, modulus in enumerate(self._moduli):
                for c in range(2):
                    total = sum(int(word) for word in self._contracted[limb, c]) % modulus
                    lams[limb, c] = total
        return SumOfStates(self._moduli, [state, self._constant(1, lams, 2)])


class NetworkCheat(MaliciousProver):
    """One attempt of a cheat at a network's proof."""

    def __init__(
        self,
        answer: Network,
        *,
        blocks: Blocks | None = None,
        strategy: Strategy = GLUED,
        seed: bytes | None = None,
        tamper: Tampering | None = None,
        members: Members | None = None,
        edits: Mapping[str, Edit] | None = None,
        pads: Callable[[int, Words], None] | None = None,
        speaker: Callable[[CheatingSpeaker], None] | None = None,
        mask_residues: Mapping[tuple[int, str], Words] | None = None,
    ) -> None:
        """Commit.

        Args:
            answer: the statement, and the network's shape.
            blocks: committed residues, the answer's own if left out.
            strategy: see `Strategy`.
            seed: of all randomness, to commit to the same twice.
            tamper: changes tensors as they are computed.
            members: how family members follow; from the tampered tensors if left out.
            edits: changes of clear messages, by label.
            pads: changes a limb's pads (pads, 2) in place before they are committed.
            speaker: changes the prover's side of the sum-checks.
            mask_residues: masks that are other integers in other limbs.
        """
        self.answer_of = answer
        self.seed = seed or os.urandom(32)
        self.tamper = tamper
        self.edits: dict[str, Edit] = dict(edits or {})
        self.spoil = pads
        self.prepare = speaker
        self.exchange: EditedSpeaking | None = None
        self.run: Run | None = None
        self.drawn: Challenges | None = None
        self._tensors: list[Words] | None = None
        super().__init__(
            answer.relation,
            answer.blocks if blocks is None else blocks,
            strategy,
            seed=self.seed,
            mask_residues=mask_residues,
            members=members or tampered_members(answer, tamper),
        )

    def _encode_limb(self, families: tuple[Family, ...], limb: int) -> None:
        pads = self.fresh[limb]["pads"]
        if self.spoil is not None:
            self.spoil(limb, pads.reshape(-1, 2))
        self.witness.blocks[limb]["pads"] = pads
        super()._encode_limb(families, limb)

    def _converse(
        self, relation: Relation, transcript: Transcript, challenges: Challenges
    ) -> tuple[Speaking, Challenges]:
        pads = [fresh["pads"].reshape(-1, 2) for fresh in self.fresh]
        exchange = EditedSpeaking(transcript, self.moduli, pads, self.edits)
        weights = [block["weights"] for block in self.witness.blocks]
        if self._tensors is None:
            self._tensors = self._evaluated(weights)
        sigmas = np.stack([extra["sigma"] for extra in challenges.extra])
        speaker = CheatingSpeaker(self.answer_of, weights, self._tensors, sigmas, pads)
        if self.prepare is not None:
            self.prepare(speaker)
        with recorded_runs() as runs:
            folded = relation.converse(challenges, exchange, speaker)
        self.exchange, self.run, self.drawn = exchange, runs[-1], challenges
        return exchange, folded

    def _evaluated(self, weights: Sequence[Words]) -> list[Words]:
        """Every tensor, words (units, polys, L, N)."""
        limbs = [
            evaluated(
                self.answer_of.nodes,
                weights[limb],
                self.answer_of.inputs[:, :, limb],
                modulus,
                None if self.tamper is None else lambda i, t, at=limb: self.tamper(at, i, t),
            )
            for limb, modulus in enumerate(self.moduli)
        ]
        return [np.stack(words, axis=2) for words in zip(*limbs, strict=True)]

    def talk(self) -> None:
        """The conversation alone, as far as the reductions go: no tests, no columns."""
        relation = self.answer_of.relation
        transcript = relation.begin()
        transcript.absorb("root", self.root)
        projections = relation.draw_projections(transcript)
        sent = self.project(relation, projections)
        transcript.absorb("projections", encode_projections(relation.families, sent))
        projected = tuple(tuple(values) for values in sent)
        challenges = relation.draw_challenges(transcript, projections, projected)
        _, self.challenges = self._converse(relation, transcript, challenges)

    @property
    def said(self) -> dict[str, Words]:
        """Clear messages by label."""
        assert self.exchange is not None
        return self.exchange.clear

    def hidden_part(self, limb: int) -> Element:
        """F, the hidden part of the first claim."""
        relation, challenges = self.answer_of.relation, self.drawn
        assert challenges is not None
        modulus, arithmetic = self.moduli[limb], field(self.moduli[limb])
        sigma = element(challenges.extra[limb]["sigma"])
        lams = relation._output_vectors(challenges)
        gammas = relation._error_gammas(limb, challenges, sigma, ONE)
        total = [0, 0]
        if limb < relation.kept:
            vector = relation._u_words(limb, lams[limb], sigma, ONE)
            for c in range(2):
                total[c] += arithmetic.dot(
                    np.ascontiguousarray(vector[c]), self.witness.blocks[limb]["u"]
                )
        for family, projected in zip(relation.families, challenges.projected, strict=True):
            if family.name == FLOODING or family.name.startswith("error "):
                masks = self.witness.blocks[limb][mask_name(family)]
                residues = np.array([value % modulus for value in projected], dtype=np.uint64)
                missing = arithmetic.sub(masks, residues)
                for c in range(2):
                    vector = np.ascontiguousarray(gammas[family.name][c])
                    total[c] += arithmetic.dot(vector, missing)
        return (total[0] % modulus, total[1] % modulus)

    def values(self) -> list[list[Element]]:
        """What every noted constraint is worth on the committed witness, limb by limb."""
        assert self.run is not None
        found = []
        for limb, forms in enumerate(self.run.constraints):
            hidden = self.hidden_part(limb)
            found.append([self._worth(limb, form, hidden) for form in forms])
        return found

    def broken(self) -> list[set[int]]:
        """Numbers of the constraints that do not hold, limb by limb."""
        return [
            {number for number, value in enumerate(values) if value != ZERO}
            for values in self.values()
        ]

    def _worth(self, limb: int, form: Form, hidden: Element) -> Element:
        elements, pads = scalars(self.moduli[limb]), self.fresh[limb]["pads"].reshape(-1, 2)
        total = elements.add(form.constant, elements.mul(form.first, hidden))
        for index, coefficient in form.pads.items():
            total = elements.add(total, elements.mul(coefficient, element(pads[index])))
        for factor, part in form.weights:
            span = slice(part.offset, part.offset + part.words.shape[1])
            words = np.ascontiguousarray(self.witness.blocks[limb]["weights"][span])
            inner = [
                field(self.moduli[limb]).dot(np.ascontiguousarray(row), words) for row in part.words
            ]
            total = elements.add(total, elements.mul(factor, (inner[0], inner[1])))
        return total


@contextmanager
def recorded_runs() -> Iterator[list[Run]]:
    """Every run of the reductions that a relation starts."""
    runs: list[Run] = []

    class RecordedRun(Run):
        def __init__(self, *args: Any, **named: Any) -> None:
            super().__init__(*args, **named)
            runs.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zk_layers.network, "Run", RecordedRun)
        yield runs


@contextmanager
def without_constraint(number: int) -> Iterator[None]:
    """Prover and verifier forget one equation of the reductions, by its number, in every limb."""
    full = Run.require_zero

    def lenient(self: Run, index: int, form: Form) -> None:
        forgotten = len(self.constraints[index]) == number
        full(self, index, Form() if forgotten else form)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "require_zero", lenient)
        yield


def in_range(make: Callable[[bytes], NetworkCheat]) -> tuple[NetworkCheat, bytes]:
    """Cheats of fresh seeds until one has its integers in range; the last one's proof."""
    for _ in range(30):
        prover = make(os.urandom(32))
        proof = prover.answer(prover.answer_of.relation)
        if prover.in_range:
            return prover, proof
    raise AssertionError("no attempt in range")


def moved_element(limb: int, position: int, by: Element, modulus: int) -> Edit:
    """Adds an element of E to one value of a message, in one limb."""

    def edit(words: Words) -> Words:
        value = scalars(modulus).add(element(words[limb, position]), by)
        words[limb, position] = value
        return words

    return edit


def inverse(value: Element, modulus: int) -> Element:
    """1 / value in E."""
    elements = scalars(modulus)
    norm = (value[0] ** 2 - elements.nonresidue * value[1] ** 2) % modulus
    return elements.scale((value[0], -value[1] % modulus), pow(norm, -1, modulus))


def after(first: Edit | None, second: Edit) -> Edit:
    """Both changes of one message."""
    return second if first is None else lambda words: second(first(words))


def balance(
    prover: NetworkCheat, label: str, limb: int, position: int, worth: Callable[[], Element]
) -> bytes:
    """Change one value of a message so that `worth`, which is affine in it, vanishes.

    Nothing that is drawn before the message may depend on it.  Returns the last proof.
    """
    relation, modulus = prover.answer_of.relation, prover.moduli[limb]
    elements, earlier = scalars(modulus), prover.edits.get(label)
    prover.projected = prover.sent
    before = worth()
    prover.edits[label] = after(earlier, moved_element(limb, position, ONE, modulus))
    prover.talk()
    step = elements.sub(worth(), before)
    by = elements.neg(elements.mul(before, inverse(step, modulus)))
    prover.edits[label] = after(earlier, moved_element(limb, position, by, modulus))
    proof = prover.answer(relation)
    assert worth() == ZERO
    return proof
