"""Publishing, withdrawing and reading over the network, by those who may."""

from __future__ import annotations

import errno
import json
from dataclasses import replace

import grpc
import pytest
from typer.testing import CliRunner

from audit.checkpoint import Checkpoint, sign_checkpoint
from audit.errors import (
    AuditError,
    ConsistencyError,
    NoteError,
    ReceiptMismatchError,
    SignatureError,
)
from audit.receipt import Action, Outcome
from audit.signed_note import SigningKey
from blindproof.cli import app
from blindproof.loopback import server_thread
from client_sdk import (
    BlindproofError,
    Client,
    KeyStore,
    ModelError,
    RequestError,
    administration,
    list_models,
    publish_model,
    read_entries,
    withdraw_model,
)
from protocol.parameters import Mode
from server import registry
from server.bundles import parts_of
from server.registry import ModelRegistry
from tests.integration import asking, example_models
from tests.integration.tenant_world import AUDIENCE, ISSUER, Issuer, TenantWorld
from wire import rpc
from wire.audit import CheckpointAnswer, ReceiptMessage, decode_entries, encode_entries
from wire.bundle_file import encode_bundle
from wire.publication import decode_published, encode_publication
from zk_layers.prove import prove_registration

MEMBERS = {"solo": {"author": ["publish"], "auditor": ["audit"], "ward": ["predict"]}}


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A server of one tenant that has no model yet, and how its identities connect."""
    world = TenantWorld(tmp_path_factory.mktemp("publication"), MEMBERS)
    with server_thread(world.settings(max_models=2)) as address:

        def options(name: str) -> dict:
            certificate, key = world.identity(name)
            return {"ca": world.ca, "certificate": certificate, "certificate_key": key}

        yield world, address, options


@pytest.fixture(scope="module")
def bundle():
    return example_models.bundle(example_models.linear_model(name="over the network"))


@pytest.fixture(scope="module")
def public_bundle():
    return example_models.bundle(example_models.linear_model(outputs=2, link="argmax"), Mode.PUBLIC)


def log_key(world: TenantWorld) -> str:
    with world.trail("solo") as files:
        return files.log_key.encoded()


def test_a_model_is_published_answered_by_and_withdrawn(published, bundle, tmp_path):
    world, address, options = published
    key = log_key(world)
    with pytest.raises(RequestError, match="role publish"):
        publish_model(address, encode_bundle(parts_of(bundle)), log_key=key, **options("ward"))
    proven = publish_model(
        address, encode_bundle(parts_of(bundle)), log_key=key, **options("author")
    )
    receipt = proven.signed.receipt
    assert (receipt.action, receipt.outcome) == (Action.PUBLISH_MODEL, Outcome.ANSWERED)
    assert (receipt.actor, receipt.tenant) == ("author", "solo")
    assert receipt.digests.model == bundle.digest
    (listed,) = list_models(address, **options("ward")).models
    assert listed.digest == bundle.digest
    with Client(
        address,
        model=bundle.digest,
        keys=KeyStore(tmp_path / "keys", passphrase="for tests"),
        tenant="solo",
        **options("ward"),
    ) as client:
        assert client.predict([[0.5] * len(bundle.card.features)]).soundness_bits > 100
        with pytest.raises(RequestError, match="role publish"):
            withdraw_model(address, bundle.digest, log_key=key, **options("ward"))
        proven = withdraw_model(address, bundle.digest, log_key=key, **options("author"))
        assert proven.signed.receipt.action is Action.WITHDRAW_MODEL
        with pytest.raises(ModelError, match="no model has the digest"):
            client.predict([[0.5] * len(bundle.card.features)])
    assert list_models(address, **options("ward")).models == ()
    with pytest.raises(ModelError, match="no model has the digest"):
        withdraw_model(address, bundle.digest, log_key=key, **options("author"))
    with world.trail("solo") as files:
        said = [(r.action, r.outcome, r.reason) for r in asking.receipts(files)]
    assert (Action.WITHDRAW_MODEL, Outcome.DENIED, "model-unknown") in said
    assert (Action.PUBLISH_MODEL, Outcome.DENIED, "role-missing") in said


def test_a_model_comes_back_under_the_registration_its_answers_name_or_not_at_all(
    published, bundle
):
    """Else an answer could not be verified from the archive, which has one registration of it."""
    _, address, options = published
    proof = prove_registration(bundle.card, bundle.integers, bundle.opening, b"another" * 5)
    other = encode_bundle(parts_of(replace(bundle, registration_proof=proof)))
    publish_model(address, encode_bundle(parts_of(bundle)), **options("author"))
    publish_model(address, other, **options("author"))  # is there, and stays as it is
    withdraw_model(address, bundle.digest, **options("author"))
    with pytest.raises(BlindproofError, match="another registration"):
        publish_model(address, other, **options("author"))
    publish_model(address, encode_bundle(parts_of(bundle)), **options("author"))
    withdraw_model(address, bundle.digest, **options("author"))


def test_what_is_recorded_and_not_done_after_all_gets_a_second_receipt(
    published, public_bundle, monkeypatch
):
    world, address, options = published

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    data = encode_bundle(parts_of(public_bundle))
    with monkeypatch.context() as patch:
        patch.setattr(ModelRegistry, "_put", full)
        with pytest.raises(BlindproofError, match="internal") as caught:
            publish_model(address, data, **options("author"))
    publish_model(address, data, **options("author"))
    with monkeypatch.context() as patch:
        patch.setattr(registry, "_set_aside", full)
        with pytest.raises(BlindproofError, match="internal"):
            withdraw_model(address, public_bundle.digest, **options("author"))
    withdraw_model(address, public_bundle.digest, **options("author"))
    with world.trail("solo") as files:
        *_, first, failed, second, third, undone, last = asking.receipts(files)
    done, outcomes = Outcome.ANSWERED, [r.outcome for r in (first, failed, second, third, undone)]
    assert outcomes == [done, Outcome.FAILED, done, done, Outcome.FAILED]
    assert failed.receipt_id.hex() in str(caught.value)
    assert (last.action, last.outcome) == (Action.WITHDRAW_MODEL, done)


def test_what_is_no_model_is_refused_with_a_receipt(published, bundle, public_bundle):
    _, address, options = published
    parts = parts_of(bundle)
    without_weights = encode_bundle(parts_of(bundle, private=False))
    forged = encode_bundle(type(parts)(parts.card, bytes(len(parts.registration)), parts.private))
    other = encode_bundle(
        type(parts)(parts.card, parts.registration, parts_of(public_bundle).private)
    )
    for data, reason in (
        (without_weights, "request-refused"),
        (forged, "proof-refused"),
        (other, "malformed"),
    ):
        with pytest.raises(BlindproofError, match=rf"{reason}.*receipt [0-9a-f]{{32}}"):
            publish_model(address, data, **options("author"))
    assert list_models(address, **options("ward")).models == ()


def test_a_stream_that_is_no_publication_is_refused(published, bundle):
    world, address, _ = published
    sent = list(encode_publication(bytes(16), bundle.digest, encode_bundle(parts_of(bundle))))
    with world.connected(address, "author") as channel:
        for messages, reason in (
            ([b"\xff"], rpc.Reason.MALFORMED),
            (sent[:-1], rpc.Reason.MALFORMED),
            ([*sent, sent[-1]], rpc.Reason.MALFORMED),
            ([sent[0], b"\xff"], rpc.Reason.MALFORMED),
            (
                list(encode_publication(bytes(16), bytes(32), encode_bundle(parts_of(bundle)))),
                rpc.Reason.MALFORMED,
            ),
        ):
            call = channel.stream_unary(rpc.PUBLISH_MODEL.path)
            with pytest.raises(grpc.RpcError) as caught:
                call(iter(messages), timeout=asking.SECONDS)
            outcome = asking.Outcome()
            asking.refuse(outcome, caught.value)
            assert outcome.reason == reason
            with world.trail("solo") as files:
                receipt = asking.receipt_of(files, outcome)
            assert receipt.action is Action.PUBLISH_MODEL
            assert receipt.actor == "author"


def test_a_publisher_takes_no_receipt_but_a_proven_one_of_what_it_asked(
    published, public_bundle, monkeypatch
):
    world, address, options = published
    data, key = encode_bundle(parts_of(public_bundle)), log_key(world)
    seen = []

    def publishing(change, refused: type[Exception]) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(
                administration, "decode_published", lambda answer: change(decode_published(answer))
            )
            with pytest.raises(refused):
                publish_model(address, data, log_key=key, **options("author"))

    def kept(message: ReceiptMessage) -> ReceiptMessage:
        seen.append(message)
        return message

    with monkeypatch.context() as patch:
        patch.setattr(administration, "decode_published", lambda data: kept(decode_published(data)))
        publish_model(address, data, log_key=key, **options("author"))
    publishing(lambda _: seen[0], ReceiptMismatchError)
    publishing(lambda message: replace(message, index=message.index - 1), AuditError)
    publishing(lambda message: replace(message, checkpoint=seen[0].checkpoint), AuditError)
    publishing(
        lambda message: replace(message, entry=message.entry[:-1] + bytes([message.entry[-1] ^ 1])),
        AuditError,
    )
    withdraw_model(address, public_bundle.digest, log_key=key, **options("author"))


def test_an_auditor_takes_no_checkpoint_but_the_logs_own(published, monkeypatch):
    """A log that is cut short needs a checkpoint of that size, which only its key signs."""
    world, address, options = published
    with world.trail("solo") as files:
        head = files.log.head_at(files.log.head().size - 1)
        forged = sign_checkpoint(
            Checkpoint(files.log.origin, head.size, head.root),
            SigningKey.from_secret(b"another key, not the log's own.."),
        )
    monkeypatch.setattr(
        administration, "decode_checkpoint", lambda _: CheckpointAnswer(forged.encoded(), ())
    )
    with pytest.raises((NoteError, SignatureError)):
        list(read_entries(address, log_key=log_key(world), **options("auditor")))


def test_a_publication_takes_a_place_and_memory(tmp_path, public_bundle):
    world = TenantWorld(tmp_path, MEMBERS)
    certificate, key = world.identity("author")
    connection = {"ca": world.ca, "certificate": certificate, "certificate_key": key}
    data = encode_bundle(parts_of(public_bundle))
    with server_thread(world.settings(max_memory_bytes=16 << 20)) as address:
        with pytest.raises(BlindproofError, match=r"busy|request-refused") as caught:
            publish_model(address, data, **connection)
        assert "receipt" in str(caught.value)
    assert ModelRegistry(tmp_path / "models" / "solo").stored() == []


def test_a_publication_counts_in_the_quota(tmp_path, public_bundle):
    world = TenantWorld(tmp_path, MEMBERS)
    certificate, key = world.identity("author")
    connection = {"ca": world.ca, "certificate": certificate, "certificate_key": key}
    data = encode_bundle(parts_of(public_bundle))
    with server_thread(world.settings(quota_requests=1)) as address:
        publish_model(address, data, **connection)
        with pytest.raises(BlindproofError, match="quota"):
            publish_model(address, data, **connection)


def test_an_auditor_reads_every_receipt_and_nobody_else_does(published, monkeypatch):
    world, address, options = published
    key = log_key(world)
    with pytest.raises(RequestError, match="role audit"):
        list(read_entries(address, log_key=key, **options("ward")))
    with world.trail("solo") as files:
        expected = [entry.data for entry in files.log.entries()]
    assert len(expected) > 3
    found = list(read_entries(address, log_key=key, **options("auditor")))
    assert [receipt.entry() for receipt in found] == expected
    later = read_entries(address, 2, log_key=key, **options("auditor"))
    assert [receipt.entry() for receipt in later] == expected[2:]
    assert list(read_entries(address, 10**9, log_key=key, **options("auditor"))) == []
    # Another log's key, an entry that is left out, two that are exchanged, one that is altered.
    with pytest.raises((NoteError, SignatureError)):
        list(read_entries(address, log_key="x+00000000+AA==", **options("auditor")))

    def altered(change):
        def decode(data: bytes) -> tuple[bytes, ...]:
            return decode_entries(encode_entries(change(list(decode_entries(data)))))

        return decode

    for change in (
        lambda page: page[1:],
        lambda page: [page[1], page[0], *page[2:]],
        lambda page: [page[0], *page[:-1]],
        lambda page: [],
    ):
        monkeypatch.setattr(administration, "decode_entries", altered(change))
        with pytest.raises(ConsistencyError):
            list(read_entries(address, log_key=key, **options("auditor")))
    monkeypatch.setattr(
        administration,
        "decode_entries",
        altered(lambda page: [page[0][:-1] + bytes([page[0][-1] ^ 1]), *page[1:]]),
    )
    with pytest.raises(SignatureError):
        list(read_entries(address, log_key=key, **options("auditor")))


def test_the_commands_publish_withdraw_and_read(published, tmp_path, monkeypatch):
    world, address, _ = published
    monkeypatch.setenv("COLUMNS", "200")
    model = tmp_path / "model.json"
    features = [{"name": name, "low": -1, "high": 1} for name in "ab"]
    model.write_text(json.dumps({"name": "cli", "features": features, "weights": [0.5, 0.25]}))

    def run(*arguments: object, name: str):
        certificate, key = world.identity(name)
        return CliRunner().invoke(
            app,
            [
                *map(str, arguments),
                *("--target", address, "--ca", str(world.ca)),
                *("--certificate", str(certificate), "--certificate-key", str(key)),
                *("--log-key", log_key(world)),
            ],
        )

    publishing = ("publish", "--weights", model, "--models", tmp_path / "models")
    refused = run(*publishing, name="ward")
    assert refused.exit_code == 2
    assert "role-missing" in refused.stderr
    result = run(*publishing, name="author")
    assert result.exit_code == 0, result.output
    digest = result.output.split()[-1]
    served = ModelRegistry(world.home / "models" / "solo").get(bytes.fromhex(digest))
    assert served.card.name == "cli"
    result = run("withdraw", "--model", digest, name="author")
    assert result.exit_code == 0, result.output
    assert "withdrawn" in result.output
    result = run("audit", "read", "--json", name="auditor")
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in result.output.splitlines()]
    assert [line["index"] for line in lines] == list(range(len(lines)))
    withdrawn = run("audit", "read", "--start", len(lines) - 1, name="auditor")
    assert "withdraw-model answered" in withdrawn.output


def test_there_are_no_more_models_than_a_tenant_may_have(published):
    _, address, options = published
    bundles = [
        example_models.bundle(example_models.linear_model(name=f"model {number}"), Mode.PUBLIC)
        for number in range(3)
    ]
    for bundle in bundles[:2]:
        publish_model(address, encode_bundle(parts_of(bundle)), **options("author"))
    with pytest.raises(ModelError, match="models-full"):
        publish_model(address, encode_bundle(parts_of(bundles[2])), **options("author"))
    publish_model(address, encode_bundle(parts_of(bundles[0])), **options("author"))
    for bundle in bundles[:2]:
        withdraw_model(address, bundle.digest, **options("author"))


def test_tokens_serve_where_no_certificates_are_asked_for(tmp_path, bundle):
    issuer = Issuer()
    (tmp_path / "keys.json").write_text(issuer.key_set())
    world = TenantWorld(tmp_path, {})
    oidc = (
        f'[oidc]\nissuer = "{ISSUER}"\naudience = "{AUDIENCE}"\njwks = "keys.json"\n'
        'tenant_claim = "org"\nroles_claim = "roles"\n'
    )
    (tmp_path / "tenants.toml").write_text(oidc + '[[tenants]]\nname = "solo"\n')
    with server_thread(world.settings(tls_client_ca=None)) as address:
        author = issuer.token("author", org="solo", roles=["publish"])
        person = issuer.token("person", org="solo", roles="predict")
        data = encode_bundle(parts_of(bundle))
        publish_model(address, data, ca=world.ca, token=author)
        keys = KeyStore(tmp_path / "keys", passphrase="for tests")
        arguments = {"model": bundle.digest, "ca": world.ca, "tenant": "solo"}
        with Client(address, keys=keys, token=person, **arguments) as client:
            result = client.predict([[0.5] * len(bundle.card.features)])
        assert result.evidence[0].request.client_id == "person"
        assert result.receipts[0].signed.receipt.actor == "person"
        for token in (
            None,
            author,  # not that role
            issuer.token("person", org="other", roles="predict"),
            issuer.token("person", org="solo", roles=[]),
            Issuer().token("person", org="solo", roles="predict"),
        ):
            with (
                Client(address, keys=keys, token=token, client_id="person", **arguments) as client,
                pytest.raises(RequestError),
            ):
                client.enrol()
