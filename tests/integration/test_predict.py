"""Honest predictions over TLS with real ciphertexts."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from blindproof.demo.cheats import Cheat
from client_sdk import (
    AsyncClient,
    DecryptionError,
    EncodingError,
    EnrolmentError,
    KeyStore,
    KeyStoreError,
    ModelError,
    Phase,
    RequestError,
    VerificationError,
    verify_evidence,
)
from client_sdk.disclosure import DISCLOSURE_LIMIT
from client_sdk.evidence import encode_evidence
from client_sdk.keystore import Snapshot
from protocol.parameters import Packing
from tests.integration.conftest import PASSPHRASE, World
from tests.integration.example_models import exact_values, records


@pytest.fixture(autouse=True)
def honest(world: World) -> None:
    world.engine.cheat = Cheat.NONE


def never() -> np.ndarray:
    raise AssertionError("the store has no secret")


def present(keys: KeyStore) -> Snapshot:
    """The secrets of a store that has been used."""
    ring, _ = keys._read().ternary[0]
    return keys.snapshot(ring, never)


@pytest.mark.accepts("C-18")
@pytest.mark.accepts("C-29")
@pytest.mark.accepts("C-40")
@pytest.mark.parametrize("model", ["private", "public", "two outputs"])
@pytest.mark.parametrize("packing", ["batch", "single"])
def test_released_values_stay_within_the_proved_bound(world: World, model: str, packing: str):
    rows = records(1 if packing == "single" else 50)
    with world.client(model) as client:
        result = client.predict(rows, packing=packing)
    error = np.abs(result.values - exact_values(world.models[model], rows)).max()
    assert error <= result.error_bound
    assert result.soundness_bits >= 100
    assert result.precision_bits >= 16
    assert result.evidence[0].request.packing is Packing(packing)
    assert (len(result.proof) > 0) == (model != "public")
    assert result.sent_bytes > 0
    assert result.received_bytes > len(result.proof)


@pytest.mark.accepts("C-39")
def test_phases_come_in_order_and_decryption_after_verification(world: World):
    with world.client() as client:
        client.predict(records(2))
    assert world.phases[-5:] == [
        Phase.ENCRYPT,
        Phase.EXCHANGE,
        Phase.VERIFY,
        Phase.DECRYPT,
        Phase.RELEASE,
    ]


def test_auto_packs_one_record_alone_and_several_together(world: World):
    with world.client() as client:
        one, two = client.predict(records(1)), client.predict(records(2))
    assert one.evidence[0].request.packing is Packing.SINGLE
    assert two.evidence[0].request.packing is Packing.BATCH


def test_several_records_in_single_packing_are_several_requests(world: World):
    rows = records(3)
    with world.client() as client:
        result = client.predict(rows, packing="single")
    assert len(result.proofs) == 3
    assert len({answer.request.nonce for answer in result.evidence}) == 3
    assert np.abs(result.values - exact_values(world.models["private"], rows)).max() <= (
        result.error_bound
    )


def test_more_records_than_slots_are_split(world: World):
    rows = records(4100)
    with world.client("public") as client:
        result = client.predict(rows)
    assert [answer.request.records for answer in result.evidence] == [4096, 4]
    assert np.abs(result.values - exact_values(world.models["public"], rows)).max() <= (
        result.error_bound
    )


def test_array_frame_and_dicts_are_the_same_records(world: World):
    rows = records(4)
    frame = pd.DataFrame(rows, columns=["x0", "x1", "x2"])[["x2", "x0", "x1"]]
    with world.client() as client:
        results = [client.predict(form) for form in (rows, frame, frame.to_dict(orient="records"))]
    for result in results[1:]:
        assert result.labels == results[0].labels
        assert np.abs(result.values - results[0].values).max() <= 2 * result.error_bound


def test_labels_and_probabilities_follow_the_link(world: World):
    rows = records(20)
    with world.client() as client:
        logistic = client.predict(rows)
    with world.client("public") as client:
        argmax = client.predict(rows)
    exact = exact_values(world.models["private"], rows)[:, 0]
    assert logistic.labels == tuple("yes" if value > 0 else "no" for value in exact)
    assert logistic.probabilities[:, 1] == pytest.approx(1 / (1 + np.exp(-exact)), abs=1e-6)
    best = exact_values(world.models["public"], rows).argmax(axis=1)
    assert argmax.labels == tuple(f"class {index}" for index in best)
    assert argmax.probabilities is None


@pytest.mark.accepts("C-42")
def test_released_again_from_the_same_output_is_the_same_value(world: World):
    with world.client() as client:
        result = client.predict(records(2))
    raw = result.raw_values(i_understand_raw_values_can_reveal_the_key=True)
    assert not np.array_equal(raw, result.values)
    assert np.abs(raw - result.values).max() <= result.error_bound


@pytest.mark.accepts("C-26")
def test_enrolment_happens_once(world: World):
    with world.client() as client:
        client.predict(records(2))
    with world.client() as client:
        client.predict(records(2))
    assert Phase.ENROL not in world.phases


def test_a_key_enrolled_again_is_another_key(world: World):
    with world.client() as client:
        first, second = client.enrol(), client.enrol()
        assert first != second
        assert client.predict(records(1)).evidence[0].request.key_digest == second


def test_secrets_are_replaced_before_too_much_is_disclosed(world: World, fresh_keys, monkeypatch):
    monkeypatch.setattr("client_sdk.aio.DISCLOSURE_LIMIT", 5)
    keys, rows = fresh_keys(), records(3)
    with world.client(keys=keys) as client:
        first = client.predict(rows)
        epoch = present(keys).epoch
        assert keys.disclosed == 3
        second = client.predict(rows)
    assert world.phases.count(Phase.ENROL) == 2
    assert keys.disclosed == 3
    assert present(keys).epoch != epoch
    assert first.evidence[0].request.key_digest != second.evidence[0].request.key_digest
    assert np.abs(second.values - first.values).max() <= 2 * first.error_bound


@pytest.mark.accepts("C-38")
def test_a_public_model_takes_no_key(world: World):
    with world.client("public") as client, pytest.raises(ModelError, match="needs no enrolled"):
        client.enrol()


@pytest.mark.accepts("C-44")
def test_evidence_verifies_offline_and_binds_the_model(world: World, tmp_path):
    path = tmp_path / "evidence.bin"
    with world.client() as client:
        result = client.predict(records(1))
        result.save(path)
    (answer,) = verify_evidence(path, result.model_digest.hex())
    assert answer.soundness_bits == result.soundness_bits
    assert answer.request_id == result.evidence[0].request.request_id
    with pytest.raises(ModelError, match=r"pinned model digest mismatch: .*, the evidence holds"):
        verify_evidence(path, world.models["two outputs"].digest)


def test_a_file_that_is_no_evidence_is_called_so(tmp_path):
    path = tmp_path / "letter.txt"
    path.write_text("dear sir")
    with pytest.raises(EncodingError, match=r"letter\.txt is not an evidence file"):
        verify_evidence(path, bytes(32))


def test_evidence_too_large_for_any_reader_is_not_written(world: World, tmp_path, monkeypatch):
    with world.client("public") as client:
        result = client.predict(records(2), packing="single")
    size = len(encode_evidence(result.evidence))
    monkeypatch.setattr("client_sdk.evidence.MAX_EVIDENCE_BYTES", size // 2)
    with pytest.raises(EncodingError, match="fewer records at a time"):
        result.save(tmp_path / "evidence.bin")
    assert list(tmp_path.iterdir()) == []


def test_a_result_does_not_keep_the_expanded_words(world: World):
    with world.client() as client:
        result = client.predict(records(2))
    for answer in result.evidence:
        assert "words" not in vars(answer.ciphertexts)


@pytest.mark.parametrize("field", ["proof", "outputs", "bodies", "nonce"])
def test_altered_evidence_is_refused(world: World, tmp_path, field: str):
    path = tmp_path / "evidence.bin"
    with world.client() as client:
        result = client.predict(records(1))
    evidence = result.evidence[0]
    if field == "proof":
        object.__setattr__(evidence, "proof", bytes([evidence.proof[0] ^ 1]) + evidence.proof[1:])
    elif field == "outputs":
        evidence.outputs.body[0, 0] ^= np.uint64(1)
    elif field == "bodies":
        evidence.ciphertexts.bodies[0, 0, 0] ^= np.uint64(1)
    else:
        object.__setattr__(evidence.request, "nonce", bytes(32))
    path.write_bytes(encode_evidence((evidence,)))
    with pytest.raises(VerificationError):
        verify_evidence(path, result.model_digest)


@pytest.mark.rejects("C-44")
def test_evidence_under_a_key_the_server_made_up_is_refused(world: World, tmp_path):
    """b' = b + V(delta) shifts every answer by delta for a server that chose u = 1."""
    with world.client() as client:
        result = client.predict(records(1))
    (evidence,) = result.evidence
    key = evidence.enrolment.key
    shifted = replace(key, b=key.b.copy())
    for limb, prime in enumerate(key.request.moduli):
        shifted.b[0, limb] = (shifted.b[0, limb] + np.uint64(1)) % np.uint64(prime)
    forged = replace(
        evidence,
        request=replace(evidence.request, key_digest=shifted.digest),
        enrolment=replace(evidence.enrolment, key=shifted),
    )
    path = tmp_path / "evidence.bin"
    path.write_bytes(encode_evidence((forged,)))
    with pytest.raises(VerificationError):
        verify_evidence(path, result.model_digest)


