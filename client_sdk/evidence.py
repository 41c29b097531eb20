"""Everything an answer was verified with, kept so that anyone can verify it again.

Digests are never stored: a reader recomputes them from what is there, so that a request rebuilt
from a file is bound to the file's own ciphertexts, plaintext columns, key and registration.

Plaintext columns are in it as they were sent, in clear, with the salt of their digest: whoever is
given the evidence of a model with plaintext columns reads them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from client_sdk.pinning import require_pinned
from fhe_layers.inputs import request_inputs
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
from protocol.errors import EncodingError, InputError, VerificationError
from protocol.inputs import RequestInputs
from protocol.model import ModelCard
from protocol.parameters import Mode, Packing
from protocol.plaintext import SALT_BYTES, PlaintextColumns
from protocol.request import (
    NONCE_BYTES,
    REQUEST_ID_BYTES,
    SEED_BYTES,
    Request,
    require_records,
)
from wire.framing import WORD_BYTES, words_from_bytes, words_to_bytes
from wire.inference import (
    Outputs,
    input_ciphertexts,
    input_words,
    join_outputs,
    output_chunk_from_bytes,
    output_chunks,
    output_shapes,
)
from wire.plaintext import VALUE_BYTES, values_from_bytes, values_to_bytes
from wire.stored_key import Enrolment, enrolment_from_value, enrolment_value
from zk_layers.checks import Check
from zk_layers.registration import registration_digest

FORMAT = "blindproof evidence 2"
MAX_EVIDENCE_BYTES = 1 << 30
MAX_INPUT_BYTES = 4 << 30
"""Of one answer's inputs, expanded: more than ciphertexts alone have in a file of that size."""


@dataclass(frozen=True, eq=False, repr=False)
class Evidence:
    """One request, its answer and the proof.

    Attributes:
        request: who asked what of which model.
        registration_proof: the model's, empty if it is public.
        enrolment: the enrolled key and its proof, None if the model is public.
        inputs: what was sent, encrypted and in clear.
        outputs: the words received.
        proof: the proof received, empty if the model is public and linear.
    """

    request: Request
    registration_proof: bytes
    enrolment: Enrolment | None
    inputs: RequestInputs
    outputs: Outputs
    proof: bytes

    @property
    def ciphertexts(self) -> SeededCiphertexts:
        """What was sent encrypted."""
        return self.inputs.ciphertexts


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
        EncodingError: more than `MAX_EVIDENCE_BYTES`, or inputs of more than `MAX_INPUT_BYTES`,
            which no reader would take.
    """
    size = 0
    encoded = []
    for answer in answers:
        _require_expandable(answer.request.card, answer.request.packing)
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
            request.log_head,
        ),
        b"".join(evidence.ciphertexts.seeds),
        words_to_bytes(evidence.ciphertexts.bodies),
        _plaintext_value(evidence.inputs.plaintext),
        tuple(words_to_bytes(chunk) for chunk in output_chunks(evidence.outputs)),
        evidence.proof,
    )


def _plaintext_value(plaintext: PlaintextColumns | None) -> Value:
    return None if plaintext is None else (plaintext.salt, values_to_bytes(plaintext.values))


def decode_evidence(data: bytes, pinned: bytes | None = None) -> tuple[Evidence, ...]:
    """Parse answers; well-formed, not verified.

    Args:
        data: what `encode_evidence` wrote.
        pinned: digest of the model the answers must be about.  Compared with the bytes of every
            card before any card, key or word is read.

    Raises:
        ModelError: evidence about another model than the pinned one.
        EncodingError, ModelError, ParameterError, RequestError, EnrolmentError: malformed.
        VerificationError: statement, for plaintext columns which the model does not declare.
    """
    form, answers = expect_tuple(decode(data), "evidence", 2)
    if form != FORMAT:
        raise EncodingError(f"not a '{FORMAT}' file")
    items = expect_tuple(answers, "answers")
    if not items:
        raise EncodingError("evidence of no answer")
    parts = [expect_tuple(item, "answer", 9) for item in items]
    if pinned is not None:
        for fields in parts:
            require_pinned(expect_bytes(fields[0], "model card"), pinned, "the evidence holds")
    return tuple(map(_from_fields, parts))


def _from_fields(fields: tuple[Value, ...]) -> Evidence:
    card = ModelCard.decoded(expect_bytes(fields[0], "model card"))
    registration = expect_bytes(fields[1], "registration proof")
    enrolment = None if fields[2] is None else enrolment_from_value(fields[2])
    identity, nonce, client, server, packed, counted, head = expect_tuple(fields[3], "request", 7)
    name = expect_text(packed, "packing")
    try:
        packing = Packing(name)
    except ValueError as error:
        raise EncodingError("unknown packing") from error
    records = expect_int(counted, "records")
    require_records(card, packing, records)
    parameters = card.profile(packing).parameters
    shape = (input_ciphertexts(card, packing), len(parameters.moduli), parameters.ring_degree)
    joined = expect_bytes(fields[4], "seeds", SEED_BYTES * shape[0])
    seeds = tuple(joined[at : at + SEED_BYTES] for at in range(0, len(joined), SEED_BYTES))
    words = expect_bytes(fields[5], "ciphertext words", WORD_BYTES * math.prod(shape))
    bodies = words_from_bytes(words, shape, parameters.moduli, "ciphertext")
    ciphertexts = SeededCiphertexts(seeds, bodies, parameters.moduli)
    _require_expandable(card, packing)
    plaintext = _plaintext_from_value(fields[6], len(card.plaintext_features), records)
    try:
        inputs = request_inputs(card, packing, records, ciphertexts, plaintext)
    except InputError as error:
        raise VerificationError(str(Check.STATEMENT), str(error)) from error
    chunks = expect_tuple(fields[7], "outputs", len(output_shapes(card, packing)))
    registration_name, key_name = request_digests(card, registration, enrolment)
    request = Request(
        request_id=expect_bytes(identity, "request id", REQUEST_ID_BYTES),
        nonce=expect_bytes(nonce, "nonce", NONCE_BYTES),
        client_id=expect_text(client, "client identity"),
        server_id=expect_text(server, "server identity"),
        card=card,
        packing=packing,
        records=records,
        key_digest=key_name,
        registration_digest=registration_name,
        input_digest=inputs.digest,
        plaintext_digest=inputs.plaintext_digest,
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
        inputs,
        join_outputs(card, packing, outputs),
        expect_bytes(fields[8], "proof"),
    )


def _require_expandable(card: ModelCard, packing: Packing) -> None:
    """A few values in clear stand for many words: bound them before any is computed."""
    needed = WORD_BYTES * input_words(card, packing)
    if needed > MAX_INPUT_BYTES:
        raise EncodingError(
            f"evidence whose inputs take {needed >> 20} MiB once they are expanded, at most "
            f"{MAX_INPUT_BYTES >> 20} MiB"
        )


def _plaintext_from_value(value: Value, columns: int, records: int) -> PlaintextColumns | None:
    if value is None:
        return None
    if not columns:
        raise EncodingError("plaintext columns of a model that has none")
    salt, data = expect_tuple(value, "plaintext columns", 2)
    size = VALUE_BYTES * columns * records
    values = values_from_bytes(
        expect_bytes(data, "plaintext values", size), (columns, records), "plaintext columns"
    )
    return PlaintextColumns(values, expect_bytes(salt, "plaintext salt", SALT_BYTES))
