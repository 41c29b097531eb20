"""Calls of Infer as a client sends them, message by message, and everything that came back.

Requests are prepared once: what is asked again under another id differs in its header alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from random import Random

import grpc

from client_sdk.evidence import Evidence
from protocol.accountability import Account, idempotency_digest
from protocol.inputs import RequestInputs
from protocol.request import EMPTY_LOG_HEAD, NONCE_BYTES, REQUEST_ID_BYTES, Request
from wire import rpc
from wire.audit import ReceiptMessage, decode_receipt
from wire.inference import Response, ResponseAssembler, encode_request

SECONDS = 30.0


@dataclass(frozen=True)
class Question:
    """A request as it is sent; sent again it is the same, byte for byte."""

    request: Request
    account: Account
    header: bytes
    body: tuple[bytes, ...]

    @property
    def idempotency_digest(self) -> bytes:
        return idempotency_digest(self.request.client_id, self.request.request_id)


@dataclass(frozen=True)
class Prepared:
    """Encrypted inputs, to be asked about under any number of ids."""

    request: Request
    inputs: RequestInputs
    body: tuple[bytes, ...]

    @classmethod
    def of(cls, evidence: Evidence) -> Prepared:
        _, *body = encode_request(evidence.request, evidence.inputs)
        return cls(evidence.request, evidence.inputs, tuple(body))

    def question(self, random: Random, account: Account | None = None) -> Question:
        """The same inputs under an id and a nonce of their own."""
        account = account or Account()
        request = replace(
            self.request,
            request_id=random.randbytes(REQUEST_ID_BYTES),
            nonce=random.randbytes(NONCE_BYTES),
            log_head=EMPTY_LOG_HEAD,
        )
        header = next(encode_request(request, self.inputs, account))
        return Question(request, account, header, self.body)


@dataclass
class Exchange:
    """What came of one call.

    Attributes:
        question: what was asked.
        admitted: the server asked for the upload.
        messages: those that arrived, raw, the receipt included.
        status: the call's; None while it lasts.
        reason: the server's, of a refusal.
        receipt_id: of the receipt that records a refusal.
    """

    question: Question
    admitted: bool = False
    messages: list[bytes] = field(default_factory=list)
    status: grpc.StatusCode | None = None
    reason: str | None = None
    receipt_id: bytes | None = None

    @cached_property
    def response(self) -> Response | None:
        """The whole answer; None if its last message, the receipt, did not come."""
        request = self.question.request
        assembler = ResponseAssembler(request.card, request.packing, request.request_id)
        for message in self.messages:
            assembler.add(message)
        if self.status is grpc.StatusCode.OK:
            return assembler.finish()
        return response_if_whole(assembler)

    @cached_property
    def receipt(self) -> ReceiptMessage | None:
        """The receipt that came with the answer, None without one."""
        response = self.response
        return decode_receipt(response.receipt) if response and response.receipt else None


def response_if_whole(assembler: ResponseAssembler) -> Response | None:
    """A broken call may have brought everything but its status."""
    try:
        return assembler.finish()
    except ValueError:
        return None


def channel(address: str, ca: bytes) -> grpc.aio.Channel:
    return grpc.aio.secure_channel(
        address,
        grpc.ssl_channel_credentials(ca),
        options=(
            ("grpc.max_receive_message_length", rpc.MAX_MESSAGE_BYTES),
            ("grpc.use_local_subchannel_pool", 1),  # a connection of its own
            ("grpc.ssl_target_name_override", "localhost"),
        ),
    )


async def ask(connection: grpc.aio.Channel, question: Question) -> Exchange:
    """Ask, and keep whatever comes, however the call ends."""
    exchange = Exchange(question)
    call = connection.stream_stream(rpc.INFER.path)(timeout=SECONDS)
    try:
        await call.write(question.header)
        metadata = await call.initial_metadata()
        exchange.admitted = rpc.ADMITTED_METADATA in metadata
        for message in question.body if exchange.admitted else ():
            await call.write(message)
        await call.done_writing()
        async for message in call:
            exchange.messages.append(message)
    except (grpc.RpcError, asyncio.InvalidStateError):
        pass  # the status says it
    exchange.status = await call.code()
    trailing = await call.trailing_metadata() or ()
    found = dict(trailing)
    exchange.reason = found.get(rpc.REASON_METADATA)
    if rpc.RECEIPT_METADATA in found:
        exchange.receipt_id = bytes.fromhex(found[rpc.RECEIPT_METADATA])
    return exchange


def asked(address: str, ca: bytes, questions: Sequence[Question]) -> list[Exchange]:
    """Ask one after the other, over one connection."""

    async def run() -> list[Exchange]:
        connection = channel(address, ca)
        try:
            return [await ask(connection, question) for question in questions]
        finally:
            await connection.close()

    return asyncio.run(run())