@pytest.mark.rejects("C-44")
def test_evidence_under_another_key_than_the_pinned_one_is_refused(world: World, tmp_path):
    path = tmp_path / "evidence.bin"
    with world.client() as client:
        result = client.predict(records(1))
        result.save(path)
    (answer,) = verify_evidence(path, result.model_digest)
    assert verify_evidence(path, result.model_digest, answer.key_digest)
    with pytest.raises(EnrolmentError, match="expected"):
        verify_evidence(path, result.model_digest, bytes(32))


@pytest.mark.asyncio
async def test_the_asyncio_client_serves_concurrent_predictions(world: World):
    rows = [records(2, seed=seed) for seed in range(3)]
    async with AsyncClient(
        world.address, model=world.models["private"].digest, keys=world.keys, ca=world.ca
    ) as client:
        results = await asyncio.gather(*(client.predict(row) for row in rows))
    for row, result in zip(rows, results, strict=True):
        exact = exact_values(world.models["private"], row)
        assert np.abs(result.values - exact).max() <= result.error_bound


def rotate_once_at(world: World, keys: KeyStore, phase: Phase):
    """An observer: another process rotates the store when a phase begins, the first time."""
    waiting = [phase]

    def observe(now: Phase) -> None:
        world.phases.append(now)
        if now in waiting:
            waiting.clear()
            KeyStore(keys._path, passphrase=PASSPHRASE).rotate()

    return observe


