"""Everything an answer was verified with, kept so that anyone can verify it again.

Digests are never stored: a reader recomputes them from what is there, so that a request rebuilt
from a file is bound to the file's own ciphertexts, key and registration.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from client_sdk.pinning import require_pinned
from protocol.ciphertexts import SeededCiphertexts
from protocol.digests import DIGEST_BYTES
from protocol.encoding import (
    Value,
    decode,
    encode,
    expect_bytes,
    expect_int,
    expect_text,
    expect_tuple,
)
from protocol.errors import EncodingError
from protocol.model import ModelCard
from protocol.parameters import Mode, Packing
from protocol.request import NONCE_BYTES, REQUEST_ID_BYTES, SEED_BYTES, Request
from wire.framing import WORD_BYTES, words_from_bytes, words_to_bytes
from wire.inference import (
    Outputs,
    input_ciphertexts,
    join_outputs,
    output_chunk_from_bytes,
    output_chunks,
    output_shapes,
)
from wire.stored_key import Enrolment, enrolment_from_value, enrolment_value
from zk_layers.registration import registration_digest

FORMAT = "blindproof evidence 1"
MAX_EVIDENCE_BYTES = 1 << 30


@dataclass(frozen=True, eq=False, repr=False)
class Evidence:
    """One request, its answer and the proof.

    Attributes:
        request: who asked what of which model.
        registration_proof: the model's, empty if it is public.
        enrolment: the enrolled key and its proof, None if the model is public.
        ciphertexts: what was sent.
        outputs: the words received.
        proof: the proof received, empty if the model is public and linear.
    """

    request: Request
    registration_proof: bytes
    enrolment: Enrolment | None
    ciphertexts: SeededCiphertexts
    outputs: Outputs
    proof: bytes


def request_digests(
    card: ModelCard, registration_proof: bytes, enrolment: Enrolment | None
) -> tuple[bytes, bytes]:
    """Registration and key as requests name them; 32 zero bytes each for a public model."""
    if card.mode is Mode.PUBLIC:
        return bytes(DIGEST_BYTES), bytes(DIGEST_BYTES)
    if enrolment is None:
        raise EncodingError("a private model's request names an enrolled key")
    return registration_digest(registration_proof), enrolment.key.digest


def encode_evidence(answers: tuple[Evidence, ...]) -> bytes:
    """Canonical bytes of the answers of one prediction.

    Raises:
        EncodingError: more than `MAX_EVIDENCE_BYTES`, which no reader would take.
    """
    size = 0
    encoded = []
    for answer in answers:
        value = _value(answer)
        size += len(encode(value))
        if size > MAX_EVIDENCE_BYTES:
            raise EncodingError(
                f"evidence of {len(answers)} requests exceeds {MAX_EVIDENCE_BYTES} bytes: "
                "predict fewer records at a time and save each result"
            )
        encoded.append(value)
    return encode((FORMAT, tuple(encoded)))


def _value(evidence: Evidence) -> Value:
    request = evidence.request
    return (
        request.card.encoded(),
        evidence.registration_proof,
        None if evidence.enrolment is None else enrolment_value(evidence.enrolment),
        (
            request.request_id,
            request.nonce,
            request.client_id,
            request.server_id,
            str(request.packing),
            request.records,
            request.plaintext_digest,
            request.log_head,
        ),
        b"".join(evidence.ciphertexts.seeds),
        words_to_bytes(evidence.ciphertexts.bodies),
        tuple(words_to_bytes(chunk) for chunk in output_chunks(evidence.outputs)),
        evidence.proof,
    )


def decode_evidence(data: bytes, pinned: bytes | None = None) -> tuple[Evidence, ...]:
    """Parse answers; well-formed, not verified.

    Args:
        data: what `encode_evidence` wrote.
        pinned: digest of the model the answers must be about.  Compared with the bytes of every
            card before any card, key or word is read.

    Raises:
        ModelError: evidence about another model than the pinned one.
        EncodingError, ModelError, ParameterError, RequestError, EnrolmentError: malformed.
    """
    form, answers = expect_tuple(decode(data), "evidence", 2)
    if form != FORMAT:
        raise EncodingError(f"not a '{FORMAT}' file")
    items = expect_tuple(answers, "answers")
    if not items:
        raise EncodingError("evidence of no answer")
    parts = [expect_tuple(item, "answer", 8) for item in items]
    if pinned is not None:
        for fields in parts:
            require_pinned(expect_bytes(fields[0], "model card"), pinned, "the evidence holds")
    return tuple(map(_from_fields, parts))


def _from_fields(fields: tuple[Value, ...]) -> Evidence:
    card = ModelCard.decoded(expect_bytes(fields[0], "model card"))
    registration = expect_bytes(fields[1], "registration proof")
    enrolment = None if fields[2] is None else enrolment_from_value(fields[2])
    identity, nonce, client, server, packed, records, plaintext, head = expect_tuple(
        fields[3], "request", 8
    )
    name = expect_text(packed, "packing")
    try:
        packing = Packing(name)
    except ValueError as error:
        raise EncodingError("unknown packing") from error
    parameters = card.profile(packing).parameters
    shape = (input_ciphertexts(card, packing), len(parameters.moduli), parameters.ring_degree)
    joined = expect_bytes(fields[4], "seeds", SEED_BYTES * shape[0])
    seeds = tuple(joined[at : at + SEED_BYTES] for at in range(0, len(joined), SEED_BYTES))
    words = expect_bytes(fields[5], "ciphertext words", WORD_BYTES * math.prod(shape))
    bodies = words_from_bytes(words, shape, parameters.moduli, "ciphertext")
    ciphertexts = SeededCiphertexts(seeds, bodies, parameters.moduli)
    chunks = expect_tuple(fields[6], "outputs", len(output_shapes(card, packing)))
    registration_name, key_name = request_digests(card, registration, enrolment)
    request = Request(
        request_id=expect_bytes(identity, "request id", REQUEST_ID_BYTES),
        nonce=expect_bytes(nonce, "nonce", NONCE_BYTES),
        client_id=expect_text(client, "client identity"),
        server_id=expect_text(server, "server identity"),
        card=card,
        packing=packing,
        records=expect_int(records, "records"),
        key_digest=key_name,
        registration_digest=registration_name,
        input_digest=ciphertexts.digest,
        plaintext_digest=expect_bytes(plaintext, "plaintext digest", DIGEST_BYTES),
        log_head=expect_bytes(head, "log head", DIGEST_BYTES),
    )
    outputs = [
        output_chunk_from_bytes(card, packing, index, expect_bytes(chunk, "output words"))
        for index, chunk in enumerate(chunks)
    ]
    return Evidence(
        request,
        registration,
        enrolment,
        ciphertexts,
        join_outputs(card, packing, outputs),
        expect_bytes(fields[7], "proof"),
    )
