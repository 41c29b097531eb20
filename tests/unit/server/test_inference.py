"""The honest engine, without the network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from client_sdk.disclosure import in_units
from client_sdk.encryption import CkksContext, decrypt, encrypt
from protocol.errors import ModelError, VerificationError
from protocol.inputs import RequestInputs
from protocol.keys import EnrolledKey, KeyRequest
from protocol.parameters import Packing
from server.inference import InferenceEngine, answer_relation
from server.jobs import Job, admit, request_of
from server.refusals import Refusal
from tests.integration.example_models import bundle as make_bundle
from tests.integration.example_models import exact_values, linear_model, records
from wire.inference import InferenceHeader, output_chunks
from wire.rpc import Reason
from zk_layers.prove import EnrolmentProver
from zk_layers.verify import verify_enrolment

SERVER = "server"


@pytest.fixture(scope="module")
def secret() -> np.ndarray:
    return np.random.default_rng(8).integers(-1, 2, 8192).astype(np.int8)


@pytest.fixture(scope="module")
def key(bundle, secret) -> EnrolledKey:
    request = KeyRequest("client", SERVER, 8192, bundle.card.key_moduli, 1)
    enrolled, proof = EnrolmentProver(request, secret).answer(bytes(32))
    verify_enrolment(enrolled, proof)
    return enrolled


def header(bundle, key, packing: Packing, **changes: object) -> InferenceHeader:
    fields = {
        "request_id": bytes(16),
        "nonce": bytes(32),
        "client_id": "client",
        "server_id": SERVER,
        "model_digest": bundle.digest,
        "registration_digest": bundle.registration_digest,
        "key_digest": key.digest if key else bytes(32),
        "packing": packing,
        "records": 1,
        "ciphertexts": len(bundle.card.features) if packing is Packing.BATCH else 1,
        **changes,
    }
    return InferenceHeader(**fields)


def job(bundle, key, secret, packing: Packing, rows: np.ndarray) -> tuple[Job, object]:
    context = CkksContext(bundle.card.profile(packing).parameters).with_secret(secret)
    inputs = RequestInputs.encrypted_only(encrypt(context, bundle.card, packing, rows))
    request = request_of(header(bundle, key, packing, records=len(rows)), bundle, inputs)
    return Job(bundle, key, request, inputs), context


@pytest.fixture(params=list(Packing), ids=str)
def packing(request) -> Packing:
    return request.param


def test_outputs_decrypt_to_the_integer_model(bundle, key, secret, packing):
    rows = records(1)
    work, context = job(bundle, key, secret, packing, rows)
    response = InferenceEngine(bytes(32)).answer(work)
    bounds = bundle.card.bounds(packing)
    decrypted = decrypt(context, bundle.card, response.outputs)[:1]
    values = in_units(decrypted, bounds) * bundle.card.unit
    tolerance = bounds.error * 2.0**-bounds.output_scale_log2 * bundle.card.unit
    assert np.abs(values - exact_values(bundle, rows)).max() <= tolerance


@pytest.mark.accepts("C-27")
def test_the_same_request_gives_the_same_outputs_and_another_proof(bundle, key, secret, packing):
    """Repeats must not be averaged away; proofs must not share randomness."""
    engine = InferenceEngine(bytes(32))
    work, _ = job(bundle, key, secret, packing, records(1))
    again = replace(work, request=replace(work.request, nonce=bytes([1]) * 32))
    first, second = engine.answer(work), engine.answer(again)
    for one, other in zip(output_chunks(first.outputs), output_chunks(second.outputs), strict=True):
        assert np.array_equal(one, other)
    assert first.proof != second.proof
    assert engine.answer(work).proof != first.proof


@pytest.mark.rejects("C-27")
def test_another_server_secret_gives_other_noise(bundle, key, secret, packing):
    work, _ = job(bundle, key, secret, packing, records(1))
    one, other = (InferenceEngine(bytes([byte]) * 32).answer(work).outputs for byte in (1, 2))
    assert not np.array_equal(output_chunks(one)[0], output_chunks(other)[0])


def test_a_public_answer_has_no_proof_and_no_noise(public_bundle, secret, packing):
    work, _ = job(public_bundle, None, secret, packing, records(1))
    first, second = (InferenceEngine(bytes([byte]) * 32).answer(work) for byte in (1, 2))
    assert first.proof == b""
    for one, other in zip(output_chunks(first.outputs), output_chunks(second.outputs), strict=True):
        assert np.array_equal(one, other)


def test_times_are_reported(bundle, key, secret):
    work, _ = job(bundle, key, secret, Packing.SINGLE, records(1))
    timings = InferenceEngine(bytes(32)).answer(work).timings
    assert min(timings.expand, timings.evaluate, timings.sanitise, timings.prove) > 0


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"server_id": "other"}, Reason.IDENTITY_REFUSED),
        ({"client_id": "other"}, Reason.KEY_UNFIT),
        ({"registration_digest": bytes(32)}, Reason.REQUEST_REFUSED),
        ({"ciphertexts": 0}, Reason.REQUEST_REFUSED),
        ({"ciphertexts": 2**32 - 1}, Reason.REQUEST_REFUSED),
    ],
)
def test_a_header_is_judged_before_its_ciphertexts(bundle, key, packing, changes, reason):
    admit(header(bundle, key, packing), bundle, key, SERVER)
    with pytest.raises(Refusal) as caught:
        admit(header(bundle, key, packing, **changes), bundle, key, SERVER)
    assert caught.value.reason is reason


def test_a_public_model_takes_no_key(public_bundle, packing):
    admit(header(public_bundle, None, packing), public_bundle, None, SERVER)
    changed = header(public_bundle, None, packing, key_digest=bytes([1]) * 32)
    with pytest.raises(Refusal) as caught:
        admit(changed, public_bundle, None, SERVER)
    assert caught.value.reason is Reason.KEY_UNFIT


def test_a_key_over_other_primes_or_too_few_is_refused(bundle, key):
    from fhe_layers.moduli import modulus_chain

    foreign = KeyRequest("client", SERVER, 16384, modulus_chain(16384, 3)[0], 1)
    short = KeyRequest("client", SERVER, 8192, bundle.card.key_moduli[:1], 1)
    for request in (foreign, short):
        shape = (1, len(request.moduli), request.ring_degree)
        other = EnrolledKey(request, bytes(32), bytes(32), np.zeros(shape, dtype=np.uint64))
        with pytest.raises(Refusal) as caught:
            admit(header(bundle, other, Packing.BATCH), bundle, other, SERVER)
        assert caught.value.reason is Reason.KEY_UNFIT


def test_a_packing_that_is_not_offered_is_refused(key):
    batch_only = make_bundle(linear_model(), packings=(Packing.BATCH,))
    with pytest.raises(ModelError, match="does not offer"):
        admit(header(batch_only, key, Packing.SINGLE), batch_only, key, SERVER)


def test_the_enrolment_of_a_malicious_key_is_refused(bundle, secret):
    """a = 0, or large noise, would give the sanitiser's u away."""
    request = KeyRequest("client", SERVER, 8192, bundle.card.key_moduli, 1)
    enrolled, proof = EnrolmentProver(request, secret).answer(bytes(32))
    moduli = np.array(request.moduli, dtype=np.uint64)[None, :, None]
    for b in (np.zeros_like(enrolled.b), (enrolled.b + np.uint64(1 << 34)) % moduli):
        with pytest.raises(VerificationError):
            verify_enrolment(EnrolledKey(request, enrolled.root, bytes(32), b), proof)


def test_noise_and_weights_are_in_no_repr(bundle, key, secret, packing):
    engine = InferenceEngine(bytes(32))
    work, _ = job(bundle, key, secret, packing, records(1))
    sanitised = engine.sanitise(work, engine.evaluate(work, work.inputs.words))
    witness = answer_relation(work, sanitised.outputs).witness(sanitised.witness)
    for hidden in (sanitised, sanitised.witness, witness):
        assert "array" not in repr(hidden)
