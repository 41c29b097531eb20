"""An enrolled key as it is kept in files: by the server, by the client and in evidence."""

from __future__ import annotations

import math
from dataclasses import dataclass

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
from protocol.keys import ENROLMENT_NONCE_BYTES, EnrolledKey, KeyRequest
from protocol.parameters import PROTOCOL_VERSION
from wire.framing import WORD_BYTES, words_from_bytes, words_to_bytes

MAX_KEY_BYTES = 256 << 20


@dataclass(frozen=True, eq=False)
class Enrolment:
    """An enrolled key and the proof it was enrolled with: what evidence needs of a key."""

    key: EnrolledKey
    proof: bytes


def key_value(key: EnrolledKey) -> Value:
    """The canonical value of a key: request, root, nonce, words."""
    return (key.request.value(), key.root, key.nonce, words_to_bytes(key.b))


def key_from_value(value: Value) -> EnrolledKey:
    """Rebuild and validate a key.  Raises EncodingError, EnrolmentError."""
    request_value, root, nonce, words = expect_tuple(value, "enrolled key", 4)
    version, client, server, degree, moduli, keys = expect_tuple(request_value, "key request", 6)
    if version != PROTOCOL_VERSION:
        raise EncodingError(f"enrolled key of another protocol version, not {PROTOCOL_VERSION}")
    request = KeyRequest(
        expect_text(client, "client identity"),
        expect_text(server, "server identity"),
        expect_int(degree, "ring degree"),
        tuple(expect_int(prime, "modulus") for prime in expect_tuple(moduli, "moduli")),
        expect_int(keys, "number of keys"),
    )
    shape = (request.keys, len(request.moduli), request.ring_degree)
    data = expect_bytes(words, "public key words", WORD_BYTES * math.prod(shape))
    return EnrolledKey(
        request,
        expect_bytes(root, "root", DIGEST_BYTES),
        expect_bytes(nonce, "nonce", ENROLMENT_NONCE_BYTES),
        words_from_bytes(data, shape, request.moduli, "public key"),
    )


def encode_key(key: EnrolledKey) -> bytes:
    """Canonical bytes of a key."""
    return encode(key_value(key))


def decode_key(data: bytes) -> EnrolledKey:
    """Parse and validate canonical bytes of a key.  Raises EncodingError, EnrolmentError."""
    return key_from_value(decode(data))


def enrolment_value(enrolment: Enrolment) -> Value:
    """The canonical value of a key with its proof."""
    return (key_value(enrolment.key), enrolment.proof)


def enrolment_from_value(value: Value) -> Enrolment:
    """Rebuild a key with its proof, which is not verified here.  Raises as `key_from_value`."""
    key, proof = expect_tuple(value, "enrolment", 2)
    return Enrolment(key_from_value(key), expect_bytes(proof, "enrolment proof"))


def encode_enrolment(enrolment: Enrolment) -> bytes:
    """Canonical bytes of a key with its proof."""
    return encode(enrolment_value(enrolment))


def decode_enrolment(data: bytes) -> Enrolment:
    """Parse canonical bytes of a key with its proof.  Raises as `key_from_value`."""
    return enrolment_from_value(decode(data))
