"""What every procedure has around it: a time limit, a status for each failure, and a receipt.

Calls arrive as raw bytes and are parsed by the procedures, under the same handling of failures as
everything after.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

import grpc
import structlog

from server.events import Event
from server.refusals import Refusal, as_refusal
from server.trail import Trail
from wire import rpc

Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"
Stream: TypeAlias = AsyncIterator[bytes]
Procedures: TypeAlias = "Mapping[rpc.Method, grpc.RpcMethodHandler[bytes, bytes]]"

First = TypeVar("First")
Second = TypeVar("Second")

_OPERATORS_BUSINESS = frozenset({rpc.Reason.INTERNAL, rpc.Reason.AUDIT_UNAVAILABLE})
_log = structlog.get_logger("blindproof.server")


@dataclass
class Call:
    """One call that is being served.

    Attributes:
        event: what its receipt will say; None as long as it needs none.
        held: what is given back when all is over.  A call that has failed keeps its words, in the
            frames of its error, until its receipt is written: they count until then.
    """

    event: Event | None = None
    held: ExitStack = field(default_factory=ExitStack)


class Calls:
    """Serves calls within a time limit and records those that need a receipt."""

    def __init__(self, seconds: float, trail: Trail) -> None:
        """Configure.

        Args:
            seconds: longest time a call may take, its transfer included.
            trail: where receipts go.
        """
        self._seconds = seconds
        self._trail = trail
        self._serving: set[asyncio.Task[object]] = set()

    async def end(self) -> None:
        """Cancel what is still served, and wait until it has said what it has to record."""
        serving = set(self._serving)
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)

    @asynccontextmanager
    async def serving(self, context: Context, method: rpc.Method) -> AsyncIterator[Call]:
        """Bound a call's time, and turn every failure into a receipt and then into its status."""
        call = Call()
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 -- a coroutine of the event loop runs in one
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        try:
            async with asyncio.timeout(self._seconds):
                yield call
        except grpc.aio.AbortError:
            raise
        except asyncio.CancelledError:
            if call.event is not None:
                self._trail.record_cancelled(call.event)
            raise
        except Exception as error:  # noqa: BLE001 -- the last line: the peer learns a reason only
            refusal = as_refusal(error)
            if refusal.reason in _OPERATORS_BUSINESS:
                _log.error("call failed", method=method.path, exc_info=error)
            else:
                _log.info("call refused", method=method.path, reason=str(refusal.reason))
            receipt = None
            if call.event is not None:
                refusal, receipt = await self._trail.record_refusal(call.event, refusal)
            await context.abort(refusal.status, str(refusal), _metadata(refusal, receipt))
        finally:
            call.held.close()


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


def _metadata(refusal: Refusal, receipt: bytes | None) -> tuple[tuple[str, str], ...]:
    metadata = ((rpc.REASON_METADATA, str(refusal.reason)),)
    if receipt is None:
        return metadata
    return (*metadata, (rpc.RECEIPT_METADATA, receipt.hex()))