@pytest.mark.accepts("C-47")
@pytest.mark.parametrize("phase", [Phase.ENROL, Phase.ENCRYPT, Phase.EXCHANGE, Phase.DECRYPT])
def test_a_rotation_in_the_midst_of_a_prediction_leaves_it_whole(
    world: World, fresh_keys, phase: Phase
):
    keys, rows = fresh_keys(), records(3)
    with world.client(keys=keys, observer=rotate_once_at(world, keys, phase)) as client:
        first, second = client.predict(rows), client.predict(rows)
    assert world.phases.count(Phase.ENROL) == 2
    exact = exact_values(world.models["private"], rows)
    for result in (first, second):
        assert np.abs(result.values - exact).max() <= result.error_bound
    same = first.key_digests == second.key_digests
    assert same == (phase is Phase.ENROL)  # there, it began again before anything was sent
    assert keys.disclosed == (6 if same else 3)
    (enrolled,) = keys.summary().enrolled
    assert enrolled[0] == second.key_digests[0]


def test_enrolling_survives_a_rotation(world: World, fresh_keys):
    keys = fresh_keys()
    with world.client(keys=keys, observer=rotate_once_at(world, keys, Phase.ENROL)) as client:
        digest = client.enrol()
        assert client.predict(records(1)).key_digests == (digest,)
    assert world.phases.count(Phase.ENROL) == 2


