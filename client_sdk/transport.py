"""Calls over TLS: bytes out, bytes in, counted; failures as this project's errors."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, cast

import grpc
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import NameOID

from audit.errors import LogUnavailableError, UnknownEntryError, WitnessError
from protocol.errors import BlindproofError, EnrolmentError, ModelError, RequestError
from wire import rpc

MAX_DETAIL = 300

RECONNECT_MILLISECONDS = 200
"""Until the channel tries again after a first failure; calls fail at once meanwhile.  Shorter than
the pauses between repetitions of a request (`client_sdk.repeating`)."""

_StreamedCall: TypeAlias = (
    "grpc.aio.StreamUnaryCall[bytes, bytes] | grpc.aio.StreamStreamCall[bytes, bytes]"
)


class KeyUnknownError(EnrolmentError):
    """The server does not know the enrolled key a request names, or cannot use it."""


_ERRORS: dict[rpc.Reason, type[BlindproofError]] = {
    rpc.Reason.MODEL_UNKNOWN: ModelError,
    rpc.Reason.KEY_UNKNOWN: KeyUnknownError,
    rpc.Reason.KEY_UNFIT: KeyUnknownError,
    rpc.Reason.ENROLMENT_UNKNOWN: EnrolmentError,
    rpc.Reason.PROOF_REFUSED: EnrolmentError,
    rpc.Reason.KEYS_FULL: EnrolmentError,
    rpc.Reason.MALFORMED: RequestError,
    rpc.Reason.REQUEST_REFUSED: RequestError,
    rpc.Reason.IDENTITY_REFUSED: RequestError,
    rpc.Reason.RECEIPT_UNKNOWN: UnknownEntryError,
    rpc.Reason.WITNESSES_MISSING: WitnessError,
    rpc.Reason.AUDIT_UNAVAILABLE: LogUnavailableError,
}

_RECEIPT_ID = re.compile(r"[0-9a-f]{32}")

_ADVICE: dict[grpc.StatusCode, str] = {
    grpc.StatusCode.UNAVAILABLE: (
        ".  Does a server listen there, is the certificate given as ca its authority's, and does "
        "its certificate name this host?"
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


class TransportError(BlindproofError):
    """The server cannot be reached, is not who it should be, or did not finish the call."""


class ConnectionLostError(TransportError):
    """The connection broke, or there was none: whether the server did the work is unknown."""


@dataclass(frozen=True)
class TlsFiles:
    """PEM files of a connection.

    Attributes:
        ca: authority that signed the server's certificate; None for the system's authorities.
        certificate, key: the client's own, for servers that ask for one.
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    @classmethod
    def of(
        cls,
        ca: str | Path | None,
        certificate: str | Path | None,
        key: str | Path | None,
    ) -> TlsFiles:
        """From paths as users give them."""
        return cls(*(None if path is None else Path(path) for path in (ca, certificate, key)))

    def credentials(self) -> grpc.ChannelCredentials:
        """Credentials for gRPC, which aborts the process or never connects if they are unfit.

        Raises:
            TransportError: a file cannot be read or holds something else, a certificate came
                without its key or the other way round, or with another one's.
        """
        if (self.certificate is None) != (self.key is None):
            raise TransportError("a client certificate and its key are given together, or neither")
        ca = None if self.ca is None else _read(self.ca)
        if ca is not None:
            _certificate(ca, self.ca)
        if self.certificate is None or self.key is None:
            return grpc.ssl_channel_credentials(ca)
        certificate, key = _read(self.certificate), _read(self.key)
        try:
            private = serialization.load_pem_private_key(key, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise TransportError(f"{self.key} is not a PEM private key without password") from None
        if _certificate(certificate, self.certificate).public_key() != private.public_key():
            raise TransportError(f"{self.key} is not the key of {self.certificate}")
        return grpc.ssl_channel_credentials(ca, key, certificate)

    @property
    def common_name(self) -> str | None:
        """The name in the client's certificate, None without one.  Raises TransportError."""
        if self.certificate is None:
            return None
        subject = _certificate(_read(self.certificate), self.certificate).subject
        names = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return str(names[0].value) if names else None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TransportError(f"cannot read {path}: {error.strerror}") from error


def _certificate(data: bytes, path: Path | None) -> x509.Certificate:
    """The first certificate of a PEM file."""
    try:
        return x509.load_pem_x509_certificates(data)[0]
    except ValueError:
        raise TransportError(f"{path} is not a PEM certificate") from None


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
    """One channel to one server.  Opened by the first call, in that call's event loop."""

    def __init__(self, target: str, tls: TlsFiles, seconds: float) -> None:
        self._target = target
        self._credentials = tls.credentials()
        self._seconds = seconds
        self._channel: grpc.aio.Channel | None = None

    async def call(self, method: rpc.Method, request: bytes) -> bytes:
        """One message up, one down.  Raises BlindproofError."""
        try:
            procedure = self._open().unary_unary(method.path, _as_is, _as_is)
            return _received(await procedure(_sent(request), timeout=self._seconds))
        except grpc.aio.AioRpcError as error:
            raise _translated(error, self._target) from error

    async def send(self, method: rpc.Method, requests: Iterator[bytes]) -> bytes:
        """A header and many messages up, one down.  Raises BlindproofError."""
        upload = _Upload(requests)
        call = self._open().stream_unary(method.path, _as_is, _as_is)(
            upload.messages(), timeout=self._seconds
        )
        upload.follow(call)
        try:
            return _received(await call)
        except grpc.aio.AioRpcError as error:
            raise _translated(error, self._target) from error

    async def exchange(
        self, method: rpc.Method, requests: Iterator[bytes]
    ) -> AsyncGenerator[bytes, None]:
        """A header and many messages up, many down.  Raises BlindproofError."""
        upload = _Upload(requests)
        call = self._open().stream_stream(method.path, _as_is, _as_is)(
            upload.messages(), timeout=self._seconds
        )
        upload.follow(call)
        try:
            async for message in call:
                yield _received(message)
        except grpc.aio.AioRpcError as error:
            raise _translated(error, self._target) from error
        finally:
            call.cancel()  # no effect on a call that has ended

    async def close(self) -> None:
        """Close the channel."""
        if self._channel is not None:
            channel, self._channel = self._channel, None
            await channel.close(None)

    def _open(self) -> grpc.aio.Channel:
        if self._channel is None:
            self._channel = grpc.aio.secure_channel(
                self._target,
                self._credentials,
                options=(
                    ("grpc.max_receive_message_length", rpc.MAX_MESSAGE_BYTES),
                    ("grpc.initial_reconnect_backoff_ms", RECONNECT_MILLISECONDS),
                ),
            )
        return self._channel


class _Upload:
    """Sends a header, and the rest once the server has accepted it.

    Nothing large is sent to a server that is busy or does not know the key.  It also keeps the
    reason of a refusal: gRPC's asyncio client reports an internal error instead when a write meets
    a call that the server has just ended (grpc issue 36066).
    """

    def __init__(self, requests: Iterator[bytes]) -> None:
        self._requests = requests
        self._call: asyncio.Future[_StreamedCall] = asyncio.get_running_loop().create_future()

    def follow(self, call: _StreamedCall) -> None:
        """Say which call this upload belongs to."""
        self._call.set_result(call)

    async def messages(self) -> AsyncIterator[bytes]:
        """What gRPC is to send."""
        yield _sent(next(self._requests))
        call = await self._call
        metadata = await call.initial_metadata()
        if rpc.ADMITTED_METADATA in metadata:
            for request in self._requests:
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
    kind = _ERRORS.get(reason, TransportError)
    advice = _REASON_ADVICE.get(reason, "")
    return kind(f"the server declined ({reason}): {text}{_recorded(trailing)}{advice}")


def _recorded(trailing: grpc.aio.Metadata) -> str:
    """Which receipt records a refusal, for messages; empty if none does."""
    receipt_id = str(trailing.get(rpc.RECEIPT_METADATA))
    return f" (receipt {receipt_id})" if _RECEIPT_ID.fullmatch(receipt_id) else ""


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
