"""Calls over TLS: bytes out, bytes in, counted; failures as this project's errors."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeAlias, cast

import grpc

from audit.errors import LogUnavailableError, UnknownEntryError, WitnessError
from client_sdk.channel import Channels
from client_sdk.credentials import Bearer, TlsFiles
from client_sdk.resuming import Exchange
from client_sdk.tracing import TRACEPARENT, traceparent
from client_sdk.transport_errors import (
    ConnectionLostError,
    KeyUnknownError,
    ServerBusyError,
    TransportError,
)
from protocol.errors import BlindproofError, EnrolmentError, ModelError, RequestError
from wire import rpc
from wire.transfer import Position

MAX_DETAIL = 300

_StreamedCall: TypeAlias = (
    "grpc.aio.StreamUnaryCall[bytes, bytes] | grpc.aio.StreamStreamCall[bytes, bytes]"
)


_ERRORS: dict[rpc.Reason, type[BlindproofError]] = {
    rpc.Reason.MODEL_UNKNOWN: ModelError,
    rpc.Reason.KEY_UNKNOWN: KeyUnknownError,
    rpc.Reason.KEY_UNFIT: KeyUnknownError,
    rpc.Reason.ENROLMENT_UNKNOWN: EnrolmentError,
    rpc.Reason.PROOF_REFUSED: EnrolmentError,
    rpc.Reason.KEYS_FULL: EnrolmentError,
    rpc.Reason.MODELS_FULL: ModelError,
    rpc.Reason.UNAUTHENTICATED: RequestError,
    rpc.Reason.ROLE_MISSING: RequestError,
    rpc.Reason.MALFORMED: RequestError,
    rpc.Reason.REQUEST_REFUSED: RequestError,
    rpc.Reason.IDENTITY_REFUSED: RequestError,
    rpc.Reason.RECEIPT_UNKNOWN: UnknownEntryError,
    rpc.Reason.WITNESSES_MISSING: WitnessError,
    rpc.Reason.AUDIT_UNAVAILABLE: LogUnavailableError,
    rpc.Reason.WORKER_LOST: ConnectionLostError,
}

_BUSY = frozenset({rpc.Reason.BUSY, rpc.Reason.QUOTA_EXHAUSTED})
_MILLISECONDS = re.compile(r"[0-9]{1,9}")
_RECEIPT_ID = re.compile(r"[0-9a-f]{32}")

_ADVICE: dict[grpc.StatusCode, str] = {
    grpc.StatusCode.UNAVAILABLE: (
        ".  Does a server listen there, is the certificate given as ca its authority's, does its "
        "certificate name this host, and does it ask for a certificate of yours?"
    ),
    grpc.StatusCode.UNIMPLEMENTED: ".  Is this server older than the client?",
    grpc.StatusCode.DEADLINE_EXCEEDED: ".  Allow more time, with seconds=... of the client",
}

_REASON_ADVICE: dict[rpc.Reason, str] = {
    rpc.Reason.MODEL_UNKNOWN: ".  `blindproof models --target` lists the models it offers",
}


_BROKEN_WRITE = (grpc.StatusCode.INTERNAL, "Internal error from Core")
"""What gRPC's asyncio client says, of itself, of a write that meets a broken connection (grpc issue
36066), and of one that meets a call the server has ended."""


@dataclass
class Carried:
    """Bytes of messages, both ways."""

    sent: int = 0
    received: int = 0


_carried: ContextVar[Carried | None] = ContextVar("carried", default=None)


@contextmanager
def counting() -> Iterator[Carried]:
    """Count what this task, and those it starts, send and receive meanwhile.

    Other tasks have counts of their own, though they share the channel.
    """
    carried = Carried()
    token = _carried.set(carried)
    try:
        yield carried
    finally:
        _carried.reset(token)


class Transport:
    """Calls to one server, over one channel at a time (`client_sdk.channel`)."""

    def __init__(
        self, target: str, tls: TlsFiles, seconds: float, bearer: Bearer | None = None
    ) -> None:
        """Configure.

        Args:
            target: host and port.
            tls: PEM files.
            seconds: time limit of each call.
            bearer: token that goes with each call.

        Raises:
            TransportError: a PEM file cannot be used.
        """
        self._target = target
        self._channels = Channels(target, tls)
        self._seconds = seconds
        self._bearer = bearer

    async def call(self, method: rpc.Method, request: bytes) -> bytes:
        """One message up, one down.  Raises BlindproofError."""
        metadata = self._metadata()
        async with self._channels.open() as channel:
            try:
                procedure = channel.unary_unary(method.path, _as_is, _as_is)
                answer = await procedure(_sent(request), timeout=self._seconds, metadata=metadata)
            except grpc.aio.AioRpcError as error:
                raise _translated(error, self._target) from error
            return _received(answer)

    async def send(self, method: rpc.Method, requests: Iterator[bytes]) -> bytes:
        """A header and many messages up, one down.  Raises BlindproofError."""
        metadata = self._metadata()
        upload = _Upload(next(requests), lambda _: requests)
        async with self._channels.open() as channel:
            call = channel.stream_unary(method.path, _as_is, _as_is)(
                upload.messages(), timeout=self._seconds, metadata=metadata
            )
            upload.follow(call)
            try:
                return _received(await call)
            except grpc.aio.AioRpcError as error:
                raise _translated(error, self._target) from error

    async def exchange(self, method: rpc.Method, exchange: Exchange) -> None:
        """A header and many messages up, many down, from where an earlier connection broke.

        Raises:
            EncodingError: a message is not one of the answer's.
            BlindproofError: the call failed.
        """
        metadata = self._metadata()
        if exchange.received is not None:
            metadata.add(rpc.RECEIVED_METADATA, str(exchange.received))
        upload = _Upload(exchange.header(), exchange.rest)
        async with self._channels.open() as channel:
            call = channel.stream_stream(method.path, _as_is, _as_is)(
                upload.messages(), timeout=self._seconds, metadata=metadata
            )
            upload.follow(call)
            try:
                said = await call.initial_metadata()
                exchange.answered(Position.parsed(said.get(rpc.CONTINUES_METADATA)))
                async for message in call:
                    exchange.add(_received(message))
            except grpc.aio.AioRpcError as error:
                raise _translated(error, self._target) from error
            finally:
                call.cancel()  # no effect on a call that has ended

    async def close(self) -> None:
        """Close the channel."""
        await self._channels.close()

    def _metadata(self) -> grpc.aio.Metadata:
        """What goes with a call beside its messages.  Raises TransportError."""
        metadata = grpc.aio.Metadata()
        if self._bearer is not None:
            metadata.add(*self._bearer.metadata())
        span = traceparent()
        if span is not None:
            metadata.add(TRACEPARENT, span)
        return metadata


class _Upload:
    """Sends a header, and the rest once the server has accepted it.

    Nothing large is sent to a server that is busy or does not know the key.  It also keeps the
    reason of a refusal: gRPC's asyncio client reports an internal error instead when a write meets
    a call that the server has just ended (grpc issue 36066).
    """

    def __init__(self, header: bytes, rest: Callable[[Position | None], Iterator[bytes]]) -> None:
        """Prepare.

        Args:
            header: the first message.
            rest: the others, but for those that the server says it has.
        """
        self._header = header
        self._rest = rest
        self._call: asyncio.Future[_StreamedCall] = asyncio.get_running_loop().create_future()

    def follow(self, call: _StreamedCall) -> None:
        """Say which call this upload belongs to."""
        self._call.set_result(call)

    async def messages(self) -> AsyncIterator[bytes]:
        """What gRPC is to send."""
        yield _sent(self._header)
        call = await self._call
        metadata = await call.initial_metadata()
        if rpc.ADMITTED_METADATA in metadata:
            for request in self._rest(Position.parsed(metadata.get(rpc.HELD_METADATA))):
                yield _sent(request)


def _translated(error: grpc.aio.AioRpcError, target: str) -> BlindproofError:
    """The server's reason as an error type; its words cleaned, for they are the peer's."""
    text = "".join(c for c in (error.details() or "") if c.isprintable())[:MAX_DETAIL]
    trailing = cast("grpc.aio.Metadata", error.trailing_metadata())
    try:
        reason = rpc.Reason(str(trailing.get(rpc.REASON_METADATA)))
    except ValueError:
        advice = _ADVICE.get(error.code(), "")
        broken_write = (error.code(), error.details()) == _BROKEN_WRITE
        lost = broken_write or error.code() is grpc.StatusCode.UNAVAILABLE
        failure = ConnectionLostError if lost else TransportError
        return failure(f"call to {target} failed ({error.code().name}): {text}{advice}")
    advice = _REASON_ADVICE.get(reason, "")
    message = f"the server declined ({reason}): {text}{_recorded(trailing)}{advice}"
    if reason in _BUSY:
        seconds = _retry_seconds(trailing)
        when = "" if seconds is None else f".  Try again in {seconds:.3g} seconds"
        return ServerBusyError(message + when, seconds)
    return _ERRORS.get(reason, TransportError)(message)


def _recorded(trailing: grpc.aio.Metadata) -> str:
    """Which receipt records a refusal, for messages; empty if none does."""
    receipt_id = str(trailing.get(rpc.RECEIPT_METADATA))
    return f" (receipt {receipt_id})" if _RECEIPT_ID.fullmatch(receipt_id) else ""


def _retry_seconds(trailing: grpc.aio.Metadata) -> float | None:
    """When the server would be asked again; None if it does not say, or says nothing sensible."""
    milliseconds = str(trailing.get(rpc.RETRY_METADATA))
    return int(milliseconds) / 1000 if _MILLISECONDS.fullmatch(milliseconds) else None


def _sent(message: bytes) -> bytes:
    carried = _carried.get()
    if carried is not None:
        carried.sent += len(message)
    return message


def _received(message: bytes) -> bytes:
    carried = _carried.get()
    if carried is not None:
        carried.received += len(message)
    return message


def _as_is(message: bytes) -> bytes:
    """Messages are encoded and parsed by the codecs."""
    return message
