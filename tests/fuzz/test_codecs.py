"""Random mutations of every message and file: a typed refusal, or harmless."""

from __future__ import annotations

import random

import numpy as np
import pytest

from client_sdk.evidence import Evidence, decode_evidence, encode_evidence
from fhe_layers.inputs import request_inputs
from protocol.ciphertexts import SeededCiphertexts
from protocol.errors import BlindproofError, EncodingError
from protocol.inputs import RequestInputs
from protocol.keys import EnrolledKey, KeyRequest
from protocol.model import ModelCard
from protocol.parameters import Packing
from protocol.request import Request, require_records
from tests.adversarial.plaintext_scenario import asked, mixed_records
from tests.integration import example_models
from tests.integration.test_networks import BUNDLES
from wire.enrolment import CompletionAssembler, decode_begin, encode_begin, encode_completion
from wire.inference import (
    RequestAssembler,
    Response,
    ResponseAssembler,
    ServerTimings,
    SingleOutputs,
    decode_header,
    encode_request,
    encode_response,
)
from wire.models import ServedModel, decode_model, encode_model
from wire.stored_key import Enrolment, decode_key, encode_key

MUTATIONS = 400


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Flip, delete, insert, repeat or truncate; mostly near the start, where the structure is."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        at = rng.randrange(min(len(out), rng.choice((40, 400, len(out)))) or 1)
        action = rng.randrange(5)
        if action == 0 and out:
            out[at] ^= 1 << rng.randrange(8)
        elif action == 1:
            del out[at : at + rng.randrange(1, 9)]
        elif action == 2:
            out[at:at] = rng.randbytes(rng.randrange(1, 9))
        elif action == 3:
            out[at:at] = out[at : at + rng.randrange(1, 40)]
        else:
            del out[rng.randrange(len(out) or 1) :]
    return bytes(out)


def refused_or_harmless(decode, data: bytes, rng: random.Random) -> int:
    """Number of mutations refused; anything but a BlindproofError escapes and fails the test."""
    refused = 0
    for _ in range(MUTATIONS):
        try:
            decode(mutate(data, rng))
        except BlindproofError:
            refused += 1
    return refused


@pytest.fixture(scope="module")
def bundle():
    return example_models.bundle(example_models.linear_model())


@pytest.fixture(scope="module")
def evidence(bundle) -> Evidence:
    rng = np.random.default_rng(6)
    parameters = bundle.card.profile(Packing.SINGLE).parameters
    limbs, degree, modulus = len(parameters.moduli), parameters.ring_degree, parameters.moduli[-1]

    def words(*shape: int) -> np.ndarray:
        return rng.integers(0, modulus, shape).astype(np.uint64)

    key = EnrolledKey(
        KeyRequest("client", "server", degree, parameters.moduli, 1),
        bytes(32),
        bytes(32),
        words(1, limbs, degree),
    )
    request = Request(
        bytes(16),
        bytes(32),
        "client",
        "server",
        bundle.card,
        Packing.SINGLE,
        1,
        key.digest,
        bundle.registration_digest,
        bytes(32),
    )
    return Evidence(
        request,
        bundle.registration_proof,
        Enrolment(key, rng.bytes(500)),
        RequestInputs.encrypted_only(
            SeededCiphertexts((bytes(64),), words(1, limbs, degree), parameters.moduli)
        ),
        SingleOutputs(words(limbs, degree), words(1, limbs)),
        rng.bytes(1000),
    )


def test_model_cards(bundle):
    rng = random.Random("cards")
    card = bundle.card.encoded()
    assert refused_or_harmless(ModelCard.decoded, card, rng) > MUTATIONS // 2


def test_cards_of_networks():
    rng = random.Random("networks")
    card = BUNDLES["public, every layer"]().card.encoded()
    assert refused_or_harmless(ModelCard.decoded, card, rng) > MUTATIONS // 2


def test_served_models(bundle):
    rng = random.Random("served")
    data = encode_model(ServedModel("s", bundle.card.encoded(), bundle.registration_proof))
    refused_or_harmless(decode_model, data, rng)


def test_first_steps_of_enrolments(evidence):
    rng = random.Random("begin")
    data = encode_begin(evidence.enrolment.key.request, bytes(32))
    assert refused_or_harmless(decode_begin, data, rng) > MUTATIONS // 2


def test_stored_keys(evidence):
    rng = random.Random("keys")
    refused_or_harmless(decode_key, encode_key(evidence.enrolment.key), rng)


def test_evidence_files(evidence):
    rng = random.Random("evidence")
    data = encode_evidence((evidence,))
    assert decode_evidence(data)[0].request.key_digest == evidence.enrolment.key.digest
    refused_or_harmless(decode_evidence, data, rng)


def test_streams_of_requests_responses_and_enrolments(bundle, evidence):
    rng = random.Random("streams")
    card, request = bundle.card, evidence.request
    response = Response(evidence.outputs, evidence.proof, ServerTimings())
    header, *ciphertexts = encode_request(request, evidence.inputs)
    _, *enrolment = encode_completion(bytes(16), evidence.enrolment.key.b, evidence.proof)

    def receive_request(messages) -> None:
        # Whatever header the bytes give, the messages after it are judged by the true one.
        decode_header(messages[0])
        assembler = RequestAssembler(card, decode_header(header))
        for message in messages[1:]:
            assembler.add(message)
        assembler.finish()

    def receive_response(messages) -> None:
        assembler = ResponseAssembler(card, Packing.SINGLE, request.request_id)
        for message in messages:
            assembler.add(message)
        assembler.finish()

    def receive_enrolment(messages) -> None:
        assembler = CompletionAssembler(evidence.enrolment.key.request, len(evidence.proof))
        for message in messages:
            assembler.add(message)
        assembler.finish()

    for receive, messages in (
        (receive_request, [header, *ciphertexts]),
        (receive_response, list(encode_response(request.request_id, response))),
        (receive_enrolment, enrolment),
    ):
        receive(messages)
        for _ in range(MUTATIONS):
            changed = list(messages)
            index = rng.randrange(len(changed))
            changed[index] = mutate(changed[index], rng)
            if rng.random() < 0.3:
                rng.shuffle(changed)
            try:
                receive(changed)
            except BlindproofError:
                continue


def test_requests_with_columns_in_clear():
    """What is taken in spite of a mutation is declared, finite and complete."""
    rng = random.Random("columns")
    job = asked(Packing.BATCH, mixed_records(3))
    card = job.request.card
    genuine = list(encode_request(job.request, job.inputs))

    def receive(messages) -> None:
        header = decode_header(messages[0])
        if header.packing is not Packing.BATCH or header.plaintext_columns != 4:
            raise EncodingError("refused when the header is judged")
        require_records(card, header.packing, header.records)
        assembler = RequestAssembler(card, header)
        for message in messages[1:]:
            assembler.add(message)
        ciphertexts, plaintext = assembler.finish()
        inputs = request_inputs(card, header.packing, header.records, ciphertexts, plaintext)
        assert np.isfinite(inputs.plaintext.values).all()
        assert inputs.plaintext.values.shape == (4, header.records)

    receive(genuine)
    for _ in range(MUTATIONS):
        changed = list(genuine)
        index = rng.randrange(len(changed))
        changed[index] = mutate(changed[index], rng)
        if rng.random() < 0.3:
            rng.shuffle(changed)
        try:
            receive(changed)
        except BlindproofError:
            continue
