"""What verifiers call: one function per kind of proof.  None of them needs, or can reach, a secret.

Public models are checked by `zk_layers.freivalds`.
"""

from __future__ import annotations

from protocol.keys import EnrolledKey
from protocol.model import ModelCard
from zk_layers.enrolment import EnrolmentRelation
from zk_layers.layers.linear import BatchLinearRelation, SingleLinearRelation, require_margins
from zk_layers.ligero.verifier import verify
from zk_layers.registration import RegistrationRelation
from zk_layers.soundness import SoundnessReport, require_soundness


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
