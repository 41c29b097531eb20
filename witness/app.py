"""The HTTP interface of a witness: POST /add-checkpoint."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool

from witness.add_checkpoint import MAX_BODY_BYTES
from witness.cosigning import CosigningWitness
from witness.errors import RefusedError, WitnessServiceError

_log = structlog.get_logger("blindproof.witness")


def witness_app(witness: CosigningWitness, body_seconds: float) -> FastAPI:
    """The application that answers for a witness.

    Args:
        witness: what decides and signs.
        body_seconds: longest wait for a request's body.
    """
    app = FastAPI(title="Blindproof witness", docs_url=None, redoc_url=None, openapi_url=None)

    @app.post("/add-checkpoint")
    async def add_checkpoint(request: Request) -> Response:
        try:
            body = await _bounded_body(request, body_seconds)
            lines = await run_in_threadpool(witness.add_checkpoint, body)
        except RefusedError as error:
            return _answer(error.status, error.body.encode(), error.kind)
        except WitnessServiceError as error:
            _log.error("memory failed", reason=str(error))
            return _answer(HTTPStatus.SERVICE_UNAVAILABLE, b"nothing was signed\n")
        return _answer(HTTPStatus.OK, lines)

    return app


async def _bounded_body(request: Request, seconds: float) -> bytes:
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for part in request.stream():
                body += part
                if len(body) > MAX_BODY_BYTES:
                    raise RefusedError(
                        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                        f"a request has at most {MAX_BODY_BYTES} bytes\n",
                    )
    except TimeoutError as error:
        raise RefusedError(HTTPStatus.REQUEST_TIMEOUT, "the body took too long\n") from error
    return bytes(body)


def _answer(status: HTTPStatus, body: bytes, kind: str = "text/plain") -> Response:
    # As a header: a media type would get a charset, which the size's must not have.
    return Response(body, status, {"content-type": kind, "cache-control": "no-store"})
