"""Receipts of a real server, as clients check, sign and keep them."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from audit.database import open_engine
from audit.head import Head
from audit.log import AuditLog
from audit.receipt import Outcome, Purpose
from audit.signed_note import NoteKey
from audit.signed_receipt import SignedReceipt
from blindproof.cli import app
from blindproof.demo.cheats import Cheat
from client_sdk import (
    AsyncClient,
    Client,
    ConsistencyError,
    KeyStore,
    LogKeyError,
    Phase,
    ReceiptMismatchError,
    RequestError,
    SignatureError,
    VerifiedModel,
    aio,
    repeating,
    verify_evidence,
    verify_receipt,
)
from client_sdk.credentials import TlsFiles
from client_sdk.log_memory import KnownLog
from client_sdk.log_view import LogView
from client_sdk.transport import Transport
from client_sdk.transport_errors import ConnectionLostError
from protocol.request import REQUEST_ID_BYTES
from tests.integration.conftest import PASSPHRASE, World
from tests.integration.example_models import records
from wire import rpc
from wire.audit import decode_receipt_answer, encode_receipt_request

SUBJECT = "patient 4711"


@pytest.fixture(autouse=True)
def honest(world: World) -> None:
    world.engine.cheat = Cheat.NONE


def logged(world: World) -> list[SignedReceipt]:
    """The server's log, entry by entry."""
    with world.client() as client:
        client.predict(records(1))
        origin = NoteKey.decoded(client.log_key).name
    engine = open_engine(f"sqlite:///{world.settings.state / 'audit.db'}")
    try:
        return [entry.receipt() for entry in AuditLog.open(engine, origin).entries()]
    finally:
        engine.dispose()


def shown(world: World, receipt_id: bytes):
    """What the server shows to whoever knows the id."""

    async def ask() -> bytes:
        transport = Transport(world.address, TlsFiles(world.ca), 10.0)
        try:
            return await transport.call(rpc.GET_RECEIPT, encode_receipt_request(receipt_id))
        finally:
            await transport.close()

    return decode_receipt_answer(asyncio.run(ask()))


@pytest.mark.accepts("C-93")
@pytest.mark.accepts("C-94")
@pytest.mark.parametrize("model", ["private", "public", "two outputs"])
@pytest.mark.parametrize("packing", ["batch", "single"])
def test_every_answer_has_a_receipt_that_stands_alone(
    world: World, tmp_path: Path, model: str, packing: str
):
    with world.client(model, purpose="TREAT", actor="ward-7") as client:
        result = client.predict(records(1), packing=packing, subject=SUBJECT)
        key = client.log_key
        (path,) = result.save_receipt(tmp_path / "receipt.json")
        online = client.verify_receipt(path)
    mine = world.keys.receipt_key().public
    verified = verify_receipt(path, key, client_key=mine)
    assert verified == online
    receipt = verified.receipt
    assert (receipt.actor, receipt.purpose) == ("ward-7", Purpose.TREATMENT)
    assert receipt.subject == world.keys.pseudonym("default", SUBJECT)
    assert receipt.digests.model == result.model_digest
    assert (receipt.soundness_bits is None) == (not result.proof)
    assert SUBJECT not in path.read_text()
    assert SUBJECT not in repr(result)


def test_the_server_keeps_the_clients_signature(world: World):
    with world.client() as client:
        result = client.predict(records(1))
    assert result.countersigned == (True,)
    signed = result.receipt.signed
    answer = shown(world, signed.receipt.receipt_id)
    assert answer.client == (signed.client.public, signed.client.signature)
    assert answer.receipt.entry == signed.entry()


def test_several_requests_have_several_receipts(world: World, tmp_path: Path):
    with world.client() as client:
        result = client.predict(records(3), packing="single")
        paths = result.save_receipt(tmp_path / "receipt.json")
        ids = [client.verify_receipt(path).receipt.request_id for path in paths]
    assert ids == [answer.request.request_id for answer in result.evidence]
    assert [path.name for path in paths] == [f"receipt-{number}.json" for number in (1, 2, 3)]


@pytest.mark.accepts("C-94")
def test_requests_at_once_are_joined_in_one_log(world: World, fresh_keys):
    async def ask() -> list[int]:
        async with AsyncClient(
            world.address, model=world.models["public"].digest, keys=keys, ca=world.ca
        ) as client:
            results = await asyncio.gather(*(client.predict(records(1)) for _ in range(12)))
        return [result.receipt.index for result in results]

    keys: KeyStore = fresh_keys()
    indices = asyncio.run(ask())
    assert len(set(indices)) == 12
    assert keys.known_log(world.address).head.size > max(indices)


