"""A server that answers honestly, and keeps a log of its own about which it lies.

Models and keys are those of an honest server behind it, answers are the honest engine's, so that
every proof verifies: what is false is the receipt, or the log it is in.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import grpc

from audit.checkpoint import Checkpoint, sign_checkpoint
from audit.cosignature import Witness, WitnessPolicy, cosign
from audit.facts import AnsweredFacts, answered_facts
from audit.keys import SigningKey
from audit.receipt import Action, Outcome, Receipt, TimeSource
from audit.signed_note import KeyType, NoteKey, SignedNote
from audit.signed_receipt import SignedReceipt, sign_receipt
from audit.tree import MemoryNodes, Tree
from fhe_layers.inputs import request_inputs
from protocol.parameters import Mode
from server.jobs import Job, request_of
from server.keys import EnrolledKeyStore
from server.registry import ModelRegistry
from tests.integration.conftest import World
from wire import rpc
from wire.audit import (
    CheckpointAnswer,
    Countersignature,
    LogIdentity,
    ReceiptAnswer,
    ReceiptMessage,
    decode_checkpoint_request,
    decode_consistency_request,
    decode_countersignature,
    decode_inclusion_request,
    decode_receipt_request,
    encode_checkpoint,
    encode_consistency,
    encode_countersigned,
    encode_inclusion,
    encode_log,
    encode_receipt,
    encode_receipt_answer,
)
from wire.inference import (
    RequestAssembler,
    decode_header,
    encode_receipt_part,
    encode_response,
    outputs_digest,
)

ORIGIN = "log.example/false"
WITNESS_SECONDS = 1_700_000_000


class FalseLog:
    """A log in memory that signs whatever it is told to."""

    def __init__(self, key: SigningKey | None = None, origin: str = ORIGIN) -> None:
        self.signing = key or SigningKey.generate()
        self.key = NoteKey(origin, self.signing.public)
        self.receipts: list[SignedReceipt] = []
        self._tree = Tree(MemoryNodes(), 0)

    @property
    def size(self) -> int:
        return len(self.receipts)

    def append(self, signed: SignedReceipt) -> int:
        self.receipts.append(signed)
        self._tree.append([signed.leaf])
        return self.size - 1

    def rewritten(self, receipts: list[SignedReceipt]) -> FalseLog:
        """Another history under the same key."""
        other = FalseLog(self.signing, self.key.name)
        for signed in receipts:
            other.append(signed)
        return other

    def note(self, size: int | None = None) -> SignedNote:
        size = self.size if size is None else size
        return sign_checkpoint(Checkpoint(self.key.name, size, self._tree.root(size)), self.signing)

    def inclusion(self, index: int, size: int) -> tuple[bytes, ...]:
        return tuple(self._tree.inclusion_proof(index, size))

    def consistency(self, old: int, new: int) -> tuple[bytes, ...]:
        return tuple(self._tree.consistency_proof(old, new)) if 0 < old <= new else ()

    def message(self, index: int, old_size: int = 0, size: int | None = None) -> ReceiptMessage:
        size = self.size if size is None else size
        return ReceiptMessage(
            self.receipts[index].entry(),
            index,
            self.inclusion(index, size),
            self.note(size).encoded(),
            self.consistency(old_size, size),
        )


class FalseWitnesses:
    """Witnesses that sign whatever they are shown."""

    def __init__(self, count: int, threshold: int) -> None:
        self._keys = {f"witness.example/{number}": SigningKey.generate() for number in range(count)}
        witnesses = tuple(
            Witness(NoteKey(name, key.public, KeyType.COSIGNATURE))
            for name, key in self._keys.items()
        )
        self.policy = WitnessPolicy(witnesses, threshold)

    def cosigned(self, note: SignedNote, count: int, seconds: int = WITNESS_SECONDS) -> SignedNote:
        named = list(self._keys.items())[:count]
        return note.with_signatures(cosign(note, name, key, seconds) for name, key in named)


def as_it_is(receipt: Receipt) -> Receipt:
    return receipt


def whole(log: FalseLog, index: int, old_size: int) -> ReceiptMessage | bytes:
    return log.message(index, old_size)


@dataclass
class Lies:
    """What is false; by default nothing is.

    Attributes:
        log: the log that is shown.
        state: what becomes of a receipt before it is signed and logged.
        signing: the key that signs receipts; None for the log's.
        show: what is sent of a log for an answer: a receipt, its bytes, or nothing.
        witnesses: of cosigned checkpoints, and how many of them sign.
        cosign: the note that is shown with cosignatures.
        inclusion: what is answered for an index and a size.
        refuse: whether a call is refused, and with what, before it is passed on.
        headers: of the requests that came.
        countersignatures: that came.
        calls: names of the procedures that were called.
    """

    log: FalseLog = field(default_factory=FalseLog)
    state: Callable[[Receipt], Receipt] = as_it_is
    signing: SigningKey | None = None
    show: Callable[[FalseLog, int, int], ReceiptMessage | bytes] = whole
    witnesses: FalseWitnesses | None = None
    cosign: Callable[[FalseLog, FalseWitnesses], SignedNote] | None = None
    inclusion: Callable[[FalseLog, int, int], tuple[bytes, ...]] = FalseLog.inclusion
    refuse: Callable[[str, grpc.ServicerContext], None] = lambda name, context: None
    headers: list[bytes] = field(default_factory=list)
    countersignatures: list[Countersignature] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)

    def recorded(self, facts: AnsweredFacts, old_size: int) -> bytes:
        """The receipt part of an answer: an honest receipt, or what the lies make of it."""
        honest = Receipt(
            receipt_id=secrets.token_bytes(16),
            time_ns=time.time_ns(),
            time_source=TimeSource.SYSTEM,
            action=Action.PREDICT,
            outcome=Outcome.ANSWERED,
            reason=None,
            software_version="1",
            **{each.name: getattr(facts, each.name) for each in fields(facts)},
        )
        signed = sign_receipt(self.state(honest), self.signing or self.log.signing)
        shown = self.show(self.log, self.log.append(signed), old_size)
        return shown if isinstance(shown, bytes) else encode_receipt(shown)


class FalseServer(grpc.GenericRpcHandler):
    """Answers requests and keeps the trail; passes everything else on."""

    def __init__(self, world: World, channel: grpc.Channel, lies: Lies) -> None:
        self._world = world
        self._channel = channel
        self._lies = lies
        self._audit = {
            rpc.GET_LOG.path: self._get_log,
            rpc.GET_CHECKPOINT.path: self._get_checkpoint,
            rpc.GET_RECEIPT.path: self._get_receipt,
            rpc.GET_INCLUSION.path: self._get_inclusion,
            rpc.GET_CONSISTENCY.path: self._get_consistency,
            rpc.COUNTERSIGN.path: self._countersign,
        }

    def service(self, details: Any) -> grpc.RpcMethodHandler | None:
        path = details.method
        if path == rpc.INFER.path:
            return grpc.stream_stream_rpc_method_handler(self._infer)
        if path == rpc.COMPLETE_ENROLMENT.path:
            return grpc.stream_unary_rpc_method_handler(self._enrol)

        def answer(data: bytes, context: grpc.ServicerContext) -> bytes:
            name = path.rpartition("/")[2]
            self._lies.calls.append(name)
            self._lies.refuse(name, context)
            if path in self._audit:
                return self._audit[path](data)
            return self._channel.unary_unary(path)(data)

        return grpc.unary_unary_rpc_method_handler(answer)

    def _enrol(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        call = self._channel.stream_unary(rpc.COMPLETE_ENROLMENT.path).future(messages)
        context.send_initial_metadata(call.initial_metadata())
        return call.result()

    def _infer(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        lies, world = self._lies, self._world
        lies.calls.append(rpc.INFER.name)
        first = next(messages)
        lies.headers.append(first)
        lies.refuse(rpc.INFER.name, context)
        header = decode_header(first)
        bundle = ModelRegistry(world.settings.models).get(header.model_digest)
        key = None
        if bundle.card.mode is Mode.PRIVATE:
            key = EnrolledKeyStore(world.settings.state / "keys", 1 << 10, 1 << 30).get(
                header.key_digest
            )
        context.send_initial_metadata(((rpc.ADMITTED_METADATA, "1"),))
        assembler = RequestAssembler(bundle.card, header)
        for message in messages:
            assembler.add(message)
        inputs = request_inputs(bundle.card, header.packing, header.records, *assembler.finish())
        job = Job(bundle, key, request_of(header, bundle, inputs), inputs)
        response = world.engine.answer(job)
        yield from encode_response(header.request_id, response)
        facts = answered_facts(
            job.request,
            outputs_digest(response.outputs),
            response.proof,
            world.engine.soundness_bits(job, response),
            header.account,
        )
        shown = lies.recorded(facts, header.log_size)
        if shown:
            yield encode_receipt_part(shown)

    def _get_log(self, data: bytes) -> bytes:
        return encode_log(LogIdentity(self._lies.log.key.encoded(), "default"))

    def _get_checkpoint(self, data: bytes) -> bytes:
        wanted = decode_checkpoint_request(data)
        log, lies = self._lies.log, self._lies
        note = log.note()
        if wanted.cosigned and lies.witnesses is not None:
            cosigned = lies.cosign or _all_cosign
            note = cosigned(log, lies.witnesses)
        return encode_checkpoint(CheckpointAnswer(note.encoded(), ()))

    def _get_receipt(self, data: bytes) -> bytes:
        receipt_id, old_size = decode_receipt_request(data)
        log = self._lies.log
        ids = [signed.receipt.receipt_id for signed in log.receipts]
        shown = self._lies.show(log, ids.index(receipt_id), old_size)
        assert isinstance(shown, ReceiptMessage)
        return encode_receipt_answer(ReceiptAnswer(shown, None))

    def _get_inclusion(self, data: bytes) -> bytes:
        return encode_inclusion(
            self._lies.inclusion(self._lies.log, *decode_inclusion_request(data))
        )

    def _get_consistency(self, data: bytes) -> bytes:
        return encode_consistency(self._lies.log.consistency(*decode_consistency_request(data)))

    def _countersign(self, data: bytes) -> bytes:
        self._lies.countersignatures.append(decode_countersignature(data))
        return encode_countersigned()


def _all_cosign(log: FalseLog, witnesses: FalseWitnesses) -> SignedNote:
    return witnesses.cosigned(log.note(), len(witnesses.policy.witnesses))


@contextmanager
def false_server(world: World, home: Path, lies: Lies) -> Iterator[str]:
    """Run one before an honest server; yields its address."""
    certificate, key = world.authority.issue(home, "localhost")
    credentials = grpc.ssl_server_credentials([(key.read_bytes(), certificate.read_bytes())])
    trusted = grpc.ssl_channel_credentials(world.ca.read_bytes())
    size = ("grpc.max_receive_message_length", rpc.MAX_MESSAGE_BYTES)
    with (
        grpc.secure_channel(world.address, trusted, options=(size,)) as channel,
        ThreadPoolExecutor(8, "false-server") as executor,
    ):
        server = grpc.server(executor, options=(size,))
        server.add_generic_rpc_handlers((FalseServer(world, channel, lies),))
        port = server.add_secure_port("127.0.0.1:0", credentials)
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.stop(None).wait()


def flipped(data: bytes) -> bytes:
    """With its last bit turned."""
    return data[:-1] + bytes((data[-1] ^ 1,))
