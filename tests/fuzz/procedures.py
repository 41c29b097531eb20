"""Malformed messages at every procedure of gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from random import Random

import grpc

from tests.fuzz import malformed
from tests.fuzz.outcomes import Tally
from tests.fuzz.target import ACCOUNT, ATTACKED, Target
from wire import rpc
from wire.enrolment import decode_challenge
from wire.rpc import MAX_MESSAGE_BYTES
from wire.v1 import keys_pb2 as pb

CONCURRENT = 24
SECONDS = 60.0
CANCELLED = 1 / 50
"""Of all calls, those that their client gives up at once."""
ENROLLING = 1 / 20
"""Of all ends of enrolments, those of one that has begun."""
BROKEN_WRITE = (grpc.StatusCode.INTERNAL, "Internal error from Core")
"""What gRPC's asyncio client says, of itself, of a write to a call that the server has ended (grpc
issue 36066).  The server's own words always have a reason."""
UPLOADS = frozenset({rpc.PUBLISH_MODEL, rpc.COMPLETE_ENROLMENT})
TYPED = frozenset(
    {
        grpc.StatusCode.OK,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
    }
)


def channel(target: Target) -> grpc.aio.Channel:
    certificate, key = target.certificate
    credentials = grpc.ssl_channel_credentials(
        target.ca.read_bytes(), key.read_bytes(), certificate.read_bytes()
    )
    options = (
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.ssl_target_name_override", "localhost"),
    )
    return grpc.aio.secure_channel(target.address, credentials, options)


class ProcedureFuzz:
    """Calls of one procedure."""

    def __init__(self, target: Target, method: rpc.Method, seed: int) -> None:
        self._target = target
        self._method = method
        self._random = Random(f"{seed} {method.path}")
        self.tally = Tally(method.path)

    async def run(self, count: int) -> Tally:
        """So many malformed calls, several at once."""
        left = iter(range(count))
        async with channel(self._target) as connection:
            await asyncio.gather(*(self._calls(connection, left) for _ in range(CONCURRENT)))
        return self.tally

    async def _calls(self, connection: grpc.aio.Channel, left: AsyncIterator[int]) -> None:
        for _ in left:
            messages = malformed.stream(await self._valid(connection), self._random)
            await self._call(connection, messages)

    async def _valid(self, connection: grpc.aio.Channel) -> list[bytes]:
        if self._method is rpc.INFER:
            prepared = self._target.prepared[self._random.choice(ATTACKED)]
            question = prepared.question(self._random, ACCOUNT)
            return [question.header, *question.body]
        messages = self._target.valid[self._method]
        if self._method is rpc.COMPLETE_ENROLMENT and self._random.random() < ENROLLING:
            (begin,) = self._target.valid[rpc.BEGIN_ENROLMENT]
            begun = await connection.unary_unary(rpc.BEGIN_ENROLMENT.path)(begin, timeout=SECONDS)
            header = pb.CompleteEnrolmentRequest.FromString(messages[0])
            header.header.session_id = decode_challenge(begun).session_id
            return [header.SerializeToString(), *messages[1:]]
        return messages

    async def _call(self, connection: grpc.aio.Channel, messages: list[bytes]) -> None:
        call = self._begun(connection, messages)
        given_up = self._random.random() < CANCELLED
        if given_up:
            await asyncio.sleep(self._random.random() / 100)
            call.cancel()
        try:
            status = await call.code()
        except asyncio.CancelledError:
            status = grpc.StatusCode.CANCELLED
        trailing = () if given_up else await call.trailing_metadata()
        reason = dict(trailing or ()).get(rpc.REASON_METADATA)
        oversized = any(len(message) > MAX_MESSAGE_BYTES for message in messages)
        name = "given up" if given_up else status.name
        if status is grpc.StatusCode.OK or given_up:
            allowed = True
        elif reason is None:  # gRPC's own
            broken = (status, await call.details()) == BROKEN_WRITE and len(messages) > 1
            allowed = broken or (oversized and status is grpc.StatusCode.RESOURCE_EXHAUSTED)
            name = "not all written" if broken else name
        else:
            allowed = status in TYPED
        self.tally.add(name, reason, allowed=allowed, sent=b"".join(messages[:2]))

    def _begun(self, connection: grpc.aio.Channel, messages: list[bytes]) -> grpc.aio.Call:
        path = self._method.path

        async def sending() -> AsyncIterator[bytes]:
            for message in messages:
                yield message

        if self._method is rpc.INFER:
            call = connection.stream_stream(path)(sending(), timeout=SECONDS)
            self._drain(call)
            return call
        if self._method in UPLOADS:
            return connection.stream_unary(path)(sending(), timeout=SECONDS)
        return connection.unary_unary(path)(messages[0] if messages else b"", timeout=SECONDS)

    def _drain(self, call: grpc.aio.StreamStreamCall) -> None:
        async def read() -> None:
            try:
                async for _ in call:
                    pass
            except (grpc.RpcError, asyncio.CancelledError):
                pass  # the status says it

        task = asyncio.ensure_future(read())
        _reading.add(task)
        task.add_done_callback(_reading.discard)


_reading: set[asyncio.Future[None]] = set()
