"""Networks over TLS with real ciphertexts and proofs: answers within bounds, and refusals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import grpc
import numpy as np
import pytest

from blindproof.demo.cheats import Cheat
from blindproof.loopback import server_thread
from client_sdk import (
    Client,
    EncodingError,
    ModelError,
    Phase,
    RequestError,
    Result,
    VerificationError,
    verify_evidence,
)
from client_sdk.disclosure import disclosure_units
from client_sdk.evidence import decode_evidence, encode_evidence
from protocol.graph import (
    Add,
    Conv2d,
    Dense,
    Graph,
    Mul,
    Polynomial,
    Scale,
    Selection,
    SumPool,
    square,
)
from protocol.keys import KeyRequest
from protocol.parameters import Mode, Packing
from server.jobs import Job
from server.registry import ModelBundle, ModelRegistry
from tests.integration.conftest import World
from tests.integration.example_models import (
    network_bundle,
    network_profile,
    network_values,
    records,
)
from tests.integration.raw_requests import messages_like
from wire import rpc
from wire.enrolment import decode_challenge, encode_begin, encode_completion
from wire.inference import BatchOutputs, Response
from wire.rpc import Reason
from zk_layers.checks import Check
from zk_layers.prove import EnrolmentProver

PERCEPTRON = Graph(3, (Dense(0, 4), square(1), Dense(2, 1)))
CONVOLUTION = Graph(16, (Conv2d(0, (1, 4, 4), 2, (3, 3), (1, 1), (0, 0)), square(1), Dense(2, 2)))
TWO_SQUARINGS = Graph(2, (Dense(0, 2), square(1), Dense(2, 2), square(3), Dense(4, 1)))
EVERY_LAYER = Graph(
    8,
    (
        SumPool(0, (2, 2, 2), (1, 2), (1, 2)),  # 1: 4 units
        Selection(0, 4),  # 2
        Add(1, 2),  # 3
        Scale(3, -3),  # 4
        Mul(3, 4),  # 5: size 3
        Polynomial(1, (5, -2, 3), 2),  # 6: size 3
        Add(5, 6),  # 7
        Dense(7, 2),  # 8
    ),
)
BUNDLES: dict[str, Callable[[], ModelBundle]] = {
    "perceptron": lambda: network_bundle(PERCEPTRON, network_profile(3, 60, 101)),
    "public perceptron": lambda: network_bundle(
        PERCEPTRON, network_profile(3, 60, None), Mode.PUBLIC
    ),
    "convolution": lambda: network_bundle(CONVOLUTION, network_profile(3, 58, 101), link="argmax"),
    "public convolution": lambda: network_bundle(
        CONVOLUTION, network_profile(3, 58, None), Mode.PUBLIC, link="argmax"
    ),
    "rescaled": lambda: network_bundle(
        TWO_SQUARINGS, network_profile(6, 56, 130, dropped=2, degree=16384)
    ),
    "every layer": lambda: network_bundle(EVERY_LAYER, network_profile(3, 72, 101)),
    "public, every layer": lambda: network_bundle(
        EVERY_LAYER, network_profile(3, 72, None), Mode.PUBLIC
    ),
}
PRIVATE = [name for name in BUNDLES if not name.startswith("public")]


@pytest.fixture(scope="module")
def published(world: World) -> World:
    """The world with networks in it: a serving registry finds what is published meanwhile."""
    registry = ModelRegistry(world.settings.models)
    for name, bundle in BUNDLES.items():
        world.models[name] = bundle()
        registry.publish(world.models[name])
    return world


@pytest.fixture(autouse=True)
def honest(world: World) -> None:
    world.engine.cheat = Cheat.NONE


def rows_of(world: World, model: str, count: int = 3) -> np.ndarray:
    return records(count, len(world.models[model].card.features))


@pytest.mark.parametrize("model", list(BUNDLES))
def test_released_values_stay_within_the_proved_bound(published: World, model: str):
    rows = rows_of(published, model, 7)
    with published.client(model) as client:
        result = client.predict(rows)
    error = np.abs(result.values - network_values(published.models[model], rows)).max()
    assert error <= result.error_bound
    assert result.precision_bits >= 8
    assert result.soundness_bits >= 100
    assert len(result.proof) > 0
    assert published.phases[-5:] == [
        Phase.ENCRYPT,
        Phase.EXCHANGE,
        Phase.VERIFY,
        Phase.DECRYPT,
        Phase.RELEASE,
    ]


@pytest.mark.rejects("C-75")
@pytest.mark.parametrize("model", ["perceptron", "public perceptron"])
def test_a_network_that_hides_the_key_less_than_wanted_is_refused_before_any_work(
    published: World, model: str
):
    published.phases.clear()
    with (
        published.client(model, min_disclosure_log2=20) as client,
        pytest.raises(ModelError, match=r"2\^8, this client wants 2\^20.*less precision"),
    ):
        client.predict(rows_of(published, model))
    assert published.phases == []


@pytest.mark.accepts("C-75")
def test_values_of_networks_are_counted_by_what_they_disclose(published: World, fresh_keys):
    keys, card = fresh_keys(), published.models["perceptron"].card
    with published.client("perceptron", keys=keys, min_disclosure_log2=8) as client:
        result = client.predict(rows_of(published, "perceptron"))
    assert result.disclosure_log2 == card.profiles[0].disclosure_log2 == 8
    assert keys.disclosed == disclosure_units(card, Packing.BATCH, 3) > 3 * 100


def test_an_answer_has_the_size_and_the_limbs_its_card_says(published: World):
    with published.client("rescaled") as client:
        result = client.predict(rows_of(published, "rescaled"))
    (evidence,) = result.evidence
    assert isinstance(evidence.outputs, BatchOutputs)
    assert evidence.outputs.words.shape == (1, 5, 4, 16384)
    assert evidence.enrolment is not None
    assert evidence.enrolment.key.request.keys == 4


def test_labels_follow_the_link(published: World):
    rows = rows_of(published, "convolution", 20)
    with published.client("convolution") as client:
        result = client.predict(rows)
    best = network_values(published.models["convolution"], rows).argmax(axis=1)
    assert result.labels == tuple(f"class {index}" for index in best)


@pytest.mark.parametrize("model", ["perceptron", "public perceptron", "rescaled"])
def test_evidence_of_a_network_is_verified_offline(published: World, model: str, tmp_path):
    with published.client(model) as client:
        result = client.predict(rows_of(published, model))
    result.save(tmp_path / "evidence")
    (answer,) = verify_evidence(tmp_path / "evidence", result.model_digest)
    assert answer.records == 3
    assert answer.soundness_bits == result.soundness_bits
    again = decode_evidence(encode_evidence(result.evidence))
    assert encode_evidence(again) == encode_evidence(result.evidence)


def test_one_store_serves_models_over_several_rings(published: World, fresh_keys):
    keys = fresh_keys()
    models = ("private", "perceptron", "rescaled")
    enrolments = []
    for _ in range(2):
        for model in models:
            with published.client(model, keys=keys) as client:
                client.predict(rows_of(published, model, 2))
            enrolments.append(published.phases.count(Phase.ENROL))
    # The first two are over one ring, but the second needs two public keys and the first just one.
    assert enrolments == [1, 1, 1, 0, 0, 0]
    assert [request.keys for _, request in keys.summary().enrolled] == [4, 2, 1]
    assert len(keys._read().ternary) == 2


def test_a_network_is_asked_in_batches_only(published: World):
    with published.client("perceptron") as client:
        assert client.predict(rows_of(published, "perceptron", 1)).evidence[0].request.packing is (
            Packing.BATCH
        )
        with pytest.raises(ModelError, match="does not offer packing 'single'"):
            client.predict(rows_of(published, "perceptron", 1), packing="single")


def test_progress_is_told_from_nothing_to_all(published: World):
    parts: list[float] = []
    with published.client("perceptron", meter=parts.append) as client:
        client.predict(rows_of(published, "perceptron"))
    assert parts[-1] == 1.0
    assert 0 < min(parts) < 0.5
    assert max(parts) == 1.0


# ------------------------------------------------------------------- what the client refuses


def refused(world: World, model: str) -> VerificationError:
    """Predict with a server that cheats; nothing may be decrypted."""
    world.phases.clear()
    with world.client(model) as client, pytest.raises(VerificationError) as caught:
        client.predict(rows_of(world, model))
    assert Phase.DECRYPT not in world.phases
    return caught.value


@pytest.fixture
def tampering(published: World, monkeypatch):
    """Replaces the outputs of honest answers."""

    def tamper(change: Callable[[np.ndarray, Job], np.ndarray]) -> None:
        answer = published.engine.answer

        def changed(job: Job) -> Response:
            response = answer(job)
            words = np.ascontiguousarray(change(response.outputs.words.copy(), job))
            return Response(BatchOutputs(words), response.proof, response.timings)

        monkeypatch.setattr(published.engine, "answer", changed)

    return tamper


@pytest.mark.parametrize("model", ["perceptron", "public perceptron", "rescaled"])
@pytest.mark.parametrize(
    "change",
    [
        lambda words, job: words[:, :-1],
        lambda words, job: np.concatenate([words, words[:, :1]], axis=1),
        lambda words, job: words[:, :, :-1],
        lambda words, job: np.concatenate([words, words[:, :, :1]], axis=2),
        lambda words, job: words[..., :-1],
        lambda words, job: np.concatenate([words, words]),
    ],
    ids=["size - 1", "size + 1", "limbs - 1", "limbs + 1", "degree - 1", "outputs + 1"],
)
def test_outputs_of_another_shape_are_refused_while_receiving(
    published: World, tampering, model: str, change
):
    tampering(change)
    assert refused(published, model).check == str(Check.CANONICAL)
    assert Phase.VERIFY not in published.phases


@pytest.mark.parametrize("limb", [0, -1])
def test_words_that_are_not_canonical_are_refused_while_receiving(
    published: World, tampering, limb: int
):
    def change(words: np.ndarray, job: Job) -> np.ndarray:
        words[0, -1, limb, 5] = job.profile.kept_moduli[limb]
        return words

    tampering(change)
    assert refused(published, "rescaled").check == str(Check.CANONICAL)
    assert Phase.VERIFY not in published.phases


@pytest.mark.parametrize("model", ["perceptron", "public perceptron", "rescaled"])
@pytest.mark.parametrize("place", [(0, 0, 0, 0), (0, -1, -1, -1)])
def test_an_altered_word_is_refused(published: World, tampering, model: str, place):
    def change(words: np.ndarray, job: Job) -> np.ndarray:
        words[place] = (int(words[place]) + 1) % job.profile.kept_moduli[place[2]]
        return words

    tampering(change)
    refused(published, model)
    assert Phase.VERIFY in published.phases


def test_swapped_outputs_are_refused(published: World, tampering):
    tampering(lambda words, job: words[::-1])
    refused(published, "convolution")


@pytest.mark.parametrize("cheat", [Cheat.OTHER_MODEL, Cheat.REPLAY])
def test_another_models_and_an_older_answer_are_refused(published: World, cheat: Cheat):
    with published.client("perceptron") as client:
        client.predict(rows_of(published, "perceptron"))
    published.engine.cheat = cheat
    refused(published, "perceptron")


@pytest.mark.parametrize("model", ["perceptron", "public perceptron"])
@pytest.mark.parametrize("change", [lambda p: b"", lambda p: p[:-1], lambda p: p + b"\0"])
def test_a_proof_of_another_length_is_refused(published: World, monkeypatch, model: str, change):
    prove = published.engine.prove
    monkeypatch.setattr(
        published.engine, "prove", lambda job, sanitised: change(prove(job, sanitised))
    )
    assert refused(published, model).check == str(Check.SIZE)


def test_evidence_with_outputs_of_another_size_is_no_evidence(published: World):
    with published.client("perceptron") as client:
        (evidence,) = client.predict(rows_of(published, "perceptron")).evidence
    shorter = replace(evidence, outputs=BatchOutputs(evidence.outputs.words[:, :-1]))
    with pytest.raises(EncodingError):
        decode_evidence(encode_evidence((shorter,)))


# ------------------------------------------------------------------- what the server refuses


@pytest.fixture(scope="module")
def asked(published: World) -> Result:
    """An honest answer of the perceptron, whose request is sent again with changes."""
    published.engine.cheat = Cheat.NONE
    with published.client("perceptron") as client:
        return client.predict(rows_of(published, "perceptron"))


def outcome(world: World, messages: list[bytes]) -> tuple[str, str]:
    """Reason and details of what came back."""
    credentials = grpc.ssl_channel_credentials(world.ca.read_bytes())
    with grpc.secure_channel(world.address, credentials) as channel:
        try:
            list(channel.stream_stream(rpc.INFER.path)(iter(messages), timeout=60))
        except grpc.RpcError as error:
            reason = dict(error.trailing_metadata()).get(rpc.REASON_METADATA, "")
            return str(reason), str(error.details())
    return "", ""


def test_a_key_with_too_few_pairs_is_refused_and_the_number_is_said(published: World, asked):
    evidence = asked.evidence[0]
    card = evidence.request.card
    wanted = KeyRequest(
        evidence.request.client_id, "test server", card.ring_degree, card.key_moduli, 1
    )
    secret = np.random.default_rng(5).integers(-1, 2, card.ring_degree).astype(np.int8)
    prover = EnrolmentProver(wanted, secret)
    credentials = grpc.ssl_channel_credentials(published.ca.read_bytes())
    with grpc.secure_channel(published.address, credentials) as channel:
        begun = channel.unary_unary(rpc.BEGIN_ENROLMENT.path)(encode_begin(wanted, prover.root))
        challenge = decode_challenge(begun)
        key, proof = prover.answer(challenge.nonce)
        messages = encode_completion(challenge.session_id, key.b, proof)
        channel.stream_unary(rpc.COMPLETE_ENROLMENT.path)(messages, timeout=60)
    request = replace(evidence.request, key_digest=key.digest)
    reason, detail = outcome(published, messages_like(evidence, request))
    assert reason == Reason.KEY_UNFIT
    assert "enrol again with 2" in detail


@pytest.mark.parametrize("keep", [slice(0, -1), slice(1, None), slice(0, 1)])
def test_a_request_with_ciphertexts_missing_is_refused(published: World, asked, keep):
    header, *rest = messages_like(asked.evidence[0])
    assert outcome(published, [header, *rest[keep]])[0] == Reason.MALFORMED


def test_a_single_record_is_not_for_networks(published: World, asked):
    from wire.v1 import inference_pb2 as pb

    header, *rest = messages_like(asked.evidence[0])
    message = pb.InferRequest.FromString(header)
    message.header.packing = pb.PACKING_SINGLE
    reason, detail = outcome(published, [message.SerializeToString(), *rest])
    assert reason == Reason.REQUEST_REFUSED
    assert "does not offer" in detail


def test_a_call_above_the_memory_limit_is_refused_before_it_sends_ciphertexts(published: World):
    settings = published.settings.model_copy(update={"max_memory_bytes": 2 << 20})
    bundle = published.models["public perceptron"]
    with (
        server_thread(settings, published.engine) as address,
        Client(address, model=bundle.digest, keys=published.keys, ca=published.ca) as client,
        pytest.raises(RequestError, match="this server allows 2 MiB") as caught,
    ):
        client.predict(rows_of(published, "public perceptron"))
    assert "request-refused" in str(caught.value)
