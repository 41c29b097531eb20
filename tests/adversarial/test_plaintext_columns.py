"""Servers that answer about other plaintext values than the client sent, and evidence that lies."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from blindproof.demo.cheats import Unscrupulous
from client_sdk.evidence import FORMAT, decode_evidence, encode_evidence
from client_sdk.verification import verify_answer
from protocol.ciphertexts import SeededCiphertexts
from protocol.encoding import Value, decode, encode
from protocol.errors import EncodingError, ShapeError, VerificationError
from protocol.inputs import RequestInputs
from protocol.parameters import Mode, Packing
from protocol.plaintext import NO_PLAINTEXT_FIELDS, PlaintextColumns
from server.inference import answer_relation
from server.jobs import Job
from tests.adversarial.malicious_prover import OTHER_POSITIONS, refusal, without
from tests.adversarial.plaintext_scenario import (
    AGE,
    DOSE,
    ENGINE,
    EXPANSION,
    STAY,
    WARD,
    altered,
    asked,
    asked_of,
    evidence_of,
    mixed_records,
    network_bundle,
    with_plaintext,
)
from wire.inference import Response, output_chunks
from zk_layers.checks import Check
from zk_layers.ligero.prover import prove

PACKINGS = pytest.mark.parametrize("packing", list(Packing), ids=str)
FORMS = pytest.mark.parametrize("expansion", [(), EXPANSION], ids=["units", "monomials"])
OLD, YOUNG = 63.0, 40.0
PLAINTEXT_FIELD = 6
"""Of an answer in an evidence file."""
REFUSALS = {Check.LINEAR, Check.LINEAR_SUM, Check.INTERVAL, Check.FREIVALDS, Check.SUM_CHECK}


@cache
def honest(packing: Packing, mode: Mode = Mode.PRIVATE, expansion=()) -> tuple[Job, Response]:
    """A patient of 63, and the answer."""
    raw = mixed_records(1 if packing is Packing.SINGLE else 3)
    raw[0, 1] = OLD
    raw[0, 4] = 3.0  # in the dose's bin from 2 to 5
    job = asked(packing, raw, mode, expansion)
    return job, ENGINE.answer(job)


def cheated(job: Job) -> Response:
    """The answer of a server that does not mind what its client sent."""
    with without(Check.STATEMENT):
        return ENGINE.answer(job)


def verdict(job: Job, response: Response) -> Check | None:
    return refusal(lambda: verify_answer(evidence_of(job, response)))


@pytest.mark.accepts("C-78")
@pytest.mark.accepts("C-77")
@PACKINGS
@FORMS
@pytest.mark.parametrize("mode", list(Mode), ids=str)
def test_an_honest_answer(packing, mode, expansion):
    assert verdict(*honest(packing, mode, expansion)) is None


@pytest.mark.rejects("C-78")
@PACKINGS
@FORMS
@pytest.mark.parametrize("mode", list(Mode), ids=str)
def test_a_server_that_evaluates_with_another_age(packing, mode, expansion):
    """Everything is honest, and proved, about a patient of 40; the request said 63."""
    job, _ = honest(packing, mode, expansion)
    younger = with_plaintext(job, altered(job, AGE, YOUNG), renamed=False)
    response = cheated(younger)
    assert verdict(younger, response) is Check.STATEMENT
    assert verdict(job, response) in REFUSALS


@pytest.mark.rejects("C-78")
@PACKINGS
def test_a_server_that_proves_the_true_statement_about_false_outputs(packing):
    """As above, but the proof is made for the client's own statement, by a prover with no shame."""
    job, _ = honest(packing)
    younger = with_plaintext(job, altered(job, AGE, YOUNG), renamed=False)
    sanitised = ENGINE.sanitise(younger, ENGINE.evaluate(younger, younger.inputs.words))
    relation = answer_relation(job, sanitised.outputs)
    witness = relation.witness(sanitised.witness)
    proof = prove(relation, witness, ENGINE.prover_key, Unscrupulous)
    timings = honest(packing)[1].timings
    assert verdict(job, Response(sanitised.outputs, proof, timings)) in REFUSALS


@pytest.mark.rejects("C-77")
@pytest.mark.rejects("C-78")
@pytest.mark.parametrize("mode", list(Mode), ids=str)
def test_a_network_evaluated_with_another_age(mode):
    raw = mixed_records(3)
    raw[0, 1] = OLD
    job = asked_of(network_bundle(mode), Packing.BATCH, raw)
    assert verdict(job, ENGINE.answer(job)) is None
    younger = with_plaintext(job, altered(job, AGE, YOUNG), renamed=False)
    response = cheated(younger)
    assert verdict(younger, response) is Check.STATEMENT
    assert verdict(job, response) in REFUSALS


