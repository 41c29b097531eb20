from __future__ import annotations

import math

import numpy as np
import pytest

from protocol.ciphertexts import SeededCiphertexts
from protocol.errors import EncodingError
from protocol.inputs import RequestInputs
from protocol.parameters import Packing
from protocol.request import Request
from wire.inference import (
    MAX_PROOF_BYTES,
    BatchOutputs,
    RequestAssembler,
    Response,
    ResponseAssembler,
    ServerTimings,
    SingleOutputs,
    decode_header,
    encode_receipt_part,
    encode_request,
    encode_response,
    output_chunks,
)
from wire.v1 import inference_pb2 as pb

IDENTITY = bytes(range(16))


def words(rng: np.random.Generator, *shape: int, modulus: int) -> np.ndarray:
    return rng.integers(0, modulus, shape).astype(np.uint64)


@pytest.fixture(params=list(Packing), ids=str)
def packing(request) -> Packing:
    return request.param


@pytest.fixture
def request_parts(bundle, packing, rng):
    parameters = bundle.card.profile(packing).parameters
    count = 3 if packing is Packing.BATCH else 1
    bodies = words(
        rng, count, len(parameters.moduli), parameters.ring_degree, modulus=min(parameters.moduli)
    )
    seeds = tuple(bytes([index]) * 64 for index in range(count))
    request = Request(
        request_id=IDENTITY,
        nonce=bytes(32),
        client_id="client",
        server_id="server",
        card=bundle.card,
        packing=packing,
        records=1,
        key_digest=bytes([1]) * 32,
        registration_digest=bytes([2]) * 32,
        input_digest=bytes(32),
    )
    ciphertexts = SeededCiphertexts(seeds, bodies, parameters.moduli)
    return request, RequestInputs.encrypted_only(ciphertexts)


@pytest.fixture
def response(bundle, packing, rng) -> Response:
    parameters = bundle.card.profile(packing).parameters
    limbs, degree, modulus = (
        len(parameters.moduli),
        parameters.ring_degree,
        min(parameters.moduli),
    )
    if packing is Packing.BATCH:
        outputs = BatchOutputs(words(rng, 2, 2, limbs, degree, modulus=modulus))
    else:
        outputs = SingleOutputs(
            words(rng, limbs, degree, modulus=modulus), words(rng, 2, limbs, modulus=modulus)
        )
    return Response(outputs, b"proof" * 80_000, ServerTimings(0.1, 0.2, 0.3, 0.4))


def test_a_request_comes_back(bundle, packing, request_parts):
    request, inputs = request_parts
    ciphertexts = inputs.ciphertexts
    header, *rest = encode_request(request, inputs)
    decoded = decode_header(header)
    assert decoded.packing is packing
    assert decoded.model_digest == bundle.card.digest
    assert decoded.key_digest == request.key_digest
    assert decoded.registration_digest == request.registration_digest
    assert decoded.ciphertexts == len(ciphertexts.seeds)
    assembler = RequestAssembler(bundle.card, decoded)
    for message in rest:
        assembler.add(message)
    received, plaintext = assembler.finish()
    assert plaintext is None
    assert received.seeds == ciphertexts.seeds
    assert np.array_equal(received.bodies, ciphertexts.bodies)
    assert received.moduli == ciphertexts.moduli


def test_a_request_with_a_ciphertext_missing_or_too_many_is_refused(bundle, request_parts):
    header, *rest = encode_request(*request_parts)
    assembler = RequestAssembler(bundle.card, decode_header(header))
    for message in rest[:-1]:
        assembler.add(message)
    with pytest.raises(EncodingError, match="ciphertexts of"):
        assembler.finish()
    assembler.add(rest[-1])
    with pytest.raises(EncodingError):
        assembler.add(rest[-1])


def test_the_first_message_is_the_header(request_parts):
    _, chunk, *_ = encode_request(*request_parts)
    with pytest.raises(EncodingError, match="header"):
        decode_header(chunk)
    with pytest.raises(EncodingError, match="header"):
        decode_header(b"")


def test_a_response_comes_back(bundle, packing, response):
    assembler = ResponseAssembler(bundle.card, packing, IDENTITY)
    for message in encode_response(IDENTITY, response):
        assembler.add(message)
    received = assembler.finish()
    assert received.proof == response.proof
    assert received.timings == response.timings
    for found, sent in zip(
        output_chunks(received.outputs), output_chunks(response.outputs), strict=True
    ):
        assert np.array_equal(found, sent)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: [],
        lambda m: m[1:],
        lambda m: m[:-1],
        lambda m: [*m, m[-1]],
        lambda m: [m[0], *m],
        lambda m: [m[0], m[2], m[1], *m[3:]],
        lambda m: [m[0], m[1], m[1], *m[3:]],
        lambda m: [m[0], m[-1], *m[1:-1]],
        lambda m: [m[0], b"", *m[1:]],
        lambda m: [m[0], m[1][:-1], *m[2:]],
        lambda m: [m[0], m[1] + b"\x00", *m[2:]],
    ],
)
def test_a_response_out_of_order_is_refused(bundle, packing, response, change):
    assembler = ResponseAssembler(bundle.card, packing, IDENTITY)

    def receive() -> None:
        for message in change(list(encode_response(IDENTITY, response))):
            assembler.add(message)
        assembler.finish()

    with pytest.raises(EncodingError):
        receive()


@pytest.mark.parametrize(
    "changes",
    [
        {"request_id": bytes(16)},
        {"output_chunks": 0},
        {"output_chunks": 2**32 - 1},
        {"proof_bytes": MAX_PROOF_BYTES + 1},
        {"timings": pb.ServerTimings(prove_seconds=math.nan)},
        {"timings": pb.ServerTimings(expand_seconds=-1.0)},
    ],
)
def test_a_result_header_is_checked_before_anything_is_kept(bundle, packing, response, changes):
    message = pb.InferResponse.FromString(next(iter(encode_response(IDENTITY, response))))
    for name, value in changes.items():
        if name == "timings":
            message.header.timings.CopyFrom(value)
        else:
            setattr(message.header, name, value)
    assembler = ResponseAssembler(bundle.card, packing, IDENTITY)
    with pytest.raises(EncodingError):
        assembler.add(message.SerializeToString())


def test_output_words_are_checked_limb_by_limb(bundle, packing, response):
    moduli = bundle.card.profile(packing).parameters.moduli
    target = output_chunks(response.outputs)[-1]
    target[-1, -1] = moduli[-1]  # the last limb of either layout, just not below its modulus
    assembler = ResponseAssembler(bundle.card, packing, IDENTITY)

    def receive() -> None:
        for message in encode_response(IDENTITY, response):
            assembler.add(message)

    with pytest.raises(EncodingError, match=f"limb {len(moduli) - 1}"):
        receive()


def test_a_receipt_is_one_and_not_empty(bundle, packing, response):
    messages = list(encode_response(bytes(16), response))
    assembler = ResponseAssembler(bundle.card, packing, bytes(16))
    for message in messages:
        assembler.add(message)
    with pytest.raises(EncodingError, match="out of order"):
        assembler.add(encode_receipt_part(b""))
    assembler.add(encode_receipt_part(b"receipt"))
    with pytest.raises(EncodingError, match="out of order"):
        assembler.add(encode_receipt_part(b"another"))
    assert assembler.finish().receipt == b"receipt"
