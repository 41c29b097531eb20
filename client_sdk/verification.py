"""Is this the answer of the pinned model to this request?  Needs no secret."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

from audit.facts import AnsweredFacts, answered_facts
from audit.receipt import Receipt
from client_sdk.evidence import MAX_EVIDENCE_BYTES, Evidence, decode_evidence
from client_sdk.pinning import parse_digest, require_pinned
from protocol.accountability import Account
from protocol.errors import EncodingError, EnrolmentError, ModelError, VerificationError
from protocol.model import ModelCard
from protocol.parameters import Mode, Packing
from wire.files import read_bounded
from wire.inference import BatchOutputs, SingleOutputs, outputs_digest
from zk_layers.checks import Check, require
from zk_layers.freivalds import verify_public_batch, verify_public_single
from zk_layers.layers.linear import linear_relation
from zk_layers.network import network_relation
from zk_layers.public_network import public_network
from zk_layers.soundness import SoundnessReport
from zk_layers.statement import require_inputs, require_margins
from zk_layers.verify import (
    verify_enrolment,
    verify_linear,
    verify_network,
    verify_public_network,
    verify_registration,
)


@dataclass(frozen=True)
class VerifiedAnswer:
    """What an evidence file proves of one answer.

    Attributes:
        facts: what its receipt says, but for the account, which evidence does not have.
    """

    request_id: bytes
    client_id: str
    server_id: str
    model_digest: bytes
    key_digest: bytes
    packing: Packing
    records: int
    output_digest: bytes
    soundness_bits: float
    precision_bits: float
    facts: AnsweredFacts = field(repr=False)

    def require_receipt(self, receipt: Receipt) -> None:
        """Refuse a receipt that is not of this answer.

        Who asked, for whom and why, only the receipt says: evidence has no account.

        Raises:
            ReceiptMismatchError: naming the field.
        """
        stated = replace(
            self.facts,
            tenant=receipt.tenant,
            actor=receipt.actor,
            purpose=receipt.purpose,
            subject=receipt.subject,
        )
        stated.require_in(receipt)


def accept_model(
    encoded_card: bytes,
    registration_proof: bytes,
    pinned: bytes,
    source: str = "the card served has",
) -> ModelCard:
    """Parse a card, compare it with the pinned digest and verify its registration.

    Args:
        encoded_card: canonical bytes.
        registration_proof: of a private model, else empty.
        pinned: the digest expected.
        source: where the card comes from, for the message.

    Raises:
        ModelError: another model than the pinned one.
        EncodingError, ParameterError: not a valid card.
        VerificationError: the registration does not hold.
    """
    require_pinned(encoded_card, pinned, source)
    card = ModelCard.decoded(encoded_card)
    for profile in card.profiles:
        require_margins(card, profile.packing)
    if card.mode is Mode.PRIVATE:
        _verify_registration_once(card, registration_proof)
    elif registration_proof:
        raise ModelError("a public model has no registration")
    return card


@lru_cache(maxsize=64)
def _verify_registration_once(card: ModelCard, proof: bytes) -> SoundnessReport:
    """Once per process and model: failures are not remembered, successes are."""
    return verify_registration(card, proof)


def verify_answer(evidence: Evidence) -> SoundnessReport:
    """Verify one answer against its request, key and inputs.

    The request is the client's own, or was rebuilt by `decode_evidence` with its own digests.

    Raises:
        VerificationError: naming the check that refused.
    """
    request, outputs, proof = evidence.request, evidence.outputs, evidence.proof
    if request.card.mode is Mode.PUBLIC:
        return _verify_public(evidence)
    if evidence.enrolment is None:
        raise VerificationError(str(Check.STATEMENT), "a private answer needs an enrolled key")
    key = evidence.enrolment.key
    if isinstance(outputs, BatchOutputs) and not request.card.linear:
        network = network_relation(request, evidence.inputs, key, outputs.words)
        return verify_network(network, proof)
    relation = linear_relation(request, evidence.inputs, key, outputs.arrays)
    return verify_linear(relation, proof)


def _verify_public(evidence: Evidence) -> SoundnessReport:
    card, inputs, outputs = evidence.request.card, evidence.inputs, evidence.outputs
    if isinstance(outputs, BatchOutputs) and not card.linear:
        statement = public_network(evidence.request, inputs, outputs.words)
        return verify_public_network(statement, evidence.proof)
    require_inputs(evidence.request, inputs)
    require(not evidence.proof, Check.SIZE, "a public linear model's answer has no proof")
    if isinstance(outputs, SingleOutputs):
        return verify_public_single(card, inputs.words[0], outputs.mask, outputs.body)
    return verify_public_batch(card, inputs.words, outputs.words)


def verify_evidence(
    path: str | Path, pinned_digest: bytes | str, pinned_key: bytes | str | None = None
) -> tuple[VerifiedAnswer, ...]:
    """Verify an evidence file offline: no server, no secret.

    Shows that the outputs in the file are the pinned model's on the ciphertexts and the plaintext
    columns in the file, under a well-made key.  Whose key it is the file cannot show: compare
    `key_digest` with the client's, or pin it.  What the ciphertexts hold only the client's secret
    can tell.

    Args:
        path: a file written by `Result.save`.
        pinned_digest: the model's digest, 32 bytes or hexadecimal.
        pinned_key: the enrolled key's digest, 32 bytes or hexadecimal; any well-made key if None.

    Raises:
        EncodingError: not an evidence file.
        ModelError: evidence about another model, or a malformed digest.
        EnrolmentError: evidence under another key than the pinned one, or under none.
        VerificationError: naming the check that refused.
    """
    pinned = parse_digest(pinned_digest)
    key = None if pinned_key is None else parse_digest(pinned_key, "a key digest")
    try:
        data = read_bounded(Path(path), MAX_EVIDENCE_BYTES)
    except OSError as error:
        raise EncodingError(f"evidence {path}: {error.strerror}") from error
    try:
        answers = decode_evidence(data, pinned)
    except EncodingError as error:
        raise EncodingError(f"{path} is not an evidence file: {error}") from error
    return tuple(_verified(evidence, pinned, key) for evidence in answers)


def _verified(evidence: Evidence, pinned: bytes, pinned_key: bytes | None) -> VerifiedAnswer:
    request = evidence.request
    encoded = request.card.encoded()
    accept_model(encoded, evidence.registration_proof, pinned, "the evidence holds")
    if pinned_key is not None and request.card.mode is Mode.PUBLIC:
        raise EnrolmentError("a public model's answers are under no key: pin none")
    if pinned_key is not None and request.key_digest != pinned_key:
        raise EnrolmentError(
            f"evidence under the key {request.key_digest.hex()}, expected {pinned_key.hex()}"
        )
    if evidence.enrolment is not None:
        verify_enrolment(evidence.enrolment.key, evidence.enrolment.proof)
    # Expanded inputs weigh many times what is in the file: one answer's at a time.
    report = verify_answer(replace(evidence, inputs=evidence.inputs.compact()))
    output_digest = outputs_digest(evidence.outputs)
    return VerifiedAnswer(
        request_id=request.request_id,
        client_id=request.client_id,
        server_id=request.server_id,
        model_digest=request.card.digest,
        key_digest=request.key_digest,
        packing=request.packing,
        records=request.records,
        output_digest=output_digest,
        soundness_bits=report.bits,
        precision_bits=request.card.bounds(request.packing).precision_bits,
        facts=answered_facts(request, output_digest, evidence.proof, report.bits, Account()),
    )
