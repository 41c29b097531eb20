"""Codec of the audit service.

Entries, notes and hashes cross as bytes: `audit` knows what they mean, this only frames and bounds
them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from google.protobuf.message import Message

from protocol.digests import DIGEST_BYTES
from protocol.errors import EncodingError
from wire.framing import expect_size, parse
from wire.v1 import audit_pb2 as pb

MAX_HASHES = 64
"""Of one proof: a log has fewer than 2^63 entries."""
MAX_ENTRY_BYTES = 1 << 13
MAX_NOTE_BYTES = 1 << 17
MAX_PAGE_ENTRIES = 256
"""Of one answer, which they leave well below what a message may have."""
MAX_NAME = 1 << 10
RECEIPT_ID_BYTES = 16
PUBLIC_KEY_BYTES = 32
SIGNATURE_BYTES = 64
MAX_SIZE = (1 << 63) - 1


@dataclass(frozen=True)
class LogIdentity:
    """Whose log a server keeps; unproved."""

    log_key: str
    tenant: str


@dataclass(frozen=True)
class CheckpointRequest:
    """Which checkpoint is wanted."""

    min_size: int = 0
    old_size: int = 0
    cosigned: bool = False


@dataclass(frozen=True)
class CheckpointAnswer:
    """A signed note, and hashes from the old size to its size; not verified."""

    checkpoint: bytes
    consistency: tuple[bytes, ...]


@dataclass(frozen=True)
class ReceiptMessage:
    """A receipt with what proves it; not verified.

    Attributes:
        entry: the bytes of the log's entry.
        index: its place.
        inclusion: hashes to the checkpoint's root.
        checkpoint: a signed note.
        consistency: hashes from the size the client named to the checkpoint's.
    """

    entry: bytes
    index: int
    inclusion: tuple[bytes, ...]
    checkpoint: bytes
    consistency: tuple[bytes, ...]


@dataclass(frozen=True)
class Countersignature:
    """A client's signature over a receipt, not verified."""

    receipt_id: bytes
    client_key: bytes
    client_signature: bytes


@dataclass(frozen=True)
class ReceiptAnswer:
    """A receipt as it is in the log, with the client's key and signature if it has left one."""

    receipt: ReceiptMessage
    client: tuple[bytes, bytes] | None


def encode_log_request() -> bytes:
    """The request for a log's identity."""
    return pb.GetLogRequest().SerializeToString()


def decode_log_request(data: bytes) -> None:
    """Parse it.  Raises EncodingError."""
    parse(pb.GetLogRequest, data)


def encode_log(identity: LogIdentity) -> bytes:
    """A log's identity."""
    return pb.GetLogResponse(log_key=identity.log_key, tenant=identity.tenant).SerializeToString()


def decode_log(data: bytes) -> LogIdentity:
    """Parse it.  Raises EncodingError."""
    message = parse(pb.GetLogResponse, data)
    for text in (message.log_key, message.tenant):
        if not 0 < len(text) <= MAX_NAME:
            raise EncodingError(f"a log's key and tenant have 1 to {MAX_NAME} characters")
    return LogIdentity(message.log_key, message.tenant)


def encode_checkpoint_request(request: CheckpointRequest) -> bytes:
    """The request for a checkpoint."""
    return pb.GetCheckpointRequest(
        min_size=request.min_size, old_size=request.old_size, cosigned=request.cosigned
    ).SerializeToString()


def decode_checkpoint_request(data: bytes) -> CheckpointRequest:
    """Parse it.  Raises EncodingError."""
    message = parse(pb.GetCheckpointRequest, data)
    return CheckpointRequest(
        _size(message.min_size), _size(message.old_size), bool(message.cosigned)
    )


def encode_checkpoint(answer: CheckpointAnswer) -> bytes:
    """A checkpoint."""
    return pb.GetCheckpointResponse(
        checkpoint=answer.checkpoint, consistency=answer.consistency
    ).SerializeToString()


def decode_checkpoint(data: bytes) -> CheckpointAnswer:
    """Parse it.  Raises EncodingError."""
    message = parse(pb.GetCheckpointResponse, data)
    return CheckpointAnswer(_note(message.checkpoint), _hashes(message.consistency))


def encode_receipt(receipt: ReceiptMessage) -> bytes:
    """A receipt with what proves it."""
    return pb.ProvenReceipt(
        entry=receipt.entry,
        index=receipt.index,
        inclusion=receipt.inclusion,
        checkpoint=receipt.checkpoint,
        consistency=receipt.consistency,
    ).SerializeToString()


def decode_receipt(data: bytes) -> ReceiptMessage:
    """Parse it.  Raises EncodingError."""
    message = parse(pb.ProvenReceipt, data)
    if not 0 < len(message.entry) <= MAX_ENTRY_BYTES:
        raise EncodingError(f"an entry has 1 to {MAX_ENTRY_BYTES} bytes")
    return ReceiptMessage(
        message.entry,
        _size(message.index),
        _hashes(message.inclusion),
        _note(message.checkpoint),
        _hashes(message.consistency),
    )


def encode_receipt_request(receipt_id: bytes, old_size: int = 0) -> bytes:
    """The request for a receipt."""
    return pb.GetReceiptRequest(receipt_id=receipt_id, old_size=old_size).SerializeToString()


def decode_receipt_request(data: bytes) -> tuple[bytes, int]:
    """Receipt id and old size.  Raises EncodingError."""
    message = parse(pb.GetReceiptRequest, data)
    return expect_size(message.receipt_id, RECEIPT_ID_BYTES, "receipt id"), _size(message.old_size)


