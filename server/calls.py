"""What every procedure has around it: whose call it is, a time limit, a status, and a receipt.

Calls arrive as raw bytes and are parsed by the procedures, under the same handling of failures as
everything after.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

import grpc
import structlog
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from audit.receipt import Action
from protocol.errors import EncodingError
from server.events import Event
from server.identity import Identification, Principal, Shown
from server.refusals import Refusal, as_refusal
from server.rooms import Room, Rooms
from wire import rpc

Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"
Stream: TypeAlias = AsyncIterator[bytes]
Procedures: TypeAlias = "Mapping[rpc.Method, grpc.RpcMethodHandler[bytes, bytes]]"

First = TypeVar("First")
Second = TypeVar("Second")

_BEARER = "bearer "
_OPERATORS_BUSINESS = frozenset({rpc.Reason.INTERNAL, rpc.Reason.AUDIT_UNAVAILABLE})
_log = structlog.get_logger("blindproof.server")


@dataclass
class Call:
    """One call that is being served.

    Attributes:
        principal: whose it is.
        room: of its tenant.
        event: what its receipt will say; None as long as it needs none.
        held: what is given back when all is over.  A call that has failed keeps its words, in the
            frames of its error, until its receipt is written: they count until then.
    """

    principal: Principal
    room: Room
    event: Event | None = None
    held: ExitStack = field(default_factory=ExitStack)

    def begin(self, action: Action) -> Event:
        """From here on the call gets a receipt, whatever becomes of it."""
        self.event = self.room.trail.event(action)
        return self.event


class Calls:
    """Serves calls within a time limit and records those that need a receipt."""

    def __init__(self, seconds: float, identification: Identification, rooms: Rooms) -> None:
        """Configure.

        Args:
            seconds: longest time a call may take, its transfer included.
            identification: who decides whose call it is.
            rooms: of the tenants.
        """
        self._seconds = seconds
        self._identification = identification
        self._rooms = rooms
        self._serving: set[asyncio.Task[object]] = set()

    async def end(self) -> None:
        """Cancel what is still served, and wait until it has said what it has to record."""
        serving = set(self._serving)
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)

    @asynccontextmanager
    async def serving(self, context: Context, method: rpc.Method) -> AsyncIterator[Call]:
        """Bound a call's time, and turn every failure into a receipt and then into its status.

        Peers whom nobody knows get no receipt: there is no tenant whose log it would belong to.
        """
        call = None
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 -- a coroutine of the event loop runs in one
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        try:
            async with asyncio.timeout(self._seconds):
                principal = await self._identification.identify(shown_by(context))
                call = Call(principal, self._rooms.of(principal.tenant))
                yield call
        except grpc.aio.AbortError:
            raise
        except asyncio.CancelledError:
            if call is not None and call.event is not None:
                call.room.trail.record_cancelled(call.event)
            raise
        except Exception as error:  # noqa: BLE001 -- the last line: the peer learns a reason only
            refusal = as_refusal(error)
            if refusal.reason in _OPERATORS_BUSINESS:
                _log.error("call failed", method=method.path, exc_info=error)
            else:
                _log.info("call refused", method=method.path, reason=str(refusal.reason))
            receipt = None
            if call is not None and call.event is not None:
                refusal, receipt = await call.room.trail.record_refusal(call.event, refusal)
            await context.abort(refusal.status, str(refusal), _metadata(refusal, receipt))
        finally:
            if call is not None:
                call.held.close()


def shown_by(context: Context) -> Shown:
    """What a peer of gRPC shows of itself."""
    names = context.auth_context().get("x509_common_name", ())
    bearer = None
    for key, value in context.invocation_metadata() or ():
        if key == "authorization" and str(value)[: len(_BEARER)].lower() == _BEARER:
            bearer = str(value)[len(_BEARER) :].strip()
    return Shown(tuple(name.decode("utf-8", "replace") for name in names), bearer)


def handlers_of(procedures: Procedures) -> list[grpc.GenericRpcHandler[bytes, bytes]]:
    """What gRPC routes to some procedures."""
    return [
        grpc.method_handlers_generic_handler(
            service,
            {
                method.name: handler
                for method, handler in procedures.items()
                if method.service == service
            },
        )
        for service in sorted({method.service for method in procedures})
    ]


async def next_message(messages: Stream, seconds: float) -> bytes | None:
    """The next message, None at the end.  Raises Refusal (too-slow) when it takes longer."""
    async with within(seconds, "no message"):
        return await anext(messages, None)


async def first_message(messages: Stream, seconds: float) -> bytes:
    """The first message, awaited without a place and not for long: streams cost peers nothing.

    Raises:
        Refusal: it did not come in time (too-slow).
        EncodingError: the stream ended.
    """
    message = await next_message(messages, seconds)
    if message is None:
        raise EncodingError("the stream ended before its header")
    return message


async def receive(messages: Stream, seconds: float, add: Callable[[bytes], None]) -> None:
    """Pass every further message on.

    Raises:
        Refusal: the peer paused for longer (too-slow).
    """
    while (message := await next_message(messages, seconds)) is not None:
        add(message)


async def both(first: Awaitable[First], second: Awaitable[Second]) -> tuple[First, Second]:
    """Two things at once; when one fails, its error is raised only after the other has ended too.

    What a call holds is given back when it ends, and threads at work for it still hold it.
    """
    one, other = await asyncio.gather(first, second, return_exceptions=True)
    if isinstance(one, BaseException):
        raise one
    if isinstance(other, BaseException):
        raise other
    return one, other


@asynccontextmanager
async def within(seconds: float, complaint: str) -> AsyncIterator[None]:
    """Refuse (too-slow) a peer who lets the server wait longer."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        detail = f"{complaint} within {seconds:g} seconds"
        raise Refusal(rpc.Reason.TOO_SLOW, detail) from None


def _metadata(refusal: Refusal, receipt: bytes | None) -> tuple[tuple[str, str | bytes], ...]:
    metadata: list[tuple[str, str | bytes]] = [(rpc.REASON_METADATA, str(refusal.reason))]
    if receipt is not None:
        metadata.append((rpc.RECEIPT_METADATA, receipt.hex()))
    if refusal.retry_seconds is not None:
        milliseconds = math.ceil(refusal.retry_seconds * 1000)
        metadata.append((rpc.RETRY_METADATA, str(milliseconds)))
        metadata.append((rpc.STATUS_DETAILS_METADATA, _details(refusal, milliseconds)))
    return tuple(metadata)


def _details(refusal: Refusal, milliseconds: int) -> bytes:
    """Advice as programs in any language read it, with libraries of gRPC."""
    delay = Duration()
    delay.FromMilliseconds(milliseconds)
    advice = AnyMessage()
    advice.Pack(RetryInfo(retry_delay=delay))
    code, _ = refusal.status.value
    status = Status(code=code, message=str(refusal), details=[advice])
    return bytes(status.SerializeToString())
