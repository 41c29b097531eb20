"""What every procedure has around it: whose call it is, a time limit, a status, and a receipt.

Calls arrive as raw bytes and are parsed by the procedures, under the same handling of failures as
everything after.
"""

from __future__ import annotations

import asyncio
import math
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import NoReturn, Protocol, TypeAlias, TypeVar

import grpc
import structlog
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from audit.receipt import Action
from protocol.accountability import actor_token
from protocol.errors import EncodingError
from server.events import Event
from server.identity import Identification, Principal
from server.peers import shown
from server.refusals import Refusal, as_refusal
from server.roles import PROCEDURES
from server.rooms import Room, Rooms
from server.settings import ServerSettings
from server.telemetry import ObservedCall, Telemetry, silent
from wire import rpc

Stream: TypeAlias = AsyncIterator[bytes]
Metadata: TypeAlias = tuple[tuple[str, str | bytes], ...]
Procedures: TypeAlias = "Mapping[rpc.Method, grpc.RpcMethodHandler[bytes, bytes]]"

First = TypeVar("First")
Second = TypeVar("Second")

_OPERATORS_BUSINESS = frozenset({rpc.Reason.INTERNAL, rpc.Reason.AUDIT_UNAVAILABLE})
_log = structlog.get_logger("blindproof.server")


class Context(Protocol):
    """What procedures use of a transport: gRPC's own context of a call, or the gateway's."""

    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        """What TLS knows of the peer, by gRPC's names."""

    def invocation_metadata(self) -> Iterable[tuple[str, str | bytes]] | None:
        """What came with the call, names in lower case."""

    def time_remaining(self) -> float | None:
        """Seconds to the peer's deadline; None if it has none."""

    async def send_initial_metadata(self, initial_metadata: Metadata) -> None:
        """Say something before the answer, where a transport can."""

    async def write(self, message: bytes) -> None:
        """Send one message of a streamed answer, and wait while the peer does not read."""

    async def abort(
        self, code: grpc.StatusCode, details: str = "", trailing_metadata: Metadata = ()
    ) -> NoReturn:
        """End the call.  Raises `grpc.aio.AbortError`."""


@dataclass
class Call:
    """One call that is being served.

    Attributes:
        principal: whose it is.
        room: of its tenant.
        event: what its receipt will say; None as long as it needs none.
        ends: when its time is over, by the event loop's clock.
        held: what is given back when all is over, of a call that is refused when its receipt is
            written.
        revoked: whether whoever called may not do so any more.
    """

    principal: Principal
    room: Room
    event: Event | None = None
    ends: float = math.inf
    held: ExitStack = field(default_factory=ExitStack)
    revoked: bool = False

    def begin(self, action: Action) -> Event:
        """From here on the call gets a receipt, whatever becomes of it."""
        self.event = self.room.trail.event(action)
        if self.principal.client_id is not None:
            self.event.actor = actor_token(self.principal.client_id)
        return self.event

    def require_role(self, method: rpc.Method) -> None:
        """Judge what the peer asks for; its denial gets a receipt.  Raises Refusal."""
        roles, action = PROCEDURES[method]
        if not roles & self.principal.roles:
            self.begin(action)
            needed = " or ".join(sorted(roles))
            raise Refusal(rpc.Reason.ROLE_MISSING, f"this identity has not the role {needed}")

    def require_client(self, client_id: str) -> None:
        """Judge the name a client gives itself, which no receipt repeats if it is false.

        Raises:
            Refusal: it is not the one this peer has shown (identity-refused).
        """
        own = self.principal.client_id
        if own is None or own == client_id:
            return
        if self.event is not None:
            self.event.actor = actor_token(own)
        raise Refusal(
            rpc.Reason.IDENTITY_REFUSED, "the client identity is not the one this peer has shown"
        )

    def seconds_left(self, context: Context) -> float:
        """Until it is over, by this server's limit or by its peer's."""
        own = self.ends - asyncio.get_running_loop().time()
        peers = context.time_remaining()
        return own if peers is None else min(own, peers)


