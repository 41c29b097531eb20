"""Is this the answer of the pinned model to this request?  Needs no secret."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from client_sdk.evidence import MAX_EVIDENCE_BYTES, Evidence, decode_evidence
from fhe_layers.seeded import expand
from protocol.digests import DIGEST_BYTES, Words, digest
from protocol.errors import EncodingError, ModelError, VerificationError
from protocol.model import ModelCard
from protocol.parameters import Mode, Packing
from protocol.request import output_digest
from wire.files import read_bounded
from wire.inference import BatchOutputs, Outputs, SingleOutputs
from zk_layers.checks import Check, require
from zk_layers.freivalds import verify_public_batch, verify_public_single
from zk_layers.layers.linear import BatchLinearRelation, SingleLinearRelation, verify_linear
from zk_layers.registration import verify_registration
from zk_layers.soundness import SoundnessReport


@dataclass(frozen=True)
class VerifiedAnswer:
    """What an evidence file proves of one answer."""

    request_id: bytes
    client_id: str
    server_id: str
    model_digest: bytes
    packing: Packing
    records: int
    output_digest: bytes
    soundness_bits: float
    precision_bits: float


def accept_model(encoded_card: bytes, registration_proof: bytes, pinned: bytes) -> ModelCard:
    """Parse a served card, compare it with the pinned digest and verify its registration.

    Raises:
        ModelError: another model than the pinned one.
        EncodingError, ParameterError: not a valid card.
        VerificationError: the registration does not hold.
    """
    card = ModelCard.decoded(encoded_card)
    if card.digest != pinned:
        raise ModelError(
            f"pinned model digest mismatch: expected {pinned.hex()}, the card served has "
            f"{card.digest.hex()}"
        )
    if card.mode is Mode.PRIVATE:
        _verify_registration_once(card, registration_proof)
    elif registration_proof:
        raise ModelError("a public model has no registration")
    return card


@lru_cache(maxsize=64)
def _verify_registration_once(card: ModelCard, proof: bytes) -> SoundnessReport:
    """Once per process and model: failures are not remembered, successes are."""
    return verify_registration(card, proof)


def verify_answer(evidence: Evidence, inputs: Words) -> SoundnessReport:
    """Verify one answer against its request, key and ciphertexts.

    `inputs` are the evidence's own ciphertexts expanded, words (K or 1, 2, L, N).  The request is
    the client's own, or was rebuilt by `decode_evidence` with its own digests.

    Raises:
        VerificationError: naming the check that refused.
    """
    request, outputs, proof = evidence.request, evidence.outputs, evidence.proof
    card, packing = request.card, request.packing
    moduli = card.profile(packing).parameters.moduli
    if card.mode is Mode.PUBLIC:
        require(not proof, Check.SIZE, "a public model's answer has no proof")
        if isinstance(outputs, SingleOutputs):
            return verify_public_single(card, inputs[0], outputs.mask, outputs.body)
        return verify_public_batch(card, inputs, outputs.words)
    if evidence.key is None:
        raise VerificationError(str(Check.STATEMENT), "a private answer needs an enrolled key")
    keys = len(card.outputs) if packing is Packing.BATCH else 1
    pairs = evidence.key.pairs(keys, len(moduli))
    relation: BatchLinearRelation | SingleLinearRelation
    if isinstance(outputs, SingleOutputs):
        relation = SingleLinearRelation(request, inputs[0], pairs[0], outputs.mask, outputs.body)
    else:
        relation = BatchLinearRelation(request, inputs, pairs, outputs.words)
    return verify_linear(relation, proof)


def verify_evidence(path: str | Path, pinned_digest: bytes | str) -> tuple[VerifiedAnswer, ...]:
    """Verify an evidence file offline: no server, no secret.

    Shows that the outputs in the file are the pinned model's on the ciphertexts in the file, under
    the key in the file.  What the ciphertexts hold, and that the key was enrolled with a proof, is
    not in the file.

    Args:
        path: a file written by `Result.save`.
        pinned_digest: the model's digest, 32 bytes or hexadecimal.

    Raises:
        EncodingError: not an evidence file.
        ModelError: evidence about another model.
        VerificationError: naming the check that refused.
    """
    pinned = parse_digest(pinned_digest)
    try:
        data = read_bounded(Path(path), MAX_EVIDENCE_BYTES)
    except OSError as error:
        raise EncodingError(f"evidence {path}: {error.strerror}") from error
    answers = []
    for evidence in decode_evidence(data):
        request = evidence.request
        accept_model(request.card.encoded(), evidence.registration_proof, pinned)
        moduli = request.card.profile(request.packing).parameters.moduli
        report = verify_answer(evidence, expand(evidence.seeds, evidence.bodies, moduli))
        answers.append(
            VerifiedAnswer(
                request_id=request.request_id,
                client_id=request.client_id,
                server_id=request.server_id,
                model_digest=request.card.digest,
                packing=request.packing,
                records=request.records,
                output_digest=outputs_digest(evidence.outputs),
                soundness_bits=report.bits,
                precision_bits=request.card.bounds(request.packing).precision_bits,
            )
        )
    return tuple(answers)


def parse_digest(digest: bytes | str) -> bytes:
    """A model digest given as 32 bytes or as 64 hexadecimal digits.

    Raises:
        ModelError: neither.
    """
    try:
        raw = bytes.fromhex(digest) if isinstance(digest, str) else bytes(digest)
    except ValueError as error:
        raise ModelError("a model digest is 64 hexadecimal digits") from error
    if len(raw) != DIGEST_BYTES:
        raise ModelError(f"a model digest has {DIGEST_BYTES} bytes, found {len(raw)}")
    return raw


def outputs_digest(outputs: Outputs) -> bytes:
    """One digest of all output words."""
    if isinstance(outputs, BatchOutputs):
        return output_digest(outputs.words)
    return digest(
        "blindproof single output", (output_digest(outputs.mask), output_digest(outputs.body))
    )
