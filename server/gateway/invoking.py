"""Procedures of gRPC, invoked for requests of HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, TypeVar, cast

from fastapi import Request, Response
from pydantic import BaseModel, ValidationError
from starlette.types import Receive, Scope, Send

from protocol.errors import EncodingError
from server.calls import Context, Procedures, Stream
from server.gateway.context import BodyMessages, HttpContext, bounded_body
from server.gateway.problems import Problem, RefusedError
from server.listener import Peer
from wire import rpc
from wire.delimited import MEDIA_TYPE
from wire.rpc import Reason

JSON = "application/json"
MAX_JSON_BYTES = 1 << 16
"""Of a document that a client sends."""
MAX_HEADER_BYTES = 1 << 16
"""Of the first message of a stream, which is held before the call is admitted."""

_MEDIA_TYPE = re.compile(r"[^;\s]+")

Result = TypeVar("Result")
Document = TypeVar("Document", bound=BaseModel)


class Invocation:
    """Invokes the procedures that gRPC routes to, for as long as the peer is there."""

    def __init__(self, procedures: Procedures, body_seconds: Callable[[], float]) -> None:
        """Configure.

        Args:
            procedures: by method.
            body_seconds: longest wait for a document that a client sends, as it is now.
        """
        self._procedures = procedures
        self._body_seconds = body_seconds

    async def unary(self, request: Request, method: rpc.Method, data: bytes) -> bytes:
        """One message in, one out.  Raises RefusedError."""
        procedure = cast(
            "Callable[[bytes, Context], Awaitable[bytes]]", self._procedures[method].unary_unary
        )
        context = HttpContext(request)
        return await _while_wanted(procedure(data, context), context)

    async def upload(self, request: Request, method: rpc.Method) -> bytes:
        """The messages of the body in, one out.  Raises RefusedError."""
        require_media_type(request, MEDIA_TYPE)
        procedure = cast(
            "Callable[[Stream, Context], Awaitable[bytes]]", self._procedures[method].stream_unary
        )
        context = HttpContext(request)
        messages = BodyMessages(request.receive, MAX_HEADER_BYTES)
        return await _while_wanted(procedure(messages, context), context)

    def exchange(self, request: Request, method: rpc.Method) -> Response:
        """The messages of the body in, messages out.  Raises RefusedError."""
        require_media_type(request, MEDIA_TYPE)
        procedure = cast(
            "Callable[[Stream, Context], Awaitable[None]]", self._procedures[method].stream_stream
        )
        return _Exchange(request, procedure)

    async def document(self, request: Request, kind: type[Document]) -> Document:
        """The document in a request's body.  Raises RefusedError."""
        require_media_type(request, JSON)
        try:
            body = await bounded_body(request.receive, MAX_JSON_BYTES, self._body_seconds())
            return kind.model_validate_json(body)
        except ValidationError as error:
            raise RefusedError(Problem.of(Reason.MALFORMED, described(error.errors()))) from None
        except EncodingError as error:
            problem = Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, str(error), Reason.MALFORMED)
            raise RefusedError(problem) from None
        except TimeoutError:
            raise RefusedError(Problem.of(Reason.TOO_SLOW, "the body did not come")) from None


class _Exchange(Response):
    """An answer that is made while the request is read."""

    def __init__(
        self, request: Request, procedure: Callable[[Stream, Context], Awaitable[None]]
    ) -> None:
        super().__init__(media_type=MEDIA_TYPE)
        self._request = request
        self._procedure = procedure

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve, as ASGI has it."""
        context = HttpContext(self._request, send)
        messages = BodyMessages(receive, MAX_HEADER_BYTES)
        try:
            await _while_wanted(self._procedure(messages, context), context)
        except RefusedError as refused:
            # Of an answer that has begun, the end does not come: the connection is closed instead.
            if not context.started:
                await refused.problem.response()(scope, receive, send)
        else:
            await context.finish()


def require_media_type(request: Request, expected: str) -> None:
    """What forms of foreign pages can send is never taken for a request.  Raises RefusedError."""
    found = _MEDIA_TYPE.match(request.headers.get("content-type", ""))
    encoding = request.headers.get("content-encoding", "identity")
    if found is None or found[0].lower() != expected or encoding.lower() != "identity":
        problem = Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"expected {expected}, not compressed")
        raise RefusedError(problem)


def described(errors: Any) -> str:  # noqa: ANN401 -- as pydantic and FastAPI list them
    """What is wrong with a document or with parameters, without the values."""
    first = errors[0]
    where = ".".join(str(part) for part in first["loc"] if part not in {"query", "path"})
    return f"{where or 'document'}: {first['msg'].removeprefix('Value error, ')}"


async def _while_wanted(work: Awaitable[Result], context: HttpContext) -> Result:
    """Run a procedure until its peer goes away or its deadline is over.

    Raises:
        RefusedError: it was refused, or ended early.
    """
    task = asyncio.ensure_future(work)
    watch = asyncio.create_task(_cancel_without(context.peer, task))
    try:
        async with asyncio.timeout(context.time_remaining()):
            return await task
    except TimeoutError:
        raise RefusedError(Problem.of(Reason.TOO_SLOW, "the client's time is over")) from None
    except asyncio.CancelledError:
        current = asyncio.current_task()
        if current is not None and current.cancelling():
            raise
        # The procedure alone was: the peer has gone, or the server stops.
        problem = Problem.of(Reason.CANCELLED, "the call was cancelled")
        raise RefusedError(problem) from None
    finally:
        watch.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watch


async def _cancel_without(peer: Peer, task: asyncio.Future[Result]) -> None:
    await peer.gone.wait()
    task.cancel()
