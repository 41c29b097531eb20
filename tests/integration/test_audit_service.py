"""The audit service: proofs of what is in the log, and typed refusals of everything else."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc
import pytest

from audit.checkpoint import Checkpoint, sign_checkpoint, verify_checkpoint
from audit.cosignature import cosign
from audit.countersignatures import countersignature
from audit.errors import WitnessError
from audit.keys import SigningKey
from audit.log import AuditLog
from audit.merkle import verify_consistency, verify_inclusion
from audit.proven_receipt import ProvenReceipt
from audit.signed_note import NoteKey, SignedNote
from audit.signed_receipt import SignedReceipt
from blindproof.loopback import server_thread
from client_sdk import Client
from server.settings import ServerSettings
from server.trail_files import DATABASE, TrailFiles
from tests.integration.asking import ask, connected, infer, trail_of
from tests.integration.conftest import World
from tests.integration.example_models import records
from tests.integration.raw_requests import messages_like
from wire import rpc
from wire.audit import (
    CheckpointRequest,
    Countersignature,
    decode_checkpoint,
    decode_consistency,
    decode_countersigned,
    decode_inclusion,
    decode_log,
    decode_receipt_answer,
    encode_checkpoint_request,
    encode_consistency_request,
    encode_countersignature,
    encode_inclusion_request,
    encode_log_request,
    encode_receipt_request,
)
from wire.rpc import Reason

METHODS = (
    rpc.GET_LOG,
    rpc.GET_CHECKPOINT,
    rpc.GET_RECEIPT,
    rpc.GET_INCLUSION,
    rpc.GET_CONSISTENCY,
    rpc.COUNTERSIGN,
)
ENTRIES = 5
CLIENT = SigningKey.from_secret(b"c" * 32)


class StandIn:
    """Signs as witnesses would, or says that they did not."""

    def __init__(self) -> None:
        self.files: TrailFiles | None = None
        self.fails = False
        self.asked: list[int] = []

    async def cosigned(self, min_size: int) -> SignedNote:
        self.asked.append(min_size)
        if self.fails:
            raise WitnessError("1 of 3 witnesses have signed, 2 must")
        assert self.files is not None
        head = self.files.log.head()
        origin, key = self.files.log.origin, self.files.key
        note = sign_checkpoint(Checkpoint(origin, head.size, head.root), key)
        return note.with_signatures([cosign(note, "witness", CLIENT, 0)])


@dataclass
class Audited:
    """A server with some receipts, and its log as its operator sees it."""

    settings: ServerSettings
    channel: grpc.Channel
    files: TrailFiles
    witnesses: StandIn
    receipts: list[bytes] = field(default_factory=list)

    def ask(self, method: rpc.Method, data: bytes) -> bytes:
        answer, outcome = ask(self.channel, method, data)
        assert outcome.code is grpc.StatusCode.OK, outcome.detail
        return answer

    def refusal(self, method: rpc.Method, data: bytes) -> tuple[grpc.StatusCode, str]:
        answer, outcome = ask(self.channel, method, data)
        assert answer == b""
        assert outcome.receipt_id is None  # what is only looked at is no event
        return outcome.code, outcome.reason


@pytest.fixture(scope="module")
def audited(world: World, tmp_path_factory) -> Iterator[Audited]:
    settings = world.settings.model_copy(
        update={"state": tmp_path_factory.mktemp("audited") / "state"}
    )
    witnesses = StandIn()

    @asynccontextmanager
    async def stand_in(settings: ServerSettings, files: TrailFiles):
        witnesses.files = files
        yield witnesses

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("server.rooms.witnesses", stand_in)
        with (
            server_thread(settings) as address,
            connected(address, world.ca) as channel,
            trail_of(settings) as files,
        ):
            digest = world.models["public"].digest
            with Client(address, model=digest, keys=world.keys, ca=world.ca) as client:
                evidence = client.predict(records(2), packing="batch").evidence[0]
            audited = Audited(settings, channel, files, witnesses)
            for _ in range(ENTRIES):
                receipt = infer(channel, messages_like(evidence)).receipt
                signed = SignedReceipt.from_entry(receipt.entry)
                audited.receipts.append(signed.receipt.receipt_id)
            yield audited


UNKNOWN = (grpc.StatusCode.NOT_FOUND, Reason.RECEIPT_UNKNOWN)
MALFORMED = (grpc.StatusCode.INVALID_ARGUMENT, Reason.MALFORMED)
MISSING = (grpc.StatusCode.FAILED_PRECONDITION, Reason.WITNESSES_MISSING)
REFUSED = (grpc.StatusCode.INVALID_ARGUMENT, Reason.REQUEST_REFUSED)
UNAVAILABLE = (grpc.StatusCode.UNAVAILABLE, Reason.AUDIT_UNAVAILABLE)


def test_the_log_says_its_key_and_its_tenant(audited: Audited):
    identity = decode_log(audited.ask(rpc.GET_LOG, encode_log_request()))
    assert NoteKey.decoded(identity.log_key) == audited.files.log_key
    assert identity.tenant == "default"


@pytest.mark.parametrize("old_size", [0, 1, ENTRIES])
def test_a_checkpoint_is_the_logs_and_extends_what_it_was(audited: Audited, old_size: int):
    request = encode_checkpoint_request(CheckpointRequest(ENTRIES, old_size))
    answer = decode_checkpoint(audited.ask(rpc.GET_CHECKPOINT, request))
    checkpoint, _ = verify_checkpoint(answer.checkpoint, audited.files.log_key)
    head = audited.files.log.head()
    assert (checkpoint.size, checkpoint.root) == (head.size, head.root)
    if old_size:
        older = audited.files.log.inclusion_proof(0, old_size).head.root
        verify_consistency(old_size, older, head.size, head.root, answer.consistency)
    else:
        assert answer.consistency == ()
    assert decode_checkpoint(audited.ask(rpc.GET_CHECKPOINT, request)) == answer


def test_asking_for_checkpoints_writes_nothing(audited: Audited):
    before = audited.files.log.latest_checkpoint()
    audited.ask(rpc.GET_CHECKPOINT, encode_checkpoint_request(CheckpointRequest()))
    assert audited.files.log.latest_checkpoint() == before


def test_a_cosigned_checkpoint_is_the_witnesses(audited: Audited):
    audited.witnesses.fails = False
    request = encode_checkpoint_request(CheckpointRequest(2, 3, cosigned=True))
    answer = decode_checkpoint(audited.ask(rpc.GET_CHECKPOINT, request))
    checkpoint, note = verify_checkpoint(answer.checkpoint, audited.files.log_key)
    assert audited.witnesses.asked[-1] == 3
    assert {line.name for line in note.signatures} == {audited.files.log.origin, "witness"}
    older = audited.files.log.inclusion_proof(0, 3).head.root
    verify_consistency(3, older, checkpoint.size, checkpoint.root, answer.consistency)


def test_witnesses_that_do_not_sign_are_missing(audited: Audited):
    audited.witnesses.fails = True
    request = encode_checkpoint_request(CheckpointRequest(cosigned=True))
    assert audited.refusal(rpc.GET_CHECKPOINT, request) == MISSING


def test_a_server_without_witnesses_says_so(world: World):
    request = encode_checkpoint_request(CheckpointRequest(cosigned=True))
    with connected(world.address, world.ca) as channel:
        _, outcome = ask(channel, rpc.GET_CHECKPOINT, request)
    assert (outcome.code, outcome.reason) == MISSING


@pytest.mark.parametrize("old_size", [0, 2])
@pytest.mark.parametrize("number", [0, ENTRIES - 1])
def test_a_receipt_is_proven(audited: Audited, number: int, old_size: int):
    receipt_id = audited.receipts[number]
    data = audited.ask(rpc.GET_RECEIPT, encode_receipt_request(receipt_id, old_size))
    answer = decode_receipt_answer(data)
    found = answer.receipt
    proven = ProvenReceipt(
        SignedReceipt.from_entry(found.entry),
        found.index,
        found.inclusion,
        SignedNote.decoded(found.checkpoint),
        audited.files.log_key,
    )
    checkpoint = proven.verify(audited.files.log_key)
    assert proven.signed.receipt.receipt_id == receipt_id
    if old_size:
        older = audited.files.log.inclusion_proof(0, old_size).head.root
        verify_consistency(old_size, older, checkpoint.size, checkpoint.root, found.consistency)
    else:
        assert found.consistency == ()


def test_inclusion_and_consistency_are_proven_at_any_size(audited: Audited):
    log = audited.files.log
    for size in range(1, ENTRIES + 1):
        root = log.inclusion_proof(0, size).head.root
        for index in range(size):
            data = audited.ask(rpc.GET_INCLUSION, encode_inclusion_request(index, size))
            leaf = log.entry(index).receipt().leaf
            verify_inclusion(root, size, index, leaf, decode_inclusion(data))
        data = audited.ask(rpc.GET_CONSISTENCY, encode_consistency_request(1, size))
        first = log.inclusion_proof(0, 1).head.root
        verify_consistency(1, first, size, root, decode_consistency(data))


@pytest.mark.parametrize(
    ("method", "data"),
    [
        (rpc.GET_RECEIPT, encode_receipt_request(bytes(16))),
        (rpc.GET_INCLUSION, encode_inclusion_request(1000, 1001)),
        (rpc.GET_INCLUSION, encode_inclusion_request(3, 3)),
        (rpc.GET_INCLUSION, encode_inclusion_request(0, 0)),
        (rpc.GET_CONSISTENCY, encode_consistency_request(0, 2)),
        (rpc.GET_CONSISTENCY, encode_consistency_request(3, 2)),
        (rpc.GET_CONSISTENCY, encode_consistency_request(1, 1 << 62)),
        (rpc.GET_CHECKPOINT, encode_checkpoint_request(CheckpointRequest(1 << 62))),
        (rpc.GET_CHECKPOINT, encode_checkpoint_request(CheckpointRequest(0, 1 << 62))),
        (
            rpc.GET_CHECKPOINT,
            encode_checkpoint_request(CheckpointRequest(1 << 62, 0, cosigned=True)),
        ),
        (
            rpc.COUNTERSIGN,
            encode_countersignature(Countersignature(bytes(16), CLIENT.public, bytes(64))),
        ),
    ],
)
def test_what_the_log_never_had_is_unknown(audited: Audited, method, data):
    audited.witnesses.fails = False
    assert audited.refusal(method, data) == UNKNOWN


def test_a_receipt_is_not_shown_from_a_size_the_log_never_had(audited: Audited):
    data = encode_receipt_request(audited.receipts[0], 1 << 40)
    assert audited.refusal(rpc.GET_RECEIPT, data) == UNKNOWN


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_bytes_that_are_no_message_are_malformed(audited: Audited, method):
    assert audited.refusal(method, b"\xff" * 20) == MALFORMED


@pytest.mark.parametrize(
    ("method", "data"),
    [
        (rpc.GET_RECEIPT, b""),
        (rpc.COUNTERSIGN, b""),
        (rpc.GET_INCLUSION, b"\x08" + b"\xff" * 9 + b"\x01"),
    ],
)
def test_fields_of_the_wrong_size_are_malformed(audited: Audited, method, data):
    assert audited.refusal(method, data) == MALFORMED


def _countersignature(audited: Audited, receipt_id: bytes, key: SigningKey) -> bytes:
    entry = audited.files.log.find_receipt(receipt_id).receipt()
    client = entry.countersigned(key).client
    return encode_countersignature(Countersignature(receipt_id, client.public, client.signature))


def test_a_client_leaves_its_signature_once_and_may_repeat_it(audited: Audited):
    receipt_id = audited.receipts[1]
    before = decode_receipt_answer(audited.ask(rpc.GET_RECEIPT, encode_receipt_request(receipt_id)))
    assert before.client is None
    signed = _countersignature(audited, receipt_id, CLIENT)
    for _ in range(2):
        decode_countersigned(audited.ask(rpc.COUNTERSIGN, signed))
    after = decode_receipt_answer(audited.ask(rpc.GET_RECEIPT, encode_receipt_request(receipt_id)))
    kept = countersignature(audited.files.log, receipt_id)
    assert after.client == (CLIENT.public, kept.signature) == (kept.public, kept.signature)
    other = _countersignature(audited, receipt_id, SigningKey.generate())
    assert audited.refusal(rpc.COUNTERSIGN, other) == REFUSED


def test_a_signature_over_something_else_is_refused(audited: Audited):
    data = Countersignature(audited.receipts[2], CLIENT.public, secrets.token_bytes(64))
    assert audited.refusal(rpc.COUNTERSIGN, encode_countersignature(data)) == REFUSED
    assert countersignature(audited.files.log, audited.receipts[2]) is None


def test_without_its_database_the_log_is_unavailable_and_then_it_is_back(audited: Audited):
    database, aside = audited.settings.state / DATABASE, audited.settings.state / "aside.db"
    request = encode_receipt_request(audited.receipts[0])
    database.rename(aside)
    try:
        assert audited.refusal(rpc.GET_RECEIPT, request) == UNAVAILABLE
    finally:
        aside.rename(database)
    assert audited.ask(rpc.GET_RECEIPT, request)


def test_reading_does_not_wait_for_a_writer(audited: Audited):
    """Somebody holds the database's write lock: proofs are made all the same."""
    log: AuditLog = audited.files.log
    with log.engine.connect() as connection:
        connection.exec_driver_sql("ROLLBACK")
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        assert audited.ask(rpc.GET_RECEIPT, encode_receipt_request(audited.receipts[0]))
        assert audited.ask(rpc.GET_CHECKPOINT, encode_checkpoint_request(CheckpointRequest()))
