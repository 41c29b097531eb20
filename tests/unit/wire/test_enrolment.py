from __future__ import annotations

import numpy as np
import pytest

from fhe_layers.moduli import modulus_chain
from protocol.errors import EncodingError, EnrolmentError, ParameterError
from protocol.keys import KeyRequest
from wire.enrolment import (
    MAX_ENROLMENT_PROOF_BYTES,
    CompletionAssembler,
    EnrolmentChallenge,
    decode_begin,
    decode_challenge,
    decode_completed,
    decode_completion_header,
    encode_begin,
    encode_challenge,
    encode_completed,
    encode_completion,
)
from wire.v1 import keys_pb2 as pb

MODULI, _ = modulus_chain(8192, 3)
REQUEST = KeyRequest("client", "server", 8192, MODULI, 2)


def begin(**changes: object) -> bytes:
    fields = {
        "client_id": "client",
        "server_id": "server",
        "ring_degree": 8192,
        "moduli": MODULI,
        "keys": 2,
        "root": bytes(32),
        **changes,
    }
    return pb.BeginEnrolmentRequest(**fields).SerializeToString()


def test_the_first_step_comes_back():
    assert decode_begin(encode_begin(REQUEST, bytes(32))) == (REQUEST, bytes(32))


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"client_id": ""}, EnrolmentError),
        ({"server_id": "x" * 201}, EnrolmentError),
        ({"root": bytes(31)}, EncodingError),
        ({"keys": 0}, EnrolmentError),
        ({"keys": 65}, EnrolmentError),
        ({"ring_degree": 8191}, ParameterError),
        ({"ring_degree": 2**31}, ParameterError),
        ({"moduli": []}, ParameterError),
        ({"moduli": [MODULI[0]] * 2}, ParameterError),
        ({"moduli": [MODULI[0] + 16384]}, ParameterError),
        ({"moduli": [2**60 - 1]}, ParameterError),
        ({"moduli": [17]}, ParameterError),
        ({"moduli": [MODULI[0]] * 10_000}, ParameterError),
        ({"moduli": modulus_chain(16384, 5)[0], "ring_degree": 8192}, ParameterError),
    ],
)
def test_parameters_outside_the_secure_range_are_refused(changes, error):
    with pytest.raises(error):
        decode_begin(begin(**changes))


def test_challenge_and_completion_come_back():
    challenge = EnrolmentChallenge(bytes(16), bytes(32))
    assert decode_challenge(encode_challenge(challenge)) == challenge
    assert decode_completed(encode_completed(bytes(32))) == bytes(32)
    with pytest.raises(EncodingError, match="session id"):
        decode_challenge(encode_challenge(EnrolmentChallenge(bytes(15), bytes(32))))


def test_keys_and_proof_come_back(key):
    header, *rest = encode_completion(bytes(16), key.b, b"proof" * 100_000)
    announced = decode_completion_header(header)
    assembler = CompletionAssembler(key.request, announced.proof_bytes)
    for message in rest:
        assembler.add(message)
    b, proof = assembler.finish()
    assert np.array_equal(b, key.b)
    assert proof == b"proof" * 100_000


@pytest.mark.parametrize(
    "change",
    [
        lambda m: [],
        lambda m: m[:-1],
        lambda m: [m[1], m[0], *m[2:]],
        lambda m: [m[0], m[0], *m[2:]],
        lambda m: [*m, m[-1]],
        lambda m: [m[-1], *m[:-1]],
        lambda m: [*m[:-1], m[0]],
        lambda m: [b"", *m],
        lambda m: [m[0][:-1], *m[1:]],
    ],
)
def test_messages_out_of_order_are_refused(key, change):
    _, *rest = encode_completion(bytes(16), key.b, b"proof")
    assembler = CompletionAssembler(key.request, 5)

    def receive() -> None:
        for message in change(rest):
            assembler.add(message)
        assembler.finish()

    with pytest.raises(EncodingError):
        receive()


def test_a_word_above_its_modulus_is_refused(key):
    words = key.b.copy()
    words[1, 0, 7] = key.request.moduli[0]
    _, *rest = encode_completion(bytes(16), words, b"")
    assembler = CompletionAssembler(key.request, 0)
    assembler.add(rest[0])
    with pytest.raises(EncodingError, match="not below"):
        assembler.add(rest[1])


def test_a_proof_too_long_is_refused_before_it_is_sent(key):
    with pytest.raises(EncodingError, match="announced"):
        CompletionAssembler(key.request, MAX_ENROLMENT_PROOF_BYTES + 1)


def test_the_header_comes_first(key):
    _, chunk, *_ = encode_completion(bytes(16), key.b, b"")
    with pytest.raises(EncodingError, match="header"):
        decode_completion_header(chunk)
