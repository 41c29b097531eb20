"""What verifiers call: one function per kind of proof.  None of them needs, or can reach, a secret.

Public models are checked by `zk_layers.freivalds`.
"""

from __future__ import annotations

import io

from protocol.keys import EnrolledKey
from protocol.model import ModelCard
from zk_layers.checks import Check, require
from zk_layers.enrolment import EnrolmentRelation
from zk_layers.layers.linear import BatchLinearRelation, SingleLinearRelation
from zk_layers.ligero.verifier import verify
from zk_layers.network import NetworkRelation
from zk_layers.public_network import PublicNetwork
from zk_layers.reduction.exchange import Reading
from zk_layers.registration import RegistrationRelation
from zk_layers.soundness import (
    SoundnessReport,
    extension_terms,
    report_of,
    require_soundness,
)
from zk_layers.statement import require_margins


def verify_linear(
    relation: BatchLinearRelation | SingleLinearRelation, proof: bytes
) -> SoundnessReport:
    """Verify one linear answer: margins, soundness, then the proof.

    Raises:
        VerificationError: naming the check that refused.
    """
    require_margins(relation.card, relation.packing)
    report = require_soundness(relation)
    verify(relation, proof)
    return report


def verify_network(relation: NetworkRelation, proof: bytes) -> SoundnessReport:
    """Verify one answer of a private network: margins, soundness, then the proof.

    Raises:
        VerificationError: naming the check that refused.
    """
    require_margins(relation.card, relation.request.packing)
    report = require_soundness(relation)
    verify(relation, proof)
    return report


def verify_public_network(statement: PublicNetwork, proof: bytes) -> SoundnessReport:
    """Verify one answer of a public network.

    Raises:
        VerificationError: naming the check that refused.
    """
    require_margins(statement.card, statement.request.packing)
    report = report_of(extension_terms(statement.soundness_terms(), statement.moduli))
    detail = f"proof of {len(proof)} bytes, expected {statement.proof_bytes}"
    require(len(proof) == statement.proof_bytes, Check.SIZE, detail)
    stream = io.BytesIO(proof)
    exchange = Reading(statement.begin(), statement.moduli, stream.read)
    statement.reduce(exchange, statement.draw_sigmas(exchange), None)
    return report


def verify_registration(card: ModelCard, proof: bytes) -> SoundnessReport:
    """Verify a registration.

    Raises:
        VerificationError: naming the check that refused.
    """
    relation = RegistrationRelation(card)
    report = require_soundness(relation)
    verify(relation, proof)
    return report


def verify_enrolment(key: EnrolledKey, proof: bytes) -> SoundnessReport:
    """Verify an enrolment; the proof must open the root the nonce was drawn for.

    Raises:
        VerificationError: naming the check that refused.
    """
    relation = EnrolmentRelation(key.request, key)
    report = require_soundness(relation)
    verify(relation, proof, expected_root=key.root)
    return report
