"""The audit service: the log as anyone may check it who holds a receipt or a checkpoint.

Reading changes nothing: checkpoints are signed when they are asked for, and the same state has the
same one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

import grpc

from audit.checkpoint import Checkpoint
from audit.countersignatures import countersign, countersignature
from audit.errors import LogUnavailableError
from audit.head import Head
from audit.log import AuditLog
from audit.signed_note import SignedNote
from audit.signed_receipt import ReceiptSignature
from server.calls import Calls, Context, Procedures
from server.refusals import Refusal
from server.rooms import Room
from server.trail import Answered
from wire import rpc
from wire.audit import (
    CheckpointAnswer,
    CheckpointRequest,
    LogIdentity,
    ReceiptAnswer,
    decode_checkpoint_request,
    decode_consistency_request,
    decode_countersignature,
    decode_entries_request,
    decode_inclusion_request,
    decode_log_request,
    decode_receipt_request,
    encode_checkpoint,
    encode_consistency,
    encode_countersigned,
    encode_entries,
    encode_inclusion,
    encode_log,
    encode_receipt_answer,
)

Result = TypeVar("Result")


class AuditService:
    """The procedures of audit trails: each call sees its own tenant's."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def procedures(self) -> Procedures:
        """What is routed here."""
        return {
            rpc.GET_LOG: grpc.unary_unary_rpc_method_handler(self.get_log),
            rpc.GET_CHECKPOINT: grpc.unary_unary_rpc_method_handler(self.get_checkpoint),
            rpc.GET_RECEIPT: grpc.unary_unary_rpc_method_handler(self.get_receipt),
            rpc.GET_INCLUSION: grpc.unary_unary_rpc_method_handler(self.get_inclusion),
            rpc.GET_CONSISTENCY: grpc.unary_unary_rpc_method_handler(self.get_consistency),
            rpc.READ_ENTRIES: grpc.unary_unary_rpc_method_handler(self.read_entries),
            rpc.COUNTERSIGN: grpc.unary_unary_rpc_method_handler(self.countersign),
        }

    async def get_log(self, data: bytes, context: Context) -> bytes:
        """AuditService.GetLog."""
        async with self._calls.serving(context, rpc.GET_LOG) as call:
            decode_log_request(data)
            trail = call.room.trail
            return encode_log(LogIdentity(trail.log_key.encoded(), trail.tenant))

    async def get_checkpoint(self, data: bytes, context: Context) -> bytes:
        """AuditService.GetCheckpoint."""
        async with self._calls.serving(context, rpc.GET_CHECKPOINT) as call:
            request = decode_checkpoint_request(data)
            trail = call.room.trail
            head = await _in_thread(trail.files.log.head)
            wanted = max(request.min_size, request.old_size)
            if head.size < wanted:
                raise Refusal(
                    rpc.Reason.RECEIPT_UNKNOWN, f"the log has {head.size} entries, not {wanted}"
                )
            note, head = await self._checkpoint(call.room, request, head)
            hashes = await _in_thread(lambda: trail.consistency(request.old_size, head))
            return encode_checkpoint(CheckpointAnswer(note.encoded(), hashes))

    async def _checkpoint(
        self, room: Room, request: CheckpointRequest, head: Head
    ) -> tuple[SignedNote, Head]:
        """The log as it is, or a state that witnesses have signed."""
        if not request.cosigned:
            return room.trail.checkpoint(head), head
        if room.cosigning is None:
            raise Refusal(rpc.Reason.WITNESSES_MISSING, "this server's log has no witnesses")
        note = await room.cosigning.cosigned(max(request.min_size, request.old_size))
        cosigned = Checkpoint.from_text(note.text)
        return note, Head(cosigned.size, cosigned.root)

    async def get_receipt(self, data: bytes, context: Context) -> bytes:
        """AuditService.GetReceipt."""
        async with self._calls.serving(context, rpc.GET_RECEIPT) as call:
            receipt_id, old_size = decode_receipt_request(data)
            trail = call.room.trail
            answered, client = await _in_thread(lambda: _receipt(trail.files.log, receipt_id))
            receipt = await trail.proven(answered, old_size)
            return encode_receipt_answer(ReceiptAnswer(receipt, client))

    async def get_inclusion(self, data: bytes, context: Context) -> bytes:
        """AuditService.GetInclusion."""
        async with self._calls.serving(context, rpc.GET_INCLUSION) as call:
            index, size = decode_inclusion_request(data)
            log = call.room.trail.files.log
            proof = await _in_thread(lambda: log.inclusion_proof(index, size))
            return encode_inclusion(proof.hashes)

    async def get_consistency(self, data: bytes, context: Context) -> bytes:
        """AuditService.GetConsistency."""
        async with self._calls.serving(context, rpc.GET_CONSISTENCY) as call:
            old_size, new_size = decode_consistency_request(data)
            log = call.room.trail.files.log
            hashes = await _in_thread(lambda: log.consistency_proof(old_size, new_size))
            return encode_consistency(hashes)

    async def read_entries(self, data: bytes, context: Context) -> bytes:
        """AuditService.ReadEntries."""
        async with self._calls.serving(context, rpc.READ_ENTRIES) as call:
            start, limit = decode_entries_request(data)
            log = call.room.trail.files.log
            page = await _in_thread(lambda: _page(log, start, limit))
            return encode_entries(page)

    async def countersign(self, data: bytes, context: Context) -> bytes:
        """AuditService.Countersign."""
        async with self._calls.serving(context, rpc.COUNTERSIGN) as call:
            signed = decode_countersignature(data)
            signature = ReceiptSignature(signed.client_key, signed.client_signature)
            log = call.room.trail.files.log
            await _in_thread(lambda: countersign(log, signed.receipt_id, signature))
            return encode_countersigned()


def _receipt(log: AuditLog, receipt_id: bytes) -> tuple[Answered, tuple[bytes, bytes] | None]:
    """A receipt, and the key and signature of the client that has countersigned it."""
    entry = log.find_receipt(receipt_id)
    signature = countersignature(log, receipt_id)
    client = None if signature is None else (signature.public, signature.signature)
    return Answered(entry.receipt(), entry.index, log.head()), client


def _page(log: AuditLog, start: int, limit: int) -> list[bytes]:
    """Entries from an index on, as many as there are up to a limit."""
    stop = min(start + limit, log.head().size)
    return [entry.data for entry in log.entries(start, stop)]


async def _in_thread(work: Callable[[], Result]) -> Result:
    """Run what waits for the database.  Raises what it raises, and LogUnavailableError."""
    try:
        return await asyncio.to_thread(work)
    except OSError as error:
        raise LogUnavailableError(f"the audit trail failed: {error.strerror}") from error