@pytest.mark.rejects("C-77")
@PACKINGS
@pytest.mark.parametrize(("column", "value"), [(AGE, YOUNG), (DOSE, 3.5), (STAY, 20.0)])
def test_an_answer_about_other_values_replayed(packing, column, value):
    """Also where the values are encoded alike, as a dose of 3.5 and one of 3."""
    job, response = honest(packing)
    other = with_plaintext(job, altered(job, column, value))
    assert verdict(other, ENGINE.answer(other)) is None
    assert verdict(other, response) in OTHER_POSITIONS


@pytest.mark.rejects("C-77")
@PACKINGS
def test_an_answer_replayed_under_another_salt(packing):
    job, response = honest(packing)
    plaintext = job.inputs.plaintext
    other = with_plaintext(job, PlaintextColumns(plaintext.values, b"s" * 32))
    assert other.request.plaintext_digest != job.request.plaintext_digest
    assert verdict(other, response) in OTHER_POSITIONS


@pytest.mark.rejects("C-78")
@PACKINGS
def test_a_server_that_exchanges_two_columns(packing):
    """Age and stay have one range: nothing but the order tells them apart."""
    job, _ = honest(packing)
    values = job.inputs.plaintext.values.copy()
    values[[AGE, STAY]] = values[[STAY, AGE]]
    exchanged = PlaintextColumns(values, job.inputs.plaintext.salt)
    swapped = with_plaintext(job, exchanged, renamed=False)
    response = cheated(swapped)
    assert verdict(swapped, response) is Check.STATEMENT
    assert verdict(job, response) in REFUSALS


@pytest.mark.rejects("C-78")
@PACKINGS
def test_a_server_that_drops_what_it_knows(packing):
    """Plaintext inputs taken as zero."""
    job, _ = honest(packing)
    nothing = replace(job.inputs, encoder=lambda _: np.zeros_like(job.inputs.known))
    response = ENGINE.answer(replace(job, inputs=nothing))
    assert verdict(job, response) in REFUSALS


@pytest.mark.rejects("C-77")
def test_a_statement_without_the_columns_or_about_other_records():
    job, response = honest(Packing.BATCH)
    inputs = job.inputs
    anonymous = replace(job.request, plaintext_digest=NO_PLAINTEXT_FIELDS)
    for changes in (
        {"request": anonymous},
        {"request": replace(job.request, records=2)},
    ):
        assert verdict(replace(job, **changes), response) is Check.STATEMENT
    with pytest.raises(ShapeError):  # an input that is neither encrypted nor known
        replace(inputs, plaintext=None, known_inputs=())
    everything = RequestInputs.encrypted_only(
        SeededCiphertexts(
            inputs.ciphertexts.seeds * 4,
            np.tile(inputs.ciphertexts.bodies, (4, 1, 1)),
            inputs.moduli,
        )
    )
    request = replace(anonymous, input_digest=everything.digest)
    assert verdict(replace(job, inputs=everything, request=request), response) is Check.STATEMENT


# ---------------------------------------------------------------------------------- removed checks


@PACKINGS
@pytest.mark.rejects("C-77")
def test_the_digest_of_the_columns_is_what_stops_other_values(packing):
    """The server answers about 40 and proves it to a verifier who is shown 40."""
    job, _ = honest(packing)
    younger = with_plaintext(job, altered(job, AGE, YOUNG), renamed=False)
    response = cheated(younger)
    assert verdict(younger, response) is Check.STATEMENT
    with without(Check.STATEMENT):
        assert verdict(younger, response) is None, "accepted once the check is gone"


@pytest.mark.rejects("C-76")
def test_the_number_of_records_is_what_stops_longer_columns():
    """Values for three records under a request about two: answered and proved all the same."""
    job, _ = honest(Packing.BATCH)
    fewer = replace(job, request=replace(job.request, records=2))
    response = cheated(fewer)
    assert verdict(fewer, response) is Check.STATEMENT
    with without(Check.STATEMENT):
        assert verdict(fewer, response) is None, "accepted once the check is gone"


@pytest.mark.rejects("C-78")
def test_the_places_of_known_inputs_are_what_stops_others():
    """Everything sent is as the request says, and meets other weights."""
    job, _ = honest(Packing.BATCH)
    inputs = job.inputs
    count = len(inputs.encrypted)
    places = tuple(range(count)), tuple(range(count, count + len(inputs.known_inputs)))
    assert places != (inputs.encrypted, inputs.known_inputs)
    moved = replace(job, inputs=replace(inputs, encrypted=places[0], known_inputs=places[1]))
    response = cheated(moved)
    assert verdict(moved, response) is Check.STATEMENT
    assert verdict(job, response) in REFUSALS
    with without(Check.STATEMENT):
        assert verdict(moved, response) is None, "accepted once the check is gone"