def test_a_store_that_is_rotated_without_end_is_an_error_and_nothing_is_sent(
    world: World, fresh_keys
):
    keys = fresh_keys()

    def observe(phase: Phase) -> None:
        world.phases.append(phase)
        if phase is Phase.ENROL:
            keys.rotate()

    with (
        world.client(keys=keys, observer=observe) as client,
        pytest.raises(KeyStoreError, match="again and again"),
    ):
        client.predict(records(1))
    assert set(world.phases) == {Phase.ENROL}


@pytest.mark.asyncio
async def test_concurrent_predictions_with_few_releases_left_are_all_right(
    world: World, fresh_keys, monkeypatch
):
    monkeypatch.setattr("client_sdk.aio.DISCLOSURE_LIMIT", 5)
    rows = [records(2, seed=seed) for seed in range(4)]
    stores = [fresh_keys(), fresh_keys()]  # two handles of one store, as two processes have
    clients = [
        AsyncClient(world.address, model=world.models["private"].digest, keys=store, ca=world.ca)
        for store in stores
    ]
    results = await asyncio.gather(
        *(clients[index % 2].predict(row) for index, row in enumerate(rows))
    )
    for client in clients:
        await client.close()
    per_key: Counter[bytes] = Counter()
    for row, result in zip(rows, results, strict=True):
        exact = exact_values(world.models["private"], row)
        assert np.abs(result.values - exact).max() <= result.error_bound
        per_key[result.key_digests[0]] += 2
    assert max(per_key.values()) <= 5
    assert len(per_key) >= 2


def test_releases_are_reserved_before_anything_is_sent(world: World, fresh_keys):
    keys, counted = fresh_keys(), []

    def observe(phase: Phase) -> None:
        if phase is Phase.ENCRYPT:
            counted.append(keys.disclosed)

    with world.client(keys=keys, observer=observe) as client:
        client.predict(records(3))
    assert counted == [3]


def test_more_values_than_one_key_may_release_are_refused(world: World, monkeypatch):
    assert DISCLOSURE_LIMIT > 1
    monkeypatch.setattr("client_sdk.aio.DISCLOSURE_LIMIT", 1)
    with world.client() as client, pytest.raises(RequestError, match="fewer records"):
        client.predict(records(2))
    assert Phase.EXCHANGE not in world.phases


def test_an_answer_under_a_key_of_another_secret_is_not_released(
    world: World, fresh_keys, monkeypatch
):
    """What the store's epochs prevent, forced: the verified answer decrypts to noise."""
    keys = fresh_keys()
    honest = KeyStore.snapshot

    def mixed(store: KeyStore, *arguments, **options) -> Snapshot:
        found = honest(store, *arguments, **options)
        return replace(found, secret=np.roll(found.secret, 1))

    with world.client(keys=keys) as client:
        client.enrol()
        monkeypatch.setattr(KeyStore, "snapshot", mixed)
        # Noise modulo Q looks possible about every third time where the largest answer is near Q/2,
        # as it is in single packing: of many answers one does not.
        for packing, count in (("single", 40), ("batch", 1)):
            with pytest.raises(DecryptionError, match="nothing was released"):
                client.predict(records(count), packing=packing)