def test_a_sklearn_like_model_passes_the_account_on(world: World):
    with VerifiedModel(
        world.address,
        model=world.models["private"].digest,
        keys=world.keys,
        ca=world.ca,
        purpose="HRESCH",
        actor="study-3",
    ) as model:
        model.predict(records(1), subject=SUBJECT)
        model.predict_proba(records(2))
        receipt = model.last_result.receipt.signed.receipt
        assert model.log_key is not None
    assert (receipt.actor, receipt.purpose, receipt.subject) == ("study-3", "HRESCH", None)


def test_a_refusal_names_its_receipt(world: World):
    with world.client(tenant="another") as client, pytest.raises(RequestError) as caught:
        client.predict(records(1))
    name = str(caught.value).partition("(receipt ")[2].partition(")")[0]
    denied = SignedReceipt.from_entry(shown(world, bytes.fromhex(name)).receipt.entry).receipt
    assert (denied.outcome, denied.reason) == (Outcome.DENIED, rpc.Reason.IDENTITY_REFUSED)
    assert "ask on behalf of tenant 'default' here" in str(caught.value)


@pytest.mark.rejects("C-96")
def test_another_request_under_an_old_id_is_refused(world: World, monkeypatch):
    honest = aio.secrets.token_bytes
    with monkeypatch.context() as patched:
        patched.setattr(
            aio.secrets,
            "token_bytes",
            lambda size: b"i" * size if size == REQUEST_ID_BYTES else honest(size),
        )
        with world.client("public") as client:
            client.predict(records(1))
            with pytest.raises(RequestError, match="request-refused"):
                client.predict(records(1))


@pytest.mark.rejects("C-94")
def test_a_server_that_lost_its_log_is_refused_with_what_to_do(world: World, fresh_keys):
    """It says so by itself: what the request names is not in the log it has now."""
    keys: KeyStore = fresh_keys()
    seen = Head(1_000_000, bytes(32))
    with world.client("public", keys=keys) as client:
        client.predict(records(1))
        log = keys.known_log(world.address)
        assert keys.advance_log(world.address, log, seen) == seen
        with pytest.raises(ConsistencyError, match="forget_log"):
            client.predict(records(1))
    keys.forget_log(world.address)
    keys.advance_log(world.address, KnownLog(NoteKey("log.example/lost", bytes(32))), seen)
    with world.client("public", keys=keys) as client:
        with pytest.raises(LogKeyError, match="give it as log_key"):
            client.predict(records(1))
        assert Phase.VERIFY not in world.phases
    with world.client("public", keys=keys, log_key=log.key) as client:
        client.predict(records(1))
    assert keys.known_log(world.address).key == log.key


