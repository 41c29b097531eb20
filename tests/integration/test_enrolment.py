"""Enrolment over TLS: what a malicious or clumsy client cannot do."""

from __future__ import annotations

import grpc
import numpy as np
import pytest

from blindproof.demo.cheats import Cheat
from client_sdk import EnrolmentError, Phase
from protocol.keys import EnrolledKey, KeyRequest, expand_a
from server.keys import EnrolledKeyStore
from tests.integration.conftest import World
from tests.integration.example_models import records
from wire import rpc
from wire.enrolment import decode_challenge, encode_begin, encode_completion
from wire.rpc import Reason
from zk_layers.prove import EnrolmentProver

CLIENT = "enrolment tester"


class Enrolling:
    """The two procedures, called with whatever bytes a test likes."""

    def __init__(self, world: World, channel: grpc.Channel) -> None:
        card = world.models["private"].card
        self.request = KeyRequest(
            CLIENT, world.settings.server_id, card.ring_degree, card.key_moduli, 1
        )
        self.secret = np.random.default_rng(5).integers(-1, 2, card.ring_degree).astype(np.int8)
        self._channel = channel

    def begin(self, data: bytes) -> tuple[bytes, bytes]:
        challenge = decode_challenge(self._channel.unary_unary(rpc.BEGIN_ENROLMENT.path)(data))
        return challenge.session_id, challenge.nonce

    def complete(self, messages) -> tuple[grpc.StatusCode, str]:
        try:
            self._channel.stream_unary(rpc.COMPLETE_ENROLMENT.path)(iter(messages), timeout=20)
        except grpc.RpcError as error:
            return error.code(), dict(error.trailing_metadata()).get(rpc.REASON_METADATA, "")
        return grpc.StatusCode.OK, ""

    def honest(self) -> tuple[bytes, EnrolledKey, bytes]:
        prover = EnrolmentProver(self.request, self.secret)
        session, nonce = self.begin(encode_begin(self.request, prover.root))
        return session, *prover.answer(nonce)


@pytest.fixture(autouse=True)
def honest(world: World) -> None:
    world.engine.cheat = Cheat.NONE


@pytest.fixture
def enrolling(world: World):
    credentials = grpc.ssl_channel_credentials(world.ca.read_bytes())
    with grpc.secure_channel(world.address, credentials) as channel:
        yield Enrolling(world, channel)


UNKNOWN = (grpc.StatusCode.FAILED_PRECONDITION, Reason.ENROLMENT_UNKNOWN)
REFUSED = (grpc.StatusCode.INVALID_ARGUMENT, Reason.PROOF_REFUSED)
MALFORMED = (grpc.StatusCode.INVALID_ARGUMENT, Reason.MALFORMED)


def test_an_honest_key_is_enrolled_and_a_session_serves_once(enrolling: Enrolling):
    session, key, proof = enrolling.honest()
    assert enrolling.complete(encode_completion(session, key.b, proof))[0] is grpc.StatusCode.OK
    assert enrolling.complete(encode_completion(session, key.b, proof)) == UNKNOWN


def test_an_unknown_session_is_refused(enrolling: Enrolling):
    _, key, proof = enrolling.honest()
    assert enrolling.complete(encode_completion(bytes(16), key.b, proof)) == UNKNOWN


def test_a_key_with_large_noise_is_refused(enrolling: Enrolling):
    """b = -a s + 2^34 would reveal the sanitiser's noise."""
    session, key, proof = enrolling.honest()
    moduli = np.array(key.request.moduli, dtype=np.uint64)[None, :, None]
    shifted = (key.b + np.uint64(1 << 34)) % moduli
    assert enrolling.complete(encode_completion(session, shifted, proof)) == REFUSED


def test_a_proof_for_another_nonce_is_refused(enrolling: Enrolling):
    prover = EnrolmentProver(enrolling.request, enrolling.secret)
    first, nonce = enrolling.begin(encode_begin(enrolling.request, prover.root))
    second, other = enrolling.begin(encode_begin(enrolling.request, prover.root))
    assert nonce != other
    assert not np.array_equal(
        expand_a(enrolling.request, prover.root, nonce),
        expand_a(enrolling.request, prover.root, other),
    )
    key, proof = prover.answer(nonce)
    assert enrolling.complete(encode_completion(second, key.b, proof)) == REFUSED
    assert enrolling.complete(encode_completion(first, key.b, proof))[0] is grpc.StatusCode.OK


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m[1:],
        lambda m: m[:-1],
        lambda m: [*m, m[-1]],
        lambda m: [m[0], *reversed(m[1:4]), *m[4:]],
        lambda m: [m[0], m[1], m[1], *m[3:]],
        lambda m: [m[0], *m[4:], *m[1:4]],
        lambda m: [m[0], m[0], *m[1:]],
        lambda m: [m[0], m[1][:-8], *m[2:]],
        lambda m: [],
    ],
)
def test_a_malformed_completion_is_refused(enrolling: Enrolling, change):
    session, key, proof = enrolling.honest()
    messages = list(encode_completion(session, key.b, proof))
    assert enrolling.complete(change(messages)) == MALFORMED


@pytest.mark.parametrize("packing", ["single", "batch"])
def test_a_key_the_server_lost_is_forgotten_and_enrolled_again(
    world: World, fresh_keys, monkeypatch, packing: str
):
    keys, rows = fresh_keys(), records(1)
    known = EnrolledKeyStore.get

    with world.client(keys=keys) as client:
        first = client.predict(rows, packing=packing)
        lost = first.key_digests[0]

        def get(store: EnrolledKeyStore, digest: bytes) -> EnrolledKey:
            return known(store, bytes(32) if digest == lost else digest)

        monkeypatch.setattr(EnrolledKeyStore, "get", get)
        world.phases.clear()
        with pytest.raises(EnrolmentError, match=r"client\.enrol\(\) or `blindproof enrol`"):
            client.predict(rows, packing=packing)
        assert Phase.ENROL not in world.phases  # nothing is repeated behind the caller's back
        assert keys.summary().enrolled == ()
        second = client.predict(rows, packing=packing)
    assert second.key_digests != first.key_digests


def test_a_damaged_key_file_costs_one_enrolment(world: World, fresh_keys):
    keys = fresh_keys()
    with world.client(keys=keys) as client:
        digest = client.enrol()
        (keys._path / "keys" / f"{digest.hex()}.key").write_bytes(b"damaged")
        world.phases.clear()
        result = client.predict(records(1))
    assert world.phases.count(Phase.ENROL) == 1
    assert result.key_digests != (digest,)
