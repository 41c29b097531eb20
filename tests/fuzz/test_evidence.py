"""Random changes of a genuine answer: in whatever field they are, none is accepted."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from blindproof.demo.cheats import Cheat
from client_sdk.evidence import Evidence, decode_evidence, encode_evidence
from client_sdk.verification import accept_model, verify_answer
from protocol.encoding import Value, decode, encode
from protocol.errors import BlindproofError
from protocol.parameters import Packing
from server.registry import ModelRegistry
from tests.adversarial.plaintext_scenario import ENGINE, asked, evidence_of, mixed_records
from tests.integration.conftest import World
from tests.integration.example_models import records
from tests.integration.test_networks import BUNDLES
from zk_layers.verify import verify_enrolment

MUTATIONS = 2000
NETWORK_MUTATIONS = 200
REQUEST_FIELD, PLAINTEXT_FIELD = 3, 6
"""Of an answer in an evidence file."""


@pytest.fixture(scope="module")
def genuine(world: World) -> Evidence:
    world.engine.cheat = Cheat.NONE
    with world.client() as client:
        return client.predict(records(1)).evidence[0]


def verify(data: bytes, pinned: bytes) -> None:
    (evidence,) = decode_evidence(data)
    accept_model(evidence.request.card.encoded(), evidence.registration_proof, pinned)
    if evidence.enrolment is not None:
        verify_enrolment(evidence.enrolment.key, evidence.enrolment.proof)
    verify_answer(evidence)


def changed(value: Value, rng: random.Random) -> Value:
    """A value with one leaf of its tree changed, of the same type."""
    if isinstance(value, tuple):
        index = rng.randrange(len(value))
        return (*value[:index], changed(value[index], rng), *value[index + 1 :])
    if isinstance(value, bytes):
        if not value:
            return b"\x00"
        at = rng.randrange(len(value))
        flipped = bytes([value[at] ^ 1 << rng.randrange(8)])
        return rng.choice(
            (
                value[:at] + flipped + value[at + 1 :],
                value[:at] + flipped + value[at + 1 :],
                value[:at],
                value + b"\x00",
                bytes(len(value)) if any(value) else b"\x01" * len(value),
            )
        )
    if isinstance(value, str):
        return value + "x"
    if isinstance(value, bool | None):
        return b""
    if isinstance(value, int):
        return value + rng.choice((-1, 1, 1 << 40))
    return value * 2 + 1


def test_the_genuine_answer_is_accepted(world: World, genuine: Evidence):
    verify(encode_evidence((genuine,)), world.models["private"].digest)


def test_no_changed_answer_is_accepted(world: World, genuine: Evidence):
    rng = random.Random("evidence")
    form, (fields,) = decode(encode_evidence((genuine,)))
    refused: Counter[int] = Counter()
    for number in range(MUTATIONS):
        index = number % len(fields)
        altered = (*fields[:index], changed(fields[index], rng), *fields[index + 1 :])
        with pytest.raises(BlindproofError):
            verify(encode((form, (altered,))), world.models["private"].digest)
        refused[index] += 1
    assert len(refused) == len(fields)


@pytest.mark.parametrize("model", ["perceptron", "public perceptron"])
def test_no_changed_answer_of_a_network_is_accepted(world: World, model: str):
    world.engine.cheat = Cheat.NONE
    served = world.models[model] = BUNDLES[model]()
    ModelRegistry(world.settings.models).publish(served)
    with world.client(model) as client:
        answers = client.predict(records(2)).evidence
    verify(encode_evidence(answers), served.digest)
    rng = random.Random(model)
    form, (fields,) = decode(encode_evidence(answers))
    for number in range(NETWORK_MUTATIONS):
        index = number % len(fields)
        if fields[index] is None:  # the enrolment of a public model
            continue
        altered = (*fields[:index], changed(fields[index], rng), *fields[index + 1 :])
        with pytest.raises(BlindproofError):
            verify(encode((form, (altered,))), served.digest)


@pytest.mark.parametrize("packing", list(Packing), ids=str)
def test_no_changed_plaintext_column_is_accepted(packing: Packing):
    """Every leaf of salt and values, and the request's fields beside them."""
    job = asked(packing, mixed_records(1 if packing is Packing.SINGLE else 3))
    evidence = evidence_of(job, ENGINE.answer(job))
    pinned = job.bundle.digest
    verify(encode_evidence((evidence,)), pinned)
    rng = random.Random(f"plaintext {packing}")
    form, (fields,) = decode(encode_evidence((evidence,)))
    for number in range(NETWORK_MUTATIONS):
        index = (PLAINTEXT_FIELD, REQUEST_FIELD)[number % 4 == 0]
        altered = (*fields[:index], changed(fields[index], rng), *fields[index + 1 :])
        with pytest.raises(BlindproofError):
            verify(encode((form, (altered,))), pinned)


def test_an_answer_to_another_question_is_not_accepted(world: World, genuine: Evidence):
    """Replays across nonce, tenant, server, record count, and of another's ciphertexts."""
    request = genuine.request
    for change in (
        {"nonce": bytes(32)},
        {"request_id": bytes(16)},
        {"client_id": "another tenant"},
        {"server_id": "another server"},
        {"log_head": bytes([1]) * 32},
    ):
        altered = replace(genuine, request=replace(request, **change))
        with pytest.raises(BlindproofError):
            verify(encode_evidence((altered,)), world.models["private"].digest)
    bodies = genuine.ciphertexts.bodies.copy()
    bodies[0, 0, 0] ^= np.uint64(1)
    ciphertexts = replace(genuine.ciphertexts, bodies=bodies)
    altered = replace(genuine, inputs=replace(genuine.inputs, ciphertexts=ciphertexts))
    with pytest.raises(BlindproofError):
        verify(encode_evidence((altered,)), world.models["private"].digest)
