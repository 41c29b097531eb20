"""What provers call: one function or class per kind of proof.

Nothing that verifies imports this module.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from protocol.encoding import encode
from protocol.families import PUBLIC_NOISE_BOUND
from protocol.keys import EnrolledKey, KeyRequest, expand_a
from protocol.model import ModelCard
from zk_layers.enrolment import EnrolmentRelation
from zk_layers.fields import field, ntt
from zk_layers.layers.linear import BatchLinearRelation, LinearWitness, SingleLinearRelation
from zk_layers.ligero.prover import ProjectionOutOfRange, Prover, prove
from zk_layers.network import NetworkRelation, NetworkWitness
from zk_layers.public_network import PublicNetwork
from zk_layers.randomness import ProverRandomness
from zk_layers.reduction.exchange import Speaking
from zk_layers.reduction.speaker import NetworkSpeaker
from zk_layers.registration import RegistrationRelation
from zk_layers.relation import Challenges, Witness

Words = npt.NDArray[np.uint64]

EnrolmentRestart = ProjectionOutOfRange
"""Raised about once in 10,000 enrolments: begin again with a new session."""


def prove_linear(
    relation: BatchLinearRelation | SingleLinearRelation, secrets: LinearWitness, server_key: bytes
) -> bytes:
    """Prove one linear answer."""
    return prove(relation, relation.witness(secrets), server_key)


def prove_network(relation: NetworkRelation, secrets: NetworkWitness, server_key: bytes) -> bytes:
    """Prove one answer of a private network."""
    return prove(relation, network_witness(relation, secrets), server_key)


def network_witness(relation: NetworkRelation, secrets: NetworkWitness) -> Witness:
    """The witness of a network's answer, with the prover's side of the reductions."""
    profile = relation.card.profile(relation.request.packing)
    nodes = relation.graph.nodes(profile.parameters.input_scale_log2)
    tensors = {0: relation.inputs, **secrets.tensors}

    def speaker(challenges: Challenges, pads: list[Words]) -> NetworkSpeaker:
        sigmas = np.stack([extra["sigma"] for extra in challenges.extra])
        return NetworkSpeaker(
            nodes,
            relation.moduli,
            secrets.integers,
            tensors=tensors,
            sigmas=sigmas,
            pads=pads,
        )

    return replace(relation.witness(secrets), speaker=speaker)


def prove_public_network(statement: PublicNetwork, tensors: Mapping[int, Words]) -> bytes:
    """Prove one answer of a public network.

    Args:
        statement: what is proved.
        tensors: words (units, polys, L, N) of every tensor that `kept_tensors` names.
    """
    profile = statement.card.profile(statement.request.packing)
    nodes = statement.graph.nodes(profile.parameters.input_scale_log2)
    exchange = Speaking(statement.begin(), statement.moduli)
    sigmas = statement.draw_sigmas(exchange)
    speaker = NetworkSpeaker(
        nodes,
        statement.moduli,
        statement.integers,
        tensors={0: statement.inputs, **tensors},
        sigmas=sigmas,
        pads=(),
    )
    statement.reduce(exchange, sigmas, speaker)
    return b"".join(exchange.sent)


def prove_registration(
    card: ModelCard,
    integers: npt.NDArray[np.int64],
    opening: npt.NDArray[np.int64],
    server_key: bytes,
) -> bytes:
    """Prove that a private model's integers are within the ranges its card declares."""
    relation = RegistrationRelation(card)
    return prove(relation, relation.witness(integers, opening), server_key)


class EnrolmentProver:
    """The client's side of one enrolment session."""

    def __init__(self, request: KeyRequest, secret: npt.NDArray[np.int8]) -> None:
        """Draw the errors and commit.

        Args:
            request: what is enrolled.
            secret: s, int8 (N,) in {-1, 0, 1}.
        """
        self._request = request
        self._secret = secret.astype(np.int64)
        # Keyed by the secret and bound to the moment: a restored snapshot whose operating system
        # repeats its randomness must not answer two nonces from one commitment.
        statement = encode((request.value(), time.time_ns()))
        seed = ProverRandomness.fresh(secret.tobytes(), statement)
        self._errors = np.stack(
            [_sample_error(seed, f"error {m}", request.ring_degree) for m in range(request.keys)]
        )
        relation = EnrolmentRelation(request)
        self._prover = Prover(relation, relation.witness(self._secret, self._errors), seed)

    @property
    def root(self) -> bytes:
        """The commitment, sent before the server draws its nonce."""
        return self._prover.root

    def answer(self, nonce: bytes) -> tuple[EnrolledKey, bytes]:
        """The public keys and the proof.  One nonce only: a commitment opens once.

        Raises:
            EnrolmentRestart: begin again; nothing secret has left.
        """
        request, prover = self._request, self._prover
        uniform = expand_a(request, prover.root, nonce)
        b = np.empty_like(uniform)
        for limb, modulus in enumerate(request.moduli):
            arithmetic, transform = field(modulus), ntt(modulus, request.ring_degree)
            secret = transform.forward(arithmetic.reduce_i64(self._secret))
            errors = transform.forward(arithmetic.reduce_i64(self._errors))
            for m in range(request.keys):
                masked = arithmetic.mul(np.ascontiguousarray(uniform[m, limb]), secret)
                b[m, limb] = arithmetic.sub(np.ascontiguousarray(errors[m]), masked)
        key = EnrolledKey(request, prover.root, nonce, b)
        return key, prover.answer(EnrolmentRelation(request, key))


def _sample_error(seed: ProverRandomness, label: str, degree: int) -> npt.NDArray[np.int64]:
    """Centred binomial noise (21 minus 21 coins), resampled into [-16, 15]: int64 (N,)."""
    kept = np.zeros(0, dtype=np.int64)
    round_number = 0
    while kept.size < degree:
        coins = np.frombuffer(seed.bytes(f"{label}/{round_number}", 6 * degree), dtype=np.uint8)
        bits = np.unpackbits(coins.reshape(degree, 6), axis=1)[:, :42].astype(np.int64)
        noise = bits[:, :21].sum(axis=1) - bits[:, 21:].sum(axis=1)
        inside = (noise >= -PUBLIC_NOISE_BOUND) & (noise < PUBLIC_NOISE_BOUND)
        kept = np.concatenate([kept, noise[inside]])
        round_number += 1
    return kept[:degree]
