"""Raw calls to a server, and its trail as one who opens its state directory finds it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from audit.errors import UnknownEntryError
from audit.receipt import Receipt
from server.settings import ServerSettings
from server.trail_files import TrailFiles, open_trail_files
from wire import rpc
from wire.audit import ReceiptMessage, decode_receipt
from wire.inference import decode_header
from wire.v1 import inference_pb2 as pb

SECONDS = 30.0


@dataclass
class Outcome:
    """What came of one call.

    Attributes:
        messages: of the answer, raw, without the receipt's.
        receipt: that came with it.
        code, reason, detail: of the call.
        receipt_id: in the trailing metadata of a refusal.
        admitted: whether the server asked for the upload.
    """

    messages: list[bytes] = field(default_factory=list)
    receipt: ReceiptMessage | None = None
    code: grpc.StatusCode = grpc.StatusCode.OK
    reason: str = ""
    detail: str = ""
    receipt_id: bytes | None = None
    admitted: bool = False


@contextmanager
def connected(address: str, ca: Path) -> Iterator[grpc.Channel]:
    """A channel to a server."""
    credentials = grpc.ssl_channel_credentials(ca.read_bytes())
    options = (("grpc.use_local_subchannel_pool", 1),)
    with grpc.secure_channel(address, credentials, options) as channel:
        yield channel


def infer(channel: grpc.Channel, messages: Sequence[bytes]) -> Outcome:
    """Send a request's messages, whether or not the server asks for them."""
    return outcome_of(channel.stream_stream(rpc.INFER.path)(iter(messages), timeout=SECONDS))


def outcome_of(call: grpc.Call) -> Outcome:
    """Wait for the end of a call."""
    outcome = Outcome()
    try:
        for message in call:
            part = pb.InferResponse.FromString(message)
            if part.WhichOneof("part") == "receipt":
                outcome.receipt = decode_receipt(part.receipt)
            else:
                outcome.messages.append(message)
        outcome.admitted = rpc.ADMITTED_METADATA in dict(call.initial_metadata())
    except grpc.RpcError as error:
        refuse(outcome, error)
    return outcome


def ask(channel: grpc.Channel, method: rpc.Method, data: bytes) -> tuple[bytes, Outcome]:
    """A unary call: its answer, empty if it was refused."""
    outcome = Outcome()
    try:
        return channel.unary_unary(method.path)(data, timeout=SECONDS), outcome
    except grpc.RpcError as error:
        refuse(outcome, error)
    return b"", outcome


def refuse(outcome: Outcome, error: grpc.RpcError) -> None:
    """Note how a call was refused."""
    trailing = dict(error.trailing_metadata() or ())
    outcome.code, outcome.detail = error.code(), error.details()
    outcome.reason = trailing.get(rpc.REASON_METADATA, "")
    found = trailing.get(rpc.RECEIPT_METADATA)
    outcome.receipt_id = None if found is None else bytes.fromhex(found)


def changed(messages: Sequence[bytes], **changes: object) -> list[bytes]:
    """The same messages with other fields in the header, or in the account it holds."""
    message = pb.InferRequest.FromString(messages[0])
    for name, value in changes.items():
        account = name in {"tenant", "actor", "purpose", "subject"}
        setattr(message.header.account if account else message.header, name, value)
    return [message.SerializeToString(), *messages[1:]]


@contextmanager
def trail_of(settings: ServerSettings) -> Iterator[TrailFiles]:
    """The trail in a server's state directory, opened beside the server."""
    files = open_trail_files(settings.state, settings.audit_database, settings.audit_archive)
    try:
        yield files
    finally:
        files.close()


def receipts(files: TrailFiles) -> list[Receipt]:
    """All there are, oldest first."""
    return [entry.receipt().receipt for entry in files.log.entries()]


def receipt_of(files: TrailFiles, outcome: Outcome) -> Receipt:
    """The receipt that a refusal names."""
    assert outcome.receipt_id is not None
    return files.log.find_receipt(outcome.receipt_id).receipt().receipt


def receipts_of(files: TrailFiles, messages: Sequence[bytes]) -> list[Receipt]:
    """The receipts of one request."""
    request_id = decode_header(messages[0]).request_id
    return [receipt for receipt in receipts(files) if receipt.request_id == request_id]


def eventually(condition: Callable[[], bool]) -> None:
    """Wait until something is true that nobody announces."""
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            if condition():
                return
        except UnknownEntryError:
            pass
        assert time.monotonic() < deadline
        time.sleep(0.02)
