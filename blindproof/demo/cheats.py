"""Dishonest servers.  Each makes the best proof it can for a wrong answer.

They replace single steps of the honest engine and keep everything else, so that what refuses them
is the client's verification and not some accident on the way.
"""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum

import numpy as np

from fhe_layers import rns
from fhe_layers.network import Evaluation
from protocol.digests import Words
from protocol.parameters import Packing
from server import networks
from server.inference import InferenceEngine, Sanitised, answer_relation
from server.jobs import Job
from server.registry import ModelBundle
from wire.inference import BatchOutputs, Response, SingleOutputs
from zk_layers.ligero.prover import Prover, prove
from zk_layers.network import NetworkWitness
from zk_layers.prove import network_witness
from zk_layers.relation import Witness


class Cheat(StrEnum):
    """What a dishonest server does."""

    NONE = "nothing: an honest answer"
    OTHER_MODEL = "a different model"
    ONE_LIMB = "a weight changed in one limb"
    ALTERED_WORD = "an altered output word"
    REPLAY = "a replayed answer"


class ForeignBundle(ModelBundle):
    """Integers that are not the ones the card stands for; an honest registry refuses them."""

    def __post_init__(self) -> None:
        """Look away."""


class DishonestEngine(InferenceEngine):
    """Answers as `cheat` says; remembers its latest honest answer for replays."""

    def __init__(self, secret: bytes) -> None:
        super().__init__(secret)
        self.cheat = Cheat.NONE
        self._remembered: Response | None = None

    def answer(self, job: Job) -> Response:
        """Give another request's answer, or go through the steps below."""
        if self.cheat is Cheat.REPLAY and self._remembered is not None:
            return self._remembered
        if self.cheat is Cheat.OTHER_MODEL:
            honest = job.bundle
            foreign = ForeignBundle(
                honest.card, honest.registration_proof, -honest.integers, honest.opening
            )
            job = replace(job, bundle=foreign)
        response = super().answer(job)
        if self.cheat is Cheat.NONE:
            self._remembered = response
        return response

    def evaluate(self, job: Job, inputs: Words) -> Evaluation:
        """Count the first feature once more in the last limb: the words decrypt to anything."""
        evaluated = super().evaluate(job, inputs)
        if self.cheat is Cheat.ONE_LIMB:
            outputs = evaluated.outputs
            first = outputs if job.request.packing is Packing.SINGLE else outputs[0]
            field = rns.modulus(job.profile.parameters.moduli[-1])
            for words, added in zip(first[:, -1], inputs[0, :, -1], strict=True):
                words[:] = field.add(words.copy(), added.copy())
        return evaluated

    def sanitise(self, job: Job, evaluated: Evaluation) -> Sanitised:
        """Change one word before it is proved and sent."""
        sanitised = super().sanitise(job, evaluated)
        if self.cheat is Cheat.ALTERED_WORD:
            outputs = sanitised.outputs
            words = outputs.mask if isinstance(outputs, SingleOutputs) else outputs.words[0, 0]
            words[0, 0] = (int(words[0, 0]) + 1) % job.profile.parameters.moduli[0]
        return sanitised

    def prove(self, job: Job, sanitised: Sanitised) -> bytes:
        """Prove a false statement as well as can be.

        A weight changed in one limb is committed to as changed in that limb, to make it true.
        """
        if self.cheat is Cheat.NONE or sanitised.witness is None:
            return super().prove(job, sanitised)
        if isinstance(sanitised.witness, NetworkWitness):
            network = networks.answer_relation(job, _batch(sanitised))
            witness = network_witness(network, sanitised.witness)
            return prove(network, witness, self.prover_key, Unscrupulous)
        relation = answer_relation(job, sanitised.outputs)
        witness = relation.witness(sanitised.witness)
        if self.cheat is Cheat.ONE_LIMB:
            last = dict(witness.blocks[-1])
            weights = last["weights"].copy()
            weights[0] = (int(weights[0]) + 1) % relation.moduli[-1]
            last["weights"] = np.ascontiguousarray(weights)
            witness = Witness((*witness.blocks[:-1], last), witness.families)
        return prove(relation, witness, self.prover_key, Unscrupulous)


class Unscrupulous(Prover):
    """Sends what an honest prover would not: a proof of something false."""

    def check_sums(self, found: tuple[int, ...], target: tuple[int, int]) -> None:
        """Look away."""


def _batch(sanitised: Sanitised) -> BatchOutputs:
    if not isinstance(sanitised.outputs, BatchOutputs):
        raise TypeError("networks answer batches")
    return sanitised.outputs
