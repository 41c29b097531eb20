"""What client and server refuse before any work: each with its own error."""

from __future__ import annotations

import re
import threading
from dataclasses import replace

import grpc
import numpy as np
import pytest

from blindproof.authority import Authority
from blindproof.demo.cheats import Cheat
from blindproof.loopback import LocalServerError, server_thread
from client_sdk import (
    Client,
    EnrolmentError,
    MemoryLimitError,
    ModelError,
    NonFiniteError,
    Phase,
    RangeError,
    RequestError,
    ShapeError,
    TransportError,
    list_models,
)
from server.main import ServerError
from tests.integration.conftest import World
from tests.integration.example_models import records
from tests.integration.raw_requests import fresh, messages_like
from wire import rpc
from wire.rpc import Reason
from wire.v1 import inference_pb2 as pb


@pytest.fixture(autouse=True)
def honest(world: World) -> None:
    world.engine.cheat = Cheat.NONE


@pytest.fixture(scope="module")
def sent(world: World) -> dict[str, list[bytes]]:
    """The messages of two accepted requests, and one's evidence is their source."""
    messages = {}
    for packing, count in (("batch", 2), ("single", 1)):
        with world.client() as client:
            result = client.predict(records(count), packing=packing)
        messages[packing] = messages_like(result.evidence[0])
    return messages


def infer(world: World, messages: list[bytes]) -> tuple[grpc.StatusCode, str]:
    """Send raw messages; the status and the reason that came back."""
    credentials = grpc.ssl_channel_credentials(world.ca.read_bytes())
    with grpc.secure_channel(world.address, credentials) as channel:
        call = channel.stream_stream(rpc.INFER.path)(iter(messages), timeout=20)
        try:
            list(call)
        except grpc.RpcError as error:
            return status_of(error)
    return grpc.StatusCode.OK, ""


def status_of(error: grpc.RpcError) -> tuple[grpc.StatusCode, str]:
    return error.code(), dict(error.trailing_metadata()).get(rpc.REASON_METADATA, "")


def header(message: bytes, **changes: object) -> bytes:
    parsed = pb.InferRequest.FromString(message)
    for name, value in changes.items():
        setattr(parsed.header, name, value)
    return parsed.SerializeToString()


def chunk(message: bytes, **changes: object) -> bytes:
    parsed = pb.InferRequest.FromString(message)
    for name, value in changes.items():
        setattr(parsed.ciphertext, name, value)
    return parsed.SerializeToString()


MALFORMED = (grpc.StatusCode.INVALID_ARGUMENT, Reason.MALFORMED)
REFUSED = (grpc.StatusCode.INVALID_ARGUMENT, Reason.REQUEST_REFUSED)


def test_the_recorded_messages_are_accepted(world: World, sent):
    assert infer(world, fresh(sent["batch"]))[0] is grpc.StatusCode.OK
    assert infer(world, fresh(sent["single"]))[0] is grpc.StatusCode.OK


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda m: [], MALFORMED),
        (lambda m: m[1:], MALFORMED),
        (lambda m: m[:-1], MALFORMED),
        (lambda m: [*m, m[-1]], MALFORMED),
        (lambda m: [m[0], m[2], m[1], m[3]], MALFORMED),
        (lambda m: [m[0], m[1], m[1], m[3]], MALFORMED),
        (lambda m: [m[0], m[0], *m[1:]], MALFORMED),
        (lambda m: [m[0], b"\xff" * 100], MALFORMED),
        (lambda m: [m[0], chunk(m[1], words=b""), *m[2:]], MALFORMED),
        (lambda m: [m[0], chunk(m[1], words=bytes(8)), *m[2:]], MALFORMED),
        (lambda m: [m[0], chunk(m[1], seed=bytes(63)), *m[2:]], MALFORMED),
        (lambda m: [m[0], chunk(m[1], words=b"\xff" * (3 * 8192 * 8)), *m[2:]], MALFORMED),
        (lambda m: [header(m[0], nonce=bytes(31)), *m[1:]], MALFORMED),
        (lambda m: [header(m[0], request_id=b""), *m[1:]], MALFORMED),
        (lambda m: [header(m[0], packing=7), *m[1:]], MALFORMED),
        (lambda m: [header(m[0], client_id="x" * 201), *m[1:]], MALFORMED),
        (lambda m: [header(m[0], records=0), *m[1:]], REFUSED),
        (lambda m: [header(m[0], records=4097), *m[1:]], REFUSED),
        (lambda m: [header(m[0], ciphertexts=2**32 - 1), *m[1:]], REFUSED),
        (lambda m: [header(m[0], registration_digest=bytes(32)), *m[1:]], REFUSED),
        (
            lambda m: [header(m[0], model_digest=bytes(32)), *m[1:]],
            (grpc.StatusCode.NOT_FOUND, Reason.MODEL_UNKNOWN),
        ),
        (
            lambda m: [header(m[0], key_digest=bytes(32)), *m[1:]],
            (grpc.StatusCode.FAILED_PRECONDITION, Reason.KEY_UNKNOWN),
        ),
        (
            lambda m: [header(m[0], client_id="somebody else"), *m[1:]],
            (grpc.StatusCode.FAILED_PRECONDITION, Reason.KEY_UNFIT),
        ),
        (
            lambda m: [header(m[0], server_id="another server"), *m[1:]],
            (grpc.StatusCode.PERMISSION_DENIED, Reason.IDENTITY_REFUSED),
        ),
    ],
)
def test_a_bad_request_is_a_typed_status(world: World, sent, change, expected):
    assert infer(world, change(fresh(sent["batch"]))) == expected