def encode_receipt_answer(answer: ReceiptAnswer) -> bytes:
    """A receipt as it is in the log."""
    key, signature = answer.client or (b"", b"")
    return pb.GetReceiptResponse(
        receipt=encode_receipt(answer.receipt), client_key=key, client_signature=signature
    ).SerializeToString()


def decode_receipt_answer(data: bytes) -> ReceiptAnswer:
    """Parse it.  Raises EncodingError."""
    message = parse(pb.GetReceiptResponse, data)
    client = None
    if message.client_key or message.client_signature:
        client = (
            expect_size(message.client_key, PUBLIC_KEY_BYTES, "client key"),
            expect_size(message.client_signature, SIGNATURE_BYTES, "client signature"),
        )
    return ReceiptAnswer(decode_receipt(message.receipt), client)


def encode_inclusion_request(index: int, size: int) -> bytes:
    """The request for an inclusion proof."""
    return pb.GetInclusionRequest(index=index, size=size).SerializeToString()


def decode_inclusion_request(data: bytes) -> tuple[int, int]:
    """Index and size.  Raises EncodingError."""
    message = parse(pb.GetInclusionRequest, data)
    return _size(message.index), _size(message.size)


def encode_inclusion(hashes: Sequence[bytes]) -> bytes:
    """An inclusion proof."""
    return _framed(pb.GetInclusionResponse(hashes=hashes))


def decode_inclusion(data: bytes) -> tuple[bytes, ...]:
    """Parse it.  Raises EncodingError."""
    return _hashes(parse(pb.GetInclusionResponse, data).hashes)


def encode_consistency_request(old_size: int, new_size: int) -> bytes:
    """The request for a consistency proof."""
    return _framed(pb.GetConsistencyRequest(old_size=old_size, new_size=new_size))


def decode_consistency_request(data: bytes) -> tuple[int, int]:
    """Both sizes.  Raises EncodingError."""
    message = parse(pb.GetConsistencyRequest, data)
    return _size(message.old_size), _size(message.new_size)


def encode_consistency(hashes: Sequence[bytes]) -> bytes:
    """A consistency proof."""
    return _framed(pb.GetConsistencyResponse(hashes=hashes))


def decode_consistency(data: bytes) -> tuple[bytes, ...]:
    """Parse it.  Raises EncodingError."""
    return _hashes(parse(pb.GetConsistencyResponse, data).hashes)


def encode_entries_request(start: int, limit: int = MAX_PAGE_ENTRIES) -> bytes:
    """The request for a page of entries."""
    return _framed(pb.ReadEntriesRequest(start=start, limit=limit))


def decode_entries_request(data: bytes) -> tuple[int, int]:
    """Index of the first entry, and the most that are wanted.  Raises EncodingError."""
    message = parse(pb.ReadEntriesRequest, data)
    if not 0 < message.limit <= MAX_PAGE_ENTRIES:
        raise EncodingError(f"a page has 1 to {MAX_PAGE_ENTRIES} entries")
    return _size(message.start), message.limit


def encode_entries(entries: Sequence[bytes]) -> bytes:
    """A page of entries."""
    return _framed(pb.ReadEntriesResponse(entries=entries))


def decode_entries(data: bytes) -> tuple[bytes, ...]:
    """Parse it; not verified.  Raises EncodingError."""
    entries = tuple(parse(pb.ReadEntriesResponse, data).entries)
    if len(entries) > MAX_PAGE_ENTRIES:
        raise EncodingError(f"a page has at most {MAX_PAGE_ENTRIES} entries")
    if not all(0 < len(entry) <= MAX_ENTRY_BYTES for entry in entries):
        raise EncodingError(f"an entry has 1 to {MAX_ENTRY_BYTES} bytes")
    return entries


def encode_countersignature(signed: Countersignature) -> bytes:
    """A client's signature."""
    return pb.CountersignRequest(
        receipt_id=signed.receipt_id,
        client_key=signed.client_key,
        client_signature=signed.client_signature,
    ).SerializeToString()


def decode_countersignature(data: bytes) -> Countersignature:
    """Parse it.  Raises EncodingError."""
    message = parse(pb.CountersignRequest, data)
    return Countersignature(
        expect_size(message.receipt_id, RECEIPT_ID_BYTES, "receipt id"),
        expect_size(message.client_key, PUBLIC_KEY_BYTES, "client key"),
        expect_size(message.client_signature, SIGNATURE_BYTES, "client signature"),
    )


def encode_countersigned() -> bytes:
    """The answer to a client's signature."""
    return pb.CountersignResponse().SerializeToString()


def decode_countersigned(data: bytes) -> None:
    """Parse it.  Raises EncodingError."""
    parse(pb.CountersignResponse, data)


def _framed(message: Message) -> bytes:
    return message.SerializeToString()


def _size(value: int) -> int:
    if value > MAX_SIZE:
        raise EncodingError(f"a log has at most {MAX_SIZE} entries")
    return value


def _note(data: bytes) -> bytes:
    if not 0 < len(data) <= MAX_NOTE_BYTES:
        raise EncodingError(f"a checkpoint has 1 to {MAX_NOTE_BYTES} bytes")
    return data


def _hashes(found: Iterable[bytes]) -> tuple[bytes, ...]:
    hashes = tuple(found)
    if len(hashes) > MAX_HASHES:
        raise EncodingError(f"a proof has at most {MAX_HASHES} hashes")
    return tuple(expect_size(item, DIGEST_BYTES, "hash") for item in hashes)