class Relay:
    """Carries bytes between a client and a server, and cuts the line where it is told to."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._server = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.connections = 0
        self._left: dict[str, int | None] = {"up": None, "down": None}
        threading.Thread(target=self._accept, daemon=True).start()

    def cut_after(self, direction: str, count: int) -> None:
        """Cut the line once so many bytes have passed from now on."""
        self._left[direction] = count

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.connections += 1
                server = socket.create_connection(self._server)
                for direction, source, sink in (("up", client, server), ("down", server, client)):
                    threading.Thread(
                        target=self._carry, args=(direction, source, sink), daemon=True
                    ).start()

    def _carry(self, direction: str, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError), source, sink:
            while data := source.recv(1 << 12):
                left = self._left[direction]
                if left is not None:
                    if left < len(data):
                        self._left[direction] = None
                        sink.sendall(data[:left])
                        for each in (source, sink):
                            each.shutdown(socket.SHUT_RDWR)
                        return
                    self._left[direction] = left - len(data)
                sink.sendall(data)


@contextmanager
def relayed(world: World) -> Iterator[Relay]:
    relay = Relay(world.address)
    try:
        yield relay
    finally:
        relay.close()


@pytest.mark.accepts("C-96")
@pytest.mark.parametrize(
    ("direction", "count"),
    [
        ("up", 0),
        ("up", 200),
        ("up", 20_000),
        ("up", 60_000),
        ("down", 0),
        ("down", 100),
        ("down", 1_000),
        ("down", 30_000),
        ("down", 100_000),
    ],
)
def test_a_line_that_breaks_costs_neither_the_answer_nor_a_second_receipt(
    world: World, monkeypatch, direction: str, count: int
):
    monkeypatch.setattr(repeating, "FIRST_PAUSE_SECONDS", 0.1)
    with relayed(world) as relay:
        digest = world.models["private"].digest
        with Client(relay.address, model=digest, keys=world.keys, ca=world.ca) as client:
            client.predict(records(1), packing="batch")
            relay.cut_after(direction, count)
            result = client.predict(records(1), packing="batch")
        assert relay.connections == 2
    receipt = result.receipt.signed.receipt
    assert [
        each
        for each in logged(world)
        if each.receipt.idempotency_digest == receipt.idempotency_digest
    ] == [SignedReceipt(receipt, result.receipt.signed.server)]


@pytest.fixture
def predicted(world: World, tmp_path: Path, monkeypatch) -> tuple[Path, Path, list[str]]:
    """Evidence and receipt as the command line writes them, and how it is called."""
    monkeypatch.setenv("BLINDPROOF_PASSPHRASE", PASSPHRASE)
    monkeypatch.setenv("BLINDPROOF_SUBJECT", SUBJECT)
    np.savetxt(tmp_path / "records.csv", records(1), delimiter=",", header="x0,x1,x2", comments="")
    evidence, receipt = tmp_path / "evidence.bin", tmp_path / "receipt.json"
    arguments = [
        "predict",
        str(tmp_path / "records.csv"),
        f"--target={world.address}",
        f"--model={world.models['private'].digest.hex()}",
        f"--keys={world.home / 'keys'}",
        f"--ca={world.ca}",
        "--purpose=TREAT",
        "--actor=ward-7",
        "--tenant=default",
        f"--evidence={evidence}",
        f"--receipt={receipt}",
    ]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert SUBJECT not in done.output
    assert SUBJECT.encode() not in evidence.read_bytes() + receipt.read_bytes()
    return evidence, receipt, [*arguments, done.stderr]


def test_the_command_line_shows_keeps_and_verifies_receipts(world: World, predicted, tmp_path):
    evidence, receipt, (*arguments, told) = predicted
    with world.client() as client:
        other = client.predict(records(1))
        other.save_receipt(tmp_path / "other.json")
        key = client.log_key
    name = verify_receipt(receipt, key).receipt.receipt_id.hex()
    assert f"receipt {name}, entry" in told
    assert NoteKey.decoded(key).name in told

    model = f"--model={world.models['private'].digest.hex()}"
    verify = ["verify", str(evidence), model, f"--log-key={key}"]
    done = CliRunner().invoke(app, [*verify, f"--receipt={receipt}"])
    assert done.exit_code == 0, done.output
    assert f"receipt {name}" in done.output
    assert "TREAT" in done.output

    done = CliRunner().invoke(app, [*verify, f"--receipt={tmp_path / 'other.json'}"])
    assert done.exit_code == 2
    assert "which is not in the evidence" in done.output
    done = CliRunner().invoke(app, verify)
    assert "given together" in done.output
    pinned = CliRunner().invoke(app, [*arguments, f"--log-key={key}"])
    assert pinned.exit_code == 0, pinned.output
    wrong = NoteKey(NoteKey.decoded(key).name, bytes(32)).encoded()
    refused = CliRunner().invoke(app, [*arguments, f"--log-key={wrong}"])
    assert refused.exit_code == 2
    assert "the key given or first seen is" in refused.output


def test_evidence_and_receipt_belong_together(world: World, tmp_path: Path):
    with world.client() as client:
        first, second = (client.predict(records(1)) for _ in range(2))
    first.save(tmp_path / "evidence.bin")
    (answer,) = verify_evidence(tmp_path / "evidence.bin", first.model_digest)
    answer.require_receipt(first.receipt.signed.receipt)
    with pytest.raises(ReceiptMismatchError, match="another request id"):
        answer.require_receipt(second.receipt.signed.receipt)


def test_a_receipt_is_not_taken_under_another_servers_key(world: World, tmp_path: Path):
    with world.client() as client:
        (path,) = client.predict(records(1)).save_receipt(tmp_path / "receipt.json")
        other = NoteKey(NoteKey.decoded(client.log_key).name, bytes(32))
    with pytest.raises((SignatureError, ValueError), match="expected"):
        verify_receipt(path, other)


def test_a_line_that_breaks_after_the_answer_does_not_undo_it(world: World, monkeypatch):
    accept, broken = LogView.accept, []

    async def breaking(view, *given):
        if not broken:
            broken.append(True)
            raise ConnectionLostError("the line broke")
        return await accept(view, *given)

    monkeypatch.setattr(LogView, "accept", breaking)
    monkeypatch.setattr(repeating, "pause", lambda attempt: 0.0)
    with world.client() as client:
        result = client.predict(records(1))
    assert broken
    assert result.receipt.signed.receipt.outcome is Outcome.ANSWERED
    assert world.phases.count(Phase.EXCHANGE) == 1