def test_a_batch_does_not_pass_for_a_single_record(world: World, sent):
    first, *rest = fresh(sent["batch"])
    messages = [header(first, packing=pb.PACKING_SINGLE), *rest]
    assert infer(world, messages) == REFUSED


def test_a_message_above_the_limit_never_reaches_the_service(world: World):
    status, _ = infer(world, [bytes(rpc.MAX_MESSAGE_BYTES + 1)])
    assert status is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.rejects("C-26")
def test_a_key_for_one_output_is_refused_by_a_model_of_two(world: World):
    """The key store would enrol again; a request that insists is refused."""
    with world.client() as client:
        client.predict(records(2))
        key = client.enrol()
    with world.client("two outputs") as client:
        result = client.predict(records(2))
    status, reason = infer(
        world,
        messages_like(result.evidence[0], replace(result.evidence[0].request, key_digest=key)),
    )
    assert (status, reason) == (grpc.StatusCode.FAILED_PRECONDITION, Reason.KEY_UNFIT)


def test_a_busy_server_says_so_and_a_stalled_call_is_ended(world: World, sent):
    settings = world.settings.model_copy(
        update={"max_requests": 1, "max_streams": 1, "request_seconds": 2.0}
    )
    credentials = grpc.ssl_channel_credentials(world.ca.read_bytes())
    release = threading.Event()

    def stalled():
        yield fresh(sent["single"])[0]
        release.wait(20)

    with (
        server_thread(settings) as address,
        grpc.secure_channel(address, credentials) as channel,
    ):
        infer_path = channel.stream_stream(rpc.INFER.path)
        first = infer_path(stalled(), timeout=20)
        first.initial_metadata()  # it was admitted and holds the only slot
        with pytest.raises(grpc.RpcError) as busy:
            list(infer_path(iter(fresh(sent["single"])), timeout=20))
        with pytest.raises(grpc.RpcError) as slow:
            list(first)
        release.set()
        assert len(list(infer_path(iter(fresh(sent["single"])), timeout=20))) > 1
    assert status_of(busy.value) == (grpc.StatusCode.RESOURCE_EXHAUSTED, Reason.BUSY)
    assert status_of(slow.value) == (grpc.StatusCode.DEADLINE_EXCEEDED, Reason.TOO_SLOW)


def test_an_unexpected_failure_says_nothing_but_that(world: World, sent, monkeypatch):
    def answer(job):
        raise RuntimeError("a secret of the server")

    monkeypatch.setattr(world.engine, "answer", answer)
    assert infer(world, fresh(sent["single"])) == (grpc.StatusCode.INTERNAL, Reason.INTERNAL)
    with world.client() as client, pytest.raises(TransportError) as caught:
        client.predict(records(1))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        (np.zeros((2, 4)), ShapeError, "expected records of 3 features"),
        ([{"x0": 0.0, "x1": 0.0}], ShapeError, "missing 'x2'"),
        ([[0.0, np.nan, 0.0]], NonFiniteError, "column 'x1', row 0"),
        ([[0.0, 0.0, -np.inf]], NonFiniteError, "column 'x2', row 0"),
        ([[0.0] * 3, [6.5, 0.0, 0.0]], RangeError, r"column 'x0', row 1.*\[-4, 6\]"),
    ],
)
def test_bad_records_are_refused_before_anything_is_encrypted(world: World, rows, error, message):
    with world.client() as client, pytest.raises(error, match=message):
        client.predict(rows)
    assert world.phases == []


def test_an_unknown_packing_is_refused(world: World):
    with world.client() as client, pytest.raises(RequestError, match="'auto', 'batch' or 'single'"):
        client.predict(records(1), packing="pair")


def test_an_unknown_model_is_refused(world: World):
    with (
        Client(world.address, model=bytes(32), keys=world.keys, ca=world.ca) as client,
        pytest.raises(ModelError, match="model-unknown"),
    ):
        client.predict(records(1))


@pytest.mark.rejects("C-19")
@pytest.mark.rejects("C-45")
def test_a_server_that_serves_another_card_is_caught(world: World, monkeypatch):
    import server.model_service as module

    other = world.models["two outputs"].digest
    monkeypatch.setattr(module, "decode_model_request", lambda data: other)
    with world.client() as client, pytest.raises(ModelError, match="pinned model digest mismatch"):
        client.predict(records(1))
    assert world.phases == []


