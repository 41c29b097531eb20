"""Codec of what an archive keeps: requests, answers, models, enrolments, for whoever looks later.

Requests and answers are kept as the messages that travelled, whatever later versions make of them;
the codecs of `wire.inference` read them again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from protocol.encoding import Value, decode, encode, expect_bytes, expect_tuple
from protocol.errors import EncodingError
from protocol.model import MAX_CARD_BYTES
from wire.enrolment import MAX_ENROLMENT_PROOF_BYTES
from wire.models import MAX_REGISTRATION_BYTES
from wire.rpc import MAX_MESSAGE_BYTES
from wire.stored_key import MAX_KEY_BYTES, Enrolment, decode_enrolment, encode_enrolment

REQUEST_FORMAT = "blindproof archived request 1"
RESPONSE_FORMAT = "blindproof archived response 1"
MODEL_FORMAT = "blindproof archived model 1"
ENROLMENT_FORMAT = "blindproof archived enrolment 1"
MAX_MESSAGES = 1 << 17
MAX_ENROLMENT_BYTES = MAX_KEY_BYTES + MAX_ENROLMENT_PROOF_BYTES


@dataclass(frozen=True)
class ArchivedModel:
    """What clients are given of a model, not verified.

    Attributes:
        card: canonical bytes.
        registration_proof: empty for a public model.
    """

    card: bytes
    registration_proof: bytes


def encode_archived_request(messages: Sequence[bytes]) -> bytes:
    """The messages of one request as they came, its header first."""
    return _encode_messages(REQUEST_FORMAT, messages)


def decode_archived_request(data: bytes) -> tuple[bytes, ...]:
    """Its messages, the header first; none is parsed here.  Raises EncodingError."""
    return _decode_messages(data, REQUEST_FORMAT)


def encode_archived_response(messages: Sequence[bytes]) -> bytes:
    """The messages of one answer as they are sent, without the receipt's."""
    return _encode_messages(RESPONSE_FORMAT, messages)


def decode_archived_response(data: bytes) -> tuple[bytes, ...]:
    """Its messages; none is parsed here.  Raises EncodingError."""
    return _decode_messages(data, RESPONSE_FORMAT)


def encode_archived_model(model: ArchivedModel) -> bytes:
    """A model's public parts."""
    return encode((MODEL_FORMAT, model.card, model.registration_proof))


def decode_archived_model(data: bytes) -> ArchivedModel:
    """Parse them; neither card nor proof is verified.  Raises EncodingError."""
    _, card, proof = _parts(data, MODEL_FORMAT, 3)
    return ArchivedModel(
        _bounded(card, "model card", MAX_CARD_BYTES),
        _bounded(proof, "registration proof", MAX_REGISTRATION_BYTES),
    )


def encode_archived_enrolment(enrolment: Enrolment) -> bytes:
    """A key and the proof it was enrolled with."""
    return encode((ENROLMENT_FORMAT, encode_enrolment(enrolment)))


def decode_archived_enrolment(data: bytes) -> Enrolment:
    """Parse them; the proof is not verified.  Raises EncodingError, EnrolmentError."""
    _, enrolment = _parts(data, ENROLMENT_FORMAT, 2)
    return decode_enrolment(_bounded(enrolment, "enrolment", MAX_ENROLMENT_BYTES))


def _encode_messages(form: str, messages: Sequence[bytes]) -> bytes:
    """`encode((form, messages))`, joined once: `encode` would copy all of them twice."""
    pieces = [_tuple_head(2), encode(form), _tuple_head(len(messages))]
    for message in messages:
        pieces += (b"b", len(message).to_bytes(8, "little"), message)
    return b"".join(pieces)


def _tuple_head(count: int) -> bytes:
    return b"l" + count.to_bytes(4, "little")


def _decode_messages(data: bytes, form: str) -> tuple[bytes, ...]:
    _, messages = _parts(data, form, 2)
    found = expect_tuple(messages, "messages")
    if not 0 < len(found) <= MAX_MESSAGES:
        raise EncodingError(f"{len(found)} messages, expected 1 to {MAX_MESSAGES}")
    return tuple(_bounded(message, "message", MAX_MESSAGE_BYTES) for message in found)


def _parts(data: bytes, form: str, count: int) -> tuple[Value, ...]:
    parts = expect_tuple(decode(data), form, count)
    if parts[0] != form:
        raise EncodingError(f"not a '{form}'")
    return parts


def _bounded(value: Value, name: str, limit: int) -> bytes:
    data = expect_bytes(value, name)
    if len(data) > limit:
        raise EncodingError(f"{name} of {len(data)} bytes, at most {limit}")
    return data
