"""Several tenants in one server: nobody reaches what is another's, whatever it names."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from audit.receipt import Outcome
from blindproof.loopback import server_thread
from client_sdk import Client, KeyStore, ModelError, RequestError
from client_sdk.evidence import Evidence
from protocol.accountability import Account
from protocol.keys import KeyRequest
from server.registry import ModelBundle, ModelRegistry
from tests.integration import asking, example_models
from tests.integration.raw_requests import messages_like
from tests.integration.tenant_world import SERVER_ID, TenantWorld, ask
from wire import rpc
from wire.audit import (
    CheckpointRequest,
    Countersignature,
    decode_log,
    encode_checkpoint_request,
    encode_countersignature,
    encode_entries_request,
    encode_log_request,
    encode_receipt_request,
)
from wire.enrolment import decode_challenge, encode_begin
from wire.inference import encode_request
from wire.models import decode_list, encode_list_request, encode_model_request
from wire.publication import encode_withdrawal
from wire.v1 import keys_pb2 as pb

TENANTS = [f"ward-{index}" for index in range(10)]
UNKNOWN = b"\x5a" * 32


@dataclass
class Belongings:
    """What one tenant has at the server."""

    bundle: ModelBundle
    evidence: Evidence
    messages: list[bytes]
    receipt_id: bytes


@dataclass
class Wards:
    """Ten tenants that have each published a model and had an answer."""

    world: TenantWorld
    address: str
    owned: dict[str, Belongings]


def client_of(world: TenantWorld, address: str, tenant: str, bundle: ModelBundle, keys: Path):
    certificate, key = world.identity(f"{tenant}-client")
    return Client(
        address,
        model=bundle.digest,
        keys=KeyStore(keys, passphrase="for tests"),
        ca=world.ca,
        certificate=certificate,
        certificate_key=key,
        tenant=tenant,
    )


@pytest.fixture(scope="module")
def wards(tmp_path_factory):
    home = tmp_path_factory.mktemp("wards")
    everything = ["predict", "publish", "audit"]
    world = TenantWorld(home, {tenant: {f"{tenant}-client": everything} for tenant in TENANTS})
    owned = {}
    bundles = {
        tenant: example_models.bundle(example_models.linear_model(name=f"of {tenant}"))
        for tenant in TENANTS
    }
    for tenant, bundle in bundles.items():
        ModelRegistry(home / "models" / tenant).publish(bundle)
    with server_thread(world.settings(max_requests=64)) as address:
        for tenant, bundle in bundles.items():
            with client_of(world, address, tenant, bundle, home / "keys" / tenant) as client:
                width = len(bundle.card.features)
                result = client.predict([[0.25] * width])
            evidence = result.evidence[0]
            messages = list(
                encode_request(evidence.request, evidence.inputs, Account(tenant=tenant))
            )
            receipt = result.receipts[0].signed.receipt
            owned[tenant] = Belongings(bundle, evidence, messages, receipt.receipt_id)
        yield Wards(world, address, owned)


def same_refusal(seen: asking.Outcome, unknown: asking.Outcome, *names: bytes) -> None:
    """Two refusals that differ in nothing but the digest that was named."""
    assert seen.code is unknown.code is not grpc.StatusCode.OK
    assert seen.reason == unknown.reason
    details = [outcome.detail for outcome in (seen, unknown)]
    for name in names:
        details = [detail.replace(name.hex(), "...") for detail in details]
    assert details[0] == details[1]
    assert seen.messages == unknown.messages == []


@pytest.mark.rejects("C-103")
def test_ninety_of_ninety_pairs_of_tenants_reach_nothing_of_each_other(wards):
    denied = 0
    for tenant in TENANTS:
        with wards.world.connected(wards.address, f"{tenant}-client") as channel:
            answer, _ = ask(channel, rpc.LIST_MODELS, encode_list_request())
            listed = {model.digest for model in decode_list(answer).models}
            assert listed == {wards.owned[tenant].bundle.digest}
            for other in TENANTS:
                if other != tenant:
                    require_nothing(wards, channel, tenant, other)
                    denied += 1
    assert denied == 90


def require_nothing(wards: Wards, channel: grpc.Channel, tenant: str, other: str) -> None:
    own, theirs = wards.owned[tenant], wards.owned[other]
    digest = theirs.bundle.digest
    # Models.
    for method, request in (
        (rpc.GET_MODEL, encode_model_request),
        (rpc.WITHDRAW_MODEL, lambda name: encode_withdrawal(bytes(16), name)),
    ):
        seen = ask(channel, method, request(digest))[1]
        unknown = ask(channel, method, request(UNKNOWN))[1]
        assert seen.reason == rpc.Reason.MODEL_UNKNOWN
        same_refusal(seen, unknown, digest, UNKNOWN)
    # Receipts, and signatures on them.
    seen = ask(channel, rpc.GET_RECEIPT, encode_receipt_request(theirs.receipt_id))[1]
    unknown = ask(channel, rpc.GET_RECEIPT, encode_receipt_request(UNKNOWN[:16]))[1]
    assert seen.reason == rpc.Reason.RECEIPT_UNKNOWN
    same_refusal(seen, unknown, theirs.receipt_id, UNKNOWN[:16])
    signed = [
        encode_countersignature(Countersignature(name, bytes(32), bytes(64)))
        for name in (theirs.receipt_id, UNKNOWN[:16])
    ]
    refusals = [ask(channel, rpc.COUNTERSIGN, data)[1] for data in signed]
    same_refusal(*refusals, theirs.receipt_id, UNKNOWN[:16])
    # The answer that the other had, byte for byte: as its own client asked, and under this name.
    for changes in ({}, {"tenant": tenant}, {"tenant": tenant, "client_id": f"{tenant}-client"}):
        outcome = asking.infer(channel, asking.changed(theirs.messages, **changes))
        assert outcome.code is not grpc.StatusCode.OK
        assert not outcome.messages
        assert outcome.receipt is None
        assert not outcome.admitted
    assert outcome.reason == rpc.Reason.MODEL_UNKNOWN  # as if there were no such model
    # Keys: the other's, with a model of one's own.
    like = messages_like(own.evidence)
    names = {"tenant": tenant, "client_id": f"{tenant}-client"}
    key = theirs.evidence.request.key_digest
    seen = asking.infer(channel, asking.changed(like, key_digest=key, **names))
    unknown = asking.infer(channel, asking.changed(like, key_digest=UNKNOWN, **names))
    assert seen.reason == rpc.Reason.KEY_UNKNOWN
    same_refusal(seen, unknown, key, UNKNOWN)


@pytest.mark.accepts("C-103")
def test_each_tenant_has_its_own_answer_again_from_its_own_log(wards):
    keys = set()
    for tenant in TENANTS[:3]:
        with wards.world.connected(wards.address, f"{tenant}-client") as channel:
            again = asking.infer(channel, wards.owned[tenant].messages)
            assert again.code is grpc.StatusCode.OK
            assert again.messages
            answer, _ = ask(channel, rpc.GET_LOG, encode_log_request())
            identity = decode_log(answer)
            assert identity.tenant == tenant
            assert identity.log_key.split("+")[0].endswith(f"/{tenant}")
            keys.add(identity.log_key)
            with wards.world.trail(tenant) as files:
                assert files.log_key.encoded() == identity.log_key
                mine = [entry.receipt().receipt for entry in files.log.entries()]
        assert {receipt.tenant for receipt in mine} == {tenant}
        models = {receipt.digests.model for receipt in mine if receipt.outcome is Outcome.ANSWERED}
        assert models <= {wards.owned[tenant].bundle.digest, None}
    assert len(keys) == 3


def test_a_tenants_log_does_not_grow_by_what_others_do(wards):
    """Sizes tell how much a tenant works: they are its own too."""
    world = wards.world
    with (
        world.connected(wards.address, "ward-1-client") as channel,
        world.trail("ward-2") as theirs,
        world.trail("ward-1") as own,
    ):
        sizes = own.log.head().size, theirs.log.head().size
        outcome = asking.infer(channel, wards.owned["ward-2"].messages)
        assert outcome.code is not grpc.StatusCode.OK
        assert (own.log.head().size, theirs.log.head().size) == (sizes[0] + 1, sizes[1])


@pytest.mark.accepts("C-102")
@pytest.mark.rejects("C-102")
def test_each_role_does_what_it_may_and_is_denied_the_rest_with_a_receipt(tmp_path):
    members = {"solo": {"nobody": [], **{role: [role] for role in ("predict", "publish", "audit")}}}
    world = TenantWorld(tmp_path, members)
    requests = {
        rpc.LIST_MODELS: ({"predict", "publish", "audit"}, encode_list_request()),
        rpc.GET_LOG: ({"predict", "publish", "audit"}, encode_log_request()),
        rpc.GET_CHECKPOINT: (
            {"predict", "publish", "audit"},
            encode_checkpoint_request(CheckpointRequest()),
        ),
        rpc.READ_ENTRIES: ({"audit"}, encode_entries_request(0)),
        rpc.WITHDRAW_MODEL: ({"publish"}, encode_withdrawal(bytes(16), UNKNOWN)),
        rpc.BEGIN_ENROLMENT: ({"predict"}, b""),
        rpc.COUNTERSIGN: ({"predict"}, b""),
        rpc.GET_MODEL: ({"predict", "publish", "audit"}, b""),
        rpc.GET_RECEIPT: ({"predict", "publish", "audit"}, b""),
        rpc.GET_INCLUSION: ({"predict", "publish", "audit"}, b""),
        rpc.GET_CONSISTENCY: ({"predict", "publish", "audit"}, b""),
    }
    streams = {
        rpc.INFER: "predict",
        rpc.COMPLETE_ENROLMENT: "predict",
        rpc.PUBLISH_MODEL: "publish",
    }
    assert {*requests, *streams} == set(rpc.METHODS)
    denials = 0
    with server_thread(world.settings()) as address:
        for name in members["solo"]:
            with world.connected(address, name) as channel:
                for method, (allowed, data) in requests.items():
                    _, outcome = ask(channel, method, data)
                    denied = outcome.reason == rpc.Reason.ROLE_MISSING
                    assert denied is (name not in allowed), (name, method)
                    denials += require_receipt(world, name, outcome) if denied else 0
                for method, role in streams.items():
                    call = channel.stream_stream(method.path)(iter([b""]), timeout=asking.SECONDS)
                    outcome = asking.outcome_of(call)
                    denied = outcome.reason == rpc.Reason.ROLE_MISSING
                    assert denied is (name != role), (name, method)
                    denials += require_receipt(world, name, outcome) if denied else 0
        with world.trail("solo") as files:
            receipts = asking.receipts(files)
    reasons = [receipt.reason for receipt in receipts]
    assert reasons.count(rpc.Reason.ROLE_MISSING) == denials == 28


def require_receipt(world: TenantWorld, name: str, outcome: asking.Outcome) -> int:
    assert outcome.code is grpc.StatusCode.PERMISSION_DENIED
    with world.trail("solo") as files:
        receipt = asking.receipt_of(files, outcome)
    assert receipt.actor == name
    assert receipt.outcome is Outcome.DENIED
    return 1


@pytest.mark.rejects("C-102")
def test_strangers_get_no_receipt_and_learn_nothing(wards):
    wards.world.identity("stranger")
    with wards.world.trail("ward-0") as files:
        before = files.log.head().size
        with wards.world.connected(wards.address, "stranger") as channel:
            for message in (wards.owned["ward-0"].messages, [b""]):
                outcome = asking.infer(channel, message)
                assert outcome.reason == rpc.Reason.IDENTITY_REFUSED
                assert outcome.receipt_id is None
                assert "ward" not in outcome.detail
        assert files.log.head().size == before


@pytest.mark.rejects("C-102")
def test_a_member_that_uses_anothers_name_is_denied_and_the_receipt_names_itself(tmp_path):
    world = TenantWorld(tmp_path, {"solo": {"one": ["predict"], "two": ["predict"]}})
    bundle = example_models.bundle(example_models.linear_model())
    ModelRegistry(tmp_path / "models" / "solo").publish(bundle)
    with server_thread(world.settings()) as address:
        certificate, key = world.identity("one")
        arguments = {
            "model": bundle.digest,
            "ca": world.ca,
            "certificate": certificate,
            "certificate_key": key,
            "tenant": "solo",
        }
        keys = KeyStore(tmp_path / "keys", passphrase="for tests")
        with (
            Client(address, keys=keys, client_id="two", **arguments) as client,
            pytest.raises(RequestError, match="not the one this peer has shown"),
        ):
            client.enrol()
        begin = encode_begin(
            KeyRequest("one", SERVER_ID, 8192, bundle.card.key_moduli, 1), bytes(32)
        )
        with world.connected(address, "one") as own, world.connected(address, "two") as other:
            assert ask(other, rpc.BEGIN_ENROLMENT, begin)[1].reason == rpc.Reason.IDENTITY_REFUSED
            session = decode_challenge(ask(own, rpc.BEGIN_ENROLMENT, begin)[0]).session_id
            header = pb.CompleteEnrolmentRequest()
            header.header.session_id, header.header.proof_bytes = session, 1
            messages = iter([header.SerializeToString()])
            call = other.stream_stream(rpc.COMPLETE_ENROLMENT.path)
            outcome = asking.outcome_of(call(messages, timeout=asking.SECONDS))
        assert outcome.reason == rpc.Reason.IDENTITY_REFUSED
        with world.trail("solo") as files:
            assert asking.receipt_of(files, outcome).actor == "two"
        with Client(address, keys=keys, **arguments) as client:
            evidence = client.predict([[0.0] * len(bundle.card.features)]).evidence[0]
        like = asking.changed(messages_like(evidence), tenant="solo", client_id="two")
        elsewhere = asking.changed(like, server_id="another server")
        for messages in (like, elsewhere, asking.changed(elsewhere, actor="two")):
            with world.connected(address, "one") as channel:
                outcome = asking.infer(channel, messages)
            assert outcome.reason == rpc.Reason.IDENTITY_REFUSED
            with world.trail("solo") as files:
                assert asking.receipt_of(files, outcome).actor == "one"


def waiting_upload(channel: grpc.Channel, header: bytes) -> tuple[grpc.Call, threading.Event]:
    """A request whose upload stops after its header, once the server asked for the rest."""
    end = threading.Event()

    def messages():
        yield header
        end.wait(asking.SECONDS)

    call = channel.stream_stream(rpc.INFER.path)(messages(), timeout=asking.SECONDS)
    assert rpc.ADMITTED_METADATA in dict(call.initial_metadata())
    return call, end


def test_a_removed_tenant_and_a_removed_member_lose_their_running_calls_and_new_ones_come(tmp_path):
    members = {
        "gone": {"a": ["predict"]},
        "stays": {"b": ["predict"], "c": ["predict", "audit"], "d": ["predict"]},
    }
    world = TenantWorld(tmp_path, members)
    bundle = example_models.bundle(example_models.linear_model())
    for tenant in (*members, "fresh"):
        ModelRegistry(tmp_path / "models" / tenant).publish(bundle)
    with server_thread(world.settings()) as address:
        names = {"a": "gone", "b": "stays", "c": "stays", "d": "stays"}
        headers = {}
        for name, tenant in names.items():
            certificate, key = world.identity(name)
            keys = KeyStore(tmp_path / f"keys {name}", passphrase="for tests")
            with Client(
                address,
                model=bundle.digest,
                keys=keys,
                ca=world.ca,
                certificate=certificate,
                certificate_key=key,
                tenant=tenant,
            ) as client:
                evidence = client.predict([[0.0] * len(bundle.card.features)]).evidence[0]
            headers[name] = asking.changed(messages_like(evidence), tenant=tenant, client_id=name)
        with ExitStack() as stack:
            channels = {name: stack.enter_context(world.connected(address, name)) for name in names}
            running = {name: waiting_upload(channels[name], headers[name][0]) for name in names}
            world.write(
                {
                    "stays": {"c": ["audit"], "d": ["predict"]},
                    "fresh": {"a": ["predict"]},
                }
            )
            for name in ("a", "b", "c"):
                outcome = asking.outcome_of(running[name][0])
                assert outcome.code is grpc.StatusCode.PERMISSION_DENIED, name
                assert outcome.reason == rpc.Reason.IDENTITY_REFUSED
                assert outcome.receipt_id is not None
                with world.trail(names[name]) as files:
                    receipt = asking.receipt_of(files, outcome)
                assert receipt.reason == rpc.Reason.IDENTITY_REFUSED
            # Whom the new file leaves alone is not disturbed.
            call, end = running["d"]
            assert call.is_active()
            end.set()
            assert asking.outcome_of(call).reason == rpc.Reason.MALFORMED
            # And the new one holds for new calls.
            expected = {
                "a": rpc.Reason.KEY_UNKNOWN,  # of another tenant now, which has its own keys
                "b": rpc.Reason.IDENTITY_REFUSED,
                "c": rpc.Reason.ROLE_MISSING,
            }
            for name, reason in expected.items():
                tenant = {"a": "fresh"}.get(name, "stays")
                again = asking.changed(headers[name], tenant=tenant, request_id=bytes(16))
                assert asking.infer(channels[name], again).reason == reason
            for _, stop in running.values():
                stop.set()
        # The log of who has gone is whole, and can be opened again by who comes back.
        world.write({**members, "fresh": {"e": ["predict"]}})
        with world.connected(address, "a") as channel:

            def answered() -> bool:
                data, _ = ask(channel, rpc.GET_LOG, encode_log_request())
                return bool(data) and decode_log(data).tenant == "gone"

            asking.eventually(answered)


def test_a_bad_file_changes_nothing(tmp_path):
    world = TenantWorld(tmp_path, {"solo": {"one": ["audit"]}})
    with server_thread(world.settings()) as address, world.connected(address, "one") as channel:
        for text in ("", "nonsense", '[[tenants]]\nname = "../up"\n', '[[tenants]]\nname = "x"\n'):
            (tmp_path / "tenants.toml").write_text(text)
            time.sleep(0.3)
            data, _ = ask(channel, rpc.GET_LOG, encode_log_request())
            assert decode_log(data).tenant == "solo"
    assert not (tmp_path / "up").exists()
    assert not (tmp_path / "state" / "tenants" / "x").exists()


def test_reflection_is_off(wards):
    """A server says which procedures it has in its documents, not to whoever asks."""
    with wards.world.connected(wards.address, "ward-0-client") as channel:
        for version in ("v1", "v1alpha"):
            path = f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"
            call = channel.stream_stream(path)(iter([b"\x3a\x00"]), timeout=asking.SECONDS)
            with pytest.raises(grpc.RpcError) as caught:
                list(call)
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_the_sdk_says_what_was_denied(wards, tmp_path):
    bundle = wards.owned["ward-4"].bundle
    with (
        client_of(wards.world, wards.address, "ward-3", bundle, tmp_path / "keys") as client,
        pytest.raises(ModelError, match="no model has the digest"),
    ):
        client.card()