class Calls:
    """Serves calls within a time limit and records those that need a receipt.

    Attributes:
        telemetry: told of every call.
    """

    def __init__(
        self,
        seconds: float,
        identification: Identification,
        rooms: Rooms,
        telemetry: Telemetry | None = None,
    ) -> None:
        """Configure.

        Args:
            seconds: longest time a call may take, its transfer included.
            identification: who decides whose call it is.
            rooms: of the tenants.
            telemetry: told how each call ends.
        """
        self._seconds = seconds
        self._identification = identification
        self._rooms = rooms
        self.telemetry = telemetry or silent()
        self._serving: dict[asyncio.Task[object], Call | None] = {}

    def configure(self, settings: ServerSettings) -> None:
        """Take new limits, for calls that begin from now on."""
        self._seconds = settings.request_seconds

    async def end(self) -> None:
        """Cancel what is still served, and wait until it has said what it has to record."""
        serving = set(self._serving)
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)

    async def revoke(self, stands: Callable[[Principal], bool]) -> None:
        """End the calls of whoever may not do any more what it could, and wait until they have."""
        revoked = [
            (task, call)
            for task, call in self._serving.items()
            if call is not None and not stands(call.principal)
        ]
        for task, call in revoked:
            call.revoked = True
            task.cancel()
        await asyncio.gather(*(task for task, _ in revoked), return_exceptions=True)

    @asynccontextmanager
    async def serving(self, context: Context, method: rpc.Method) -> AsyncIterator[Call]:
        """Judge whose call it is, bound its time, and turn every failure into receipt and status.

        Peers whom nobody knows get no receipt: there is no tenant whose log it would belong to.
        """
        with self.telemetry.call(method, context.invocation_metadata() or ()) as observed:
            async with self._serving_observed(context, method, observed) as call:
                yield call

    @asynccontextmanager
    async def _serving_observed(
        self, context: Context, method: rpc.Method, observed: ObservedCall
    ) -> AsyncIterator[Call]:
        """As `serving`; says of each call whose it was and how it ended."""
        call = None
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 -- a coroutine of the event loop runs in one
        self._serving[task] = None
        task.add_done_callback(lambda ended: self._serving.pop(ended, None))
        try:
            async with asyncio.timeout(self._seconds) as limit:
                peer = shown(context.auth_context(), context.invocation_metadata() or ())
                principal = await self._identification.identify(peer)
                call = self._serving[task] = Call(principal, self._rooms.of(principal.tenant))
                call.ends = limit.when() or math.inf
                observed.tenant = principal.tenant
                call.require_role(method)
                yield call
        except grpc.aio.AbortError:
            raise
        except asyncio.CancelledError:
            if call is not None and call.revoked:
                task.uncancel()  # it was this server, and the peer is told
                refusal = Refusal(rpc.Reason.IDENTITY_REFUSED, "this identity was withdrawn")
                await _decline(context, call, refusal, observed)
            if call is not None and call.event is not None:
                call.room.trail.record_cancelled(call.event)
            raise
        except Exception as error:  # noqa: BLE001 -- the last line: the peer learns a reason only
            refusal = as_refusal(error)
            if refusal.reason in _OPERATORS_BUSINESS:
                _log.error("call failed", method=method.path, exc_info=error)
            else:
                _log.info(
                    "peer not served" if call is None else "call refused",
                    method=method.path,
                    reason=str(refusal.reason),
                )
            traceback.clear_frames(error.__traceback__)  # what they hold counts no longer
            await _decline(context, call, refusal, observed)
        finally:
            self._serving[task] = None
            if call is not None:
                call.held.close()


async def _decline(
    context: Context, call: Call | None, refusal: Refusal, observed: ObservedCall
) -> NoReturn:
    """Record a refusal if the call needs a receipt, and end the call.  Raises AbortError."""
    receipt = None
    if call is not None and call.event is not None:
        refusal, receipt = await call.room.trail.record_refusal(call.event, refusal)
    observed.reason = refusal.reason
    if call is not None:
        call.held.close()  # who does not read its answer does not read its refusal either
    await context.abort(refusal.status, str(refusal), _metadata(refusal, receipt))


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


def _metadata(refusal: Refusal, receipt: bytes | None) -> Metadata:
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