@pytest.mark.rejects("C-18")
def test_a_card_with_a_damaged_registration_is_refused(world: World, monkeypatch):
    import server.model_service as module
    from protocol.errors import VerificationError
    from wire.models import encode_model

    def damaged(model):
        proof = bytearray(model.registration_proof)
        proof[1000] ^= 1
        return encode_model(replace(model, registration_proof=bytes(proof)))

    monkeypatch.setattr(module, "encode_model", damaged)
    with world.client() as client, pytest.raises(VerificationError):
        client.predict(records(1))


@pytest.mark.rejects("C-29")
def test_an_error_bound_above_the_tolerance_is_refused(world: World):
    with world.client(tolerance=1e-30) as client, pytest.raises(ModelError, match="tolerance"):
        client.predict(records(1))


def test_a_model_that_takes_too_much_memory_is_refused_before_any_work(world: World, fresh_keys):
    keys = fresh_keys()
    with world.client("two outputs", keys=keys, max_memory_bytes=1 << 20) as client:
        assert client.card().digest == world.models["two outputs"].digest
        for packing in ("batch", "single"):  # a single record's inputs are small, its keys not
            with pytest.raises(MemoryLimitError, match=r"max_memory_bytes=[0-9]+"):
                client.predict(records(1), packing=packing)
        with pytest.raises(MemoryLimitError, match="enrolling 2 public keys"):
            client.enrol()
    assert world.phases == []
    assert keys.summary().enrolled == ()


def test_a_model_that_takes_too_much_is_answered_once_that_is_allowed(world: World):
    with world.client("public", max_memory_bytes=1 << 20) as client:
        with pytest.raises(MemoryLimitError) as caught:
            client.predict(records(1), packing="batch")
        told = re.search("max_memory_bytes=([0-9]+)", str(caught.value))
    assert told is not None
    assert world.phases == []
    with world.client("public", max_memory_bytes=int(told[1])) as client:
        assert len(client.predict(records(1), packing="batch").values) == 1


def test_a_server_with_another_name_is_refused(world: World):
    with (
        world.client(server_id="elsewhere") as client,
        pytest.raises(RequestError, match="'test server', expected 'elsewhere'"),
    ):
        client.predict(records(1))


def test_a_server_that_does_not_know_the_key_is_an_enrolment_error(
    world: World, tmp_path, fresh_keys
):
    keys, model = fresh_keys(), world.models["private"].digest
    for state, predict in (("first", Client.enrol), ("second", lambda c: c.predict(records(1)))):
        settings = world.settings.model_copy(update={"state": tmp_path / state})
        with (
            server_thread(settings) as address,
            Client(address, model=model, keys=keys, ca=world.ca) as client,
        ):
            if state == "first":
                predict(client)
            else:
                with pytest.raises(EnrolmentError, match="key-unknown"):
                    predict(client)


def test_a_server_signed_by_another_authority_is_not_trusted(world: World, tmp_path):
    stranger = Authority.fresh("stranger").write(tmp_path / "stranger.pem")
    with world.client(ca=stranger, seconds=10.0) as client, pytest.raises(TransportError):
        client.predict(records(1))
    assert world.phases == []


def test_mutual_tls_binds_the_client_identity(world: World, tmp_path, fresh_keys):
    certificate, key = world.authority.issue(tmp_path, "alice")
    settings = world.settings.model_copy(
        update={"tls_client_ca": world.ca, "state": tmp_path / "state"}
    )
    with server_thread(settings) as address:
        arguments = {
            "model": world.models["private"].digest,
            "keys": fresh_keys(),
            "ca": world.ca,
            "certificate": certificate,
            "certificate_key": key,
        }
        with Client(address, client_id="alice", **arguments) as client:
            assert client.predict(records(1)).soundness_bits >= 100
        with (
            Client(address, client_id="bob", **arguments) as client,
            pytest.raises(RequestError, match="identity-refused"),
        ):
            client.predict(records(1))
        unidentified = {name: arguments[name] for name in ("model", "keys", "ca")}
        with (
            Client(address, seconds=10.0, **unidentified) as client,
            pytest.raises(TransportError),
        ):
            client.predict(records(1))


def test_models_are_listed(world: World):
    offered = list_models(world.address, ca=world.ca)
    assert offered.server_id == "test server"
    listed = {model.digest for model in offered.models}
    # Beside them the directory may hold the key of who publishes into it.
    published = {path.name for path in world.settings.models.iterdir() if path.is_dir()}
    assert {digest.hex() for digest in listed} == published
    assert listed >= {bundle.digest for bundle in world.models.values()}


def test_a_missing_certificate_stops_the_server_from_starting(world: World, tmp_path):
    settings = world.settings.model_copy(update={"tls_key": tmp_path / "nothing"})
    with pytest.raises(ServerError, match="nothing"), server_thread(settings):
        raise LocalServerError("started")


def test_a_closed_client_says_so(world: World):
    client = world.client()
    client.close()
    client.close()
    with pytest.raises(RuntimeError, match="closed"):
        client.predict(records(1))


def test_phases_are_reported_to_the_observer_only(world: World):
    with world.client(observer=None) as client:
        client.predict(records(1))
    assert Phase.VERIFY not in world.phases