@PACKINGS
@pytest.mark.rejects("C-76")
@pytest.mark.parametrize(("column", "value"), [(AGE, 91.0), (WARD, 0.5), (WARD, 3.0), (DOSE, -1.0)])
def test_the_declared_ranges_are_what_stops_other_values(packing, column, value, monkeypatch):
    """Values outside the card's ranges, honestly evaluated and proved: error bounds assume them."""
    job, _ = honest(packing)
    with monkeypatch.context() as patch:
        patch.setattr(PlaintextColumns, "require_declared", lambda *_: None)
        outside = with_plaintext(job, altered(job, column, value))
        data = encode_evidence((evidence_of(outside, ENGINE.answer(outside)),))
        assert refusal(lambda: verify_answer(decode_evidence(data)[0])) is None
    with pytest.raises(VerificationError) as refused:
        decode_evidence(data)
    assert refused.value.check == Check.STATEMENT
    assert str(value) not in str(refused.value)


# ---------------------------------------------------------------------------------------- evidence


def reopened(fields: tuple[Value, ...]) -> Check | None:
    """Verify an evidence file of one answer."""

    def verification() -> None:
        (evidence,) = decode_evidence(encode((FORMAT, (fields,))))
        verify_answer(evidence)

    return refusal(verification)


@PACKINGS
@pytest.mark.accepts("C-76")
@pytest.mark.rejects("C-77")
def test_evidence_with_another_salt_or_other_values(packing):
    job, response = honest(packing)
    _, (fields,) = decode(encode_evidence((evidence_of(job, response),)))
    assert reopened(fields) is None
    at = PLAINTEXT_FIELD
    salt, values = fields[at]
    raw = np.frombuffer(values, dtype="<f8").copy()
    assert raw[0] == OLD
    raw[0] = YOUNG
    for part in ((b"s" * 32, values), (salt, raw.tobytes())):
        assert reopened((*fields[:at], part, *fields[at + 1 :])) in OTHER_POSITIONS
    assert reopened((*fields[:at], None, *fields[at + 1 :])) is Check.STATEMENT


@pytest.mark.rejects("C-76")
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda salt, values: (salt, values[:-8]), id="a value short"),
        pytest.param(lambda salt, values: (salt, values + bytes(8)), id="a value long"),
        pytest.param(lambda salt, values: (salt[:-1], values), id="a short salt"),
        pytest.param(lambda salt, values: (salt, values, b""), id="a third part"),
        pytest.param(lambda salt, values: (salt, b"\xff" * 8 + values[8:]), id="NaN"),
        pytest.param(
            lambda salt, values: (salt, bytes(7) + b"\x80" + values[8:]), id="a negative zero"
        ),
        pytest.param(lambda salt, values: b"", id="bytes"),
    ],
)
def test_malformed_columns_in_evidence(change):
    job, response = honest(Packing.BATCH)
    form, (fields,) = decode(encode_evidence((evidence_of(job, response),)))
    at = PLAINTEXT_FIELD
    changed = (*fields[:at], change(*fields[at]), *fields[at + 1 :])
    with pytest.raises(EncodingError):
        decode_evidence(encode((form, (changed,))))


# ------------------------------------------------------------------------------------------- noise


def output_bytes(job: Job) -> bytes:
    return b"".join(chunk.tobytes() for chunk in output_chunks(ENGINE.answer(job).outputs))


@pytest.mark.accepts("C-80")
@PACKINGS
def test_noise_repeats_whatever_the_salt(packing):
    """Else a client would ask the same again and again and average the noise away."""
    job, _ = honest(packing)
    again = with_plaintext(job, PlaintextColumns(job.inputs.plaintext.values, b"s" * 32))
    assert again.request.plaintext_digest != job.request.plaintext_digest
    assert output_bytes(again) == output_bytes(job)


@pytest.mark.rejects("C-80")
@PACKINGS
def test_values_that_are_encoded_alike_give_no_fresh_noise(packing):
    job, _ = honest(packing)
    same = with_plaintext(job, altered(job, DOSE, 3.5))
    assert same.request.plaintext_digest != job.request.plaintext_digest
    assert output_bytes(same) == output_bytes(job)
    other = with_plaintext(job, altered(job, DOSE, 5.5))
    assert output_bytes(other) != output_bytes(job)


@pytest.mark.rejects("C-80")
def test_splitting_a_record_otherwise_gives_no_fresh_noise():
    """One sum of an encrypted and a known part, split in two ways."""
    job, _ = honest(Packing.SINGLE)
    moved = with_plaintext(job, altered(job, AGE, YOUNG)).inputs
    bodies = moved.ciphertexts.bodies.copy()
    for limb, prime in enumerate(moved.moduli):
        total = job.inputs.words[0, 0, limb].astype(object) - moved.known[0, limb].astype(object)
        bodies[0, limb] = (total % prime).astype(np.uint64)
    inputs = replace(moved, ciphertexts=replace(moved.ciphertexts, bodies=bodies))
    request = replace(
        job.request, input_digest=inputs.digest, plaintext_digest=inputs.plaintext_digest
    )
    again = replace(job, request=request, inputs=inputs)
    assert np.array_equal(inputs.words, job.inputs.words)
    assert inputs.digest != job.inputs.digest
    assert output_bytes(again) == output_bytes(job)
