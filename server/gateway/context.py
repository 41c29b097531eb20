"""A call's context for procedures, over HTTP."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import NoReturn

import grpc
from fastapi import Request
from starlette.types import Message, Receive, Send

from protocol.errors import EncodingError
from server.calls import Metadata
from server.gateway.problems import RefusedError, aborted
from server.listener import PEER, Peer
from wire.delimited import MEDIA_TYPE, DelimitedReader, delimited

FORWARDED = frozenset({"authorization", "traceparent", "tracestate"})
"""Headers that procedures see as metadata of the call."""

_WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?(\d{1,9})\"?\s*(?=$|[,;])", re.IGNORECASE)


class HttpContext:
    """What procedures use of a transport, see `server.calls.Context`.

    HTTP has no deadline of its own: the preference `wait` (RFC 7240) is taken for one.  Nothing can
    be said before an answer either, so that initial metadata goes nowhere; a client that would not
    send a body in vain asks for `100 Continue`, which is sent when the procedure reads.
    """

    def __init__(self, request: Request, send: Send | None = None) -> None:
        """Begin a call.

        Args:
            request: whose headers and connection are the call's.
            send: takes a streamed answer.
        """
        self.peer: Peer = request.scope["state"][PEER]
        self.started = False
        """Whether a streamed answer has begun, after which it can only be cut off."""
        self._send = send
        self._metadata = tuple(
            (name, value) for name, value in request.headers.items() if name in FORWARDED
        )
        wait = _WAIT.search(",".join(request.headers.getlist("prefer")))
        loop = asyncio.get_running_loop()
        self._now = loop.time
        self._deadline = None if wait is None else loop.time() + int(wait[1])

    def auth_context(self) -> Mapping[str, tuple[bytes, ...]]:
        """The names of the peer's certificate, as gRPC calls them."""
        return {"x509_common_name": tuple(name.encode() for name in self.peer.common_names)}

    def invocation_metadata(self) -> Metadata:
        """The headers that are forwarded."""
        return self._metadata

    def time_remaining(self) -> float | None:
        """Seconds to the client's deadline."""
        return None if self._deadline is None else max(0.0, self._deadline - self._now())

    async def send_initial_metadata(self, initial_metadata: Metadata) -> None:
        """Say nothing, see the class."""

    async def write(self, message: bytes) -> None:
        """Send one message of a streamed answer; before the first nothing is sent at all."""
        await self._start()
        await self._sender(
            {"type": "http.response.body", "body": delimited(message), "more_body": True}
        )

    async def abort(
        self, code: grpc.StatusCode, details: str = "", trailing_metadata: Metadata = ()
    ) -> NoReturn:
        """End the call.  Raises RefusedError."""
        del code  # the reason says more
        raise RefusedError(aborted(details, dict(trailing_metadata)))

    async def finish(self) -> None:
        """End a streamed answer, which is whole."""
        await self._start()
        await self._sender({"type": "http.response.body", "body": b"", "more_body": False})

    async def _start(self) -> None:
        if not self.started:
            self.started = True
            headers = [(b"content-type", MEDIA_TYPE.encode())]
            await self._sender({"type": "http.response.start", "status": 200, "headers": headers})

    async def _sender(self, message: Message) -> None:
        if self._send is None:
            raise TypeError("this call's answer is not streamed")
        await self._send(message)


class BodyMessages:
    """The messages in a request's body, as procedures iterate over those of a call.

    At most one is held: the connection is not read while it is looked at.
    """

    def __init__(self, receive: Receive, first_limit: int) -> None:
        """Begin.

        Args:
            receive: of the request.
            first_limit: most bytes of the first message, which is held before the call is admitted.
        """
        self._receive = receive
        self._reader = DelimitedReader(first_limit)
        self._more = True

    def __aiter__(self) -> BodyMessages:
        return self

    async def __anext__(self) -> bytes:
        """The next message.

        Raises:
            EncodingError: the body is not whole messages.
            asyncio.CancelledError: the peer has gone.
        """
        while (message := self._reader.next()) is None:
            if not self._more:
                self._reader.finish()
                raise StopAsyncIteration
            self._reader.feed(await self._piece())
        return message

    async def _piece(self) -> bytes:
        event = await self._receive()
        if event["type"] != "http.request":
            raise asyncio.CancelledError  # as gRPC ends the calls of a peer that has gone
        self._more = event.get("more_body", False)
        return bytes(event.get("body", b""))


async def bounded_body(receive: Receive, limit: int, seconds: float) -> bytes:
    """A whole body.

    Raises:
        EncodingError: it is longer.
        TimeoutError: it took longer.
        asyncio.CancelledError: the peer has gone.
    """
    body = bytearray()
    more = True
    async with asyncio.timeout(seconds):
        while more:
            event = await receive()
            if event["type"] != "http.request":
                raise asyncio.CancelledError
            body += event.get("body", b"")
            more = event.get("more_body", False)
            if len(body) > limit:
                raise EncodingError(f"a body of more than {limit} bytes")
    return bytes(body)
