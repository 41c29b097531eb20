"""The channel to one server, and its successors when the PEM files are replaced."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc

from client_sdk.credentials import TlsFiles
from client_sdk.transport_errors import TransportError
from wire import rpc

RECONNECT_MILLISECONDS = 200
"""Until the channel tries again after a first failure; calls fail at once meanwhile.  Shorter than
the pauses between repetitions of a request (`client_sdk.repeating`)."""

RETRIED = (
    rpc.LIST_MODELS,
    rpc.GET_MODEL,
    rpc.BEGIN_ENROLMENT,
    rpc.GET_LOG,
    rpc.GET_CHECKPOINT,
    rpc.GET_RECEIPT,
    rpc.GET_INCLUSION,
    rpc.GET_CONSISTENCY,
    rpc.COUNTERSIGN,
)
"""Unary calls that do no harm when the server serves them twice: gRPC repeats them by itself.
Streams are not among them: their messages would have to be kept, and `client_sdk.repeating` knows
what a repeated request is."""

ATTEMPTS = 4
"""Of such a call, the first included."""

SERVICE_CONFIG = {
    "methodConfig": [
        {
            "name": [{"service": method.service, "method": method.name} for method in RETRIED],
            "retryPolicy": {
                "maxAttempts": ATTEMPTS,
                "initialBackoff": "0.25s",
                "maxBackoff": "2s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ],
    # Once most calls fail, none is repeated: a server that is down is not helped by more of them.
    "retryThrottling": {"maxTokens": 10, "tokenRatio": 0.5},
}
"""gRPC's proposal A6, client retries."""


class _Line:
    """One channel with the calls that are on it."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self.calls = 0


class Channels:
    """The channel of a client.  Opened by the first call, in that call's event loop.

    When the PEM files have changed, the next call opens another channel with them; calls that are
    under way end on the one they began on.
    """

    def __init__(self, target: str, tls: TlsFiles) -> None:
        """Configure.  Raises TransportError."""
        self._target = target
        self._tls = tls
        self._stamp = tls.stamp()
        self._credentials = tls.credentials()
        self._line: _Line | None = None
        self._replaced: set[_Line] = set()  # with calls under way

    @asynccontextmanager
    async def open(self) -> AsyncIterator[grpc.aio.Channel]:
        """The channel for one call, which ends within the context."""
        await self._renew()
        line = self._line = self._line or self._connected()
        line.calls += 1
        try:
            yield line.channel
        finally:
            line.calls -= 1
            if line in self._replaced and not line.calls:
                self._replaced.discard(line)
                await line.channel.close(None)

    async def close(self) -> None:
        """Close the channel, and end the calls that are under way."""
        lines = [*self._replaced, *([] if self._line is None else [self._line])]
        self._replaced.clear()
        self._line = None
        for line in lines:
            await line.channel.close(None)

    async def _renew(self) -> None:
        """Take files that have changed, unless they do not fit: one is written before another."""
        stamp = self._tls.stamp()
        if stamp == self._stamp:
            return
        self._stamp = stamp  # taken before they are read: a later change is another one
        try:
            self._credentials = self._tls.credentials()
        except TransportError:
            return
        if self._line is not None:
            line, self._line = self._line, None
            if line.calls:
                self._replaced.add(line)
            else:
                await line.channel.close(None)

    def _connected(self) -> _Line:
        channel = grpc.aio.secure_channel(
            self._target,
            self._credentials,
            options=(
                ("grpc.max_receive_message_length", rpc.MAX_MESSAGE_BYTES),
                ("grpc.initial_reconnect_backoff_ms", RECONNECT_MILLISECONDS),
                ("grpc.service_config", json.dumps(SERVICE_CONFIG)),
            ),
        )
        return _Line(channel)
