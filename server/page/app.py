"""The page's routes: what is shown under which address."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import Executor
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any, ParamSpec, TypeVar
from urllib.parse import parse_qs

import structlog
from fastapi import FastAPI, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, RedirectResponse
from starlette.exceptions import HTTPException

from audit.errors import (
    ArchiveUnavailableError,
    AuditError,
    LogStateError,
    LogUnavailableError,
    UnknownEntryError,
)
from audit.fhir import audit_event
from audit.merkle import MAX_SIZE
from audit.receipt import Action, Outcome
from audit.receipt_json import receipt_to_json
from server.page.access import SESSION_SECONDS, Access, TooManyFailuresError
from server.page.filters import Filter
from server.page.guard import (
    LOGIN_PATH,
    LOGOUT_PATH,
    SESSION_COOKIE,
    Guard,
    peer_of,
    session_of,
    too_many_failures,
)
from server.page.reading import TrailReader
from server.page.rendering import Pages, static_files

MAX_FORM_BYTES = 1024
READ = ["GET", "HEAD"]

_DIGEST_LABELS = {
    "model": "Model card",
    "parameters": "Encryption parameters",
    "graph": "Layers",
    "input": "Ciphertexts sent",
    "output": "Ciphertexts answered",
    "proof": "Proof",
    "plaintext": "Columns in clear, salted",
    "key": "Client's enrolled key",
}

ReceiptId = Annotated[str, Path(pattern="^[0-9a-f]{32}$")]
Size = Annotated[int, Path(ge=0, le=MAX_SIZE)]
SizeOrNow = Annotated[int | None, Query(ge=0, le=MAX_SIZE)]

_P = ParamSpec("_P")
_T = TypeVar("_T")

_log = structlog.get_logger("blindproof.server.page")


def page_app(trail: TrailReader, access: Access, executor: Executor) -> FastAPI:
    """The page as an application of ASGI, to be served over TLS only.

    Args:
        trail: what is shown.
        access: who may see it.
        executor: where the trail is read, so that nothing else waits for the database.
    """
    pages = Pages(trail.log_key.name)
    # No page describes the interface: there is nobody to whom it would be of use.
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.add_middleware(Guard, access=access, pages=pages)
    _add_problems(app, pages)
    _add_session(app, access, pages)
    _add_static(app)
    _add_trail(app, trail, pages, executor)
    return app


def _add_problems(app: FastAPI, pages: Pages) -> None:
    """Errors as pages which say no more than they must."""

    @app.exception_handler(AuditError)
    async def wrong(_request: Request, error: AuditError) -> Response:
        if isinstance(error, UnknownEntryError):
            return pages.problem(404, "Not in the log", f"{error}.")
        if isinstance(error, LogUnavailableError | ArchiveUnavailableError):
            return pages.problem(503, "The trail cannot be read now", f"{error}.")
        _log.error("trail is damaged", error=type(error).__name__, detail=str(error))
        title = "The log is not what it was" if isinstance(error, LogStateError) else "Damaged"
        return pages.problem(500, title, f"{error}.")

    @app.exception_handler(RequestValidationError)
    async def malformed(_request: Request, error: RequestValidationError) -> Response:
        names = sorted({str(item["loc"][-1]) for item in error.errors()})
        return pages.problem(422, "Not understood", f"No such value: {', '.join(names)}.")

    @app.exception_handler(HTTPException)
    async def unknown(_request: Request, error: HTTPException) -> Response:
        return pages.problem(error.status_code, "No such page", f"{error.detail}.", error.headers)


def _add_session(app: FastAPI, access: Access, pages: Pages) -> None:
    @app.post(LOGIN_PATH)
    async def login(request: Request) -> Response:
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_FORM_BYTES:
                return pages.login(413, "That is more than a token.")
        fields = parse_qs(body.decode("utf-8", "replace"))
        peer = peer_of(request)
        try:
            admitted = access.has_token(peer, fields.get("token", [""])[0].strip())
        except TooManyFailuresError:
            return too_many_failures(pages)
        if not admitted:
            _log.warning("wrong token for the page", peer=peer)
            return pages.login(401, "That is not the token.")
        _log.info("session for the page", peer=peer)
        response = RedirectResponse("/", 303)
        response.set_cookie(
            SESSION_COOKIE,
            access.open_session(),
            max_age=int(SESSION_SECONDS),
            path="/",
            secure=True,
            httponly=True,
            samesite="strict",
        )
        return response

    @app.post(LOGOUT_PATH)
    async def logout(request: Request) -> Response:
        access.close_session(session_of(request) or "")
        response = RedirectResponse("/", 303)
        response.delete_cookie(
            SESSION_COOKIE, path="/", secure=True, httponly=True, samesite="strict"
        )
        return response


def _add_static(app: FastAPI) -> None:
    def serve(content: bytes, kind: str) -> Callable[[], Any]:
        async def file() -> Response:
            return Response(content, media_type=kind)

        return file

    for name, (content, kind) in static_files().items():
        app.api_route(f"/static/{name}", methods=READ)(serve(content, kind))


def _add_trail(app: FastAPI, trail: TrailReader, pages: Pages, executor: Executor) -> None:
    async def read(function: Callable[_P, _T], *given: _P.args, **named: _P.kwargs) -> _T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(executor, partial(function, *given, **named))

    @app.api_route("/", methods=READ)
    async def receipts(wanted: Annotated[Filter, Query()]) -> Response:
        listing = await read(trail.listing, wanted)
        return pages.page(
            "receipts.html",
            listing=listing,
            wanted=wanted,
            filtered=not wanted.is_empty,
            actions=list(Action),
            outcomes=list(Outcome),
            since=_local(wanted.since),
            until=_local(wanted.until),
            model_address=_model_address,
        )

    @app.api_route("/receipts/{receipt_id}", methods=READ)
    async def receipt(receipt_id: ReceiptId) -> Response:
        view = await read(trail.view, bytes.fromhex(receipt_id))
        return pages.page("receipt.html", view=view, digest_labels=_DIGEST_LABELS)

    @app.api_route("/receipts/{receipt_id}/json", methods=READ)
    async def as_json(receipt_id: ReceiptId) -> Response:
        signed = await read(trail.signed, bytes.fromhex(receipt_id))
        return _file(receipt_to_json(signed), "application/json", f"{receipt_id}.json")

    @app.api_route("/receipts/{receipt_id}/fhir", methods=READ)
    async def as_fhir(receipt_id: ReceiptId) -> Response:
        signed = await read(trail.signed, bytes.fromhex(receipt_id))
        text = json.dumps(audit_event(signed), indent=2) + "\n"
        return _file(text, "application/fhir+json", f"{receipt_id}.fhir.json")

    @app.api_route("/receipts/{receipt_id}/proven", methods=READ)
    async def proven(receipt_id: ReceiptId) -> Response:
        found = await read(trail.proven, bytes.fromhex(receipt_id))
        return _file(found.to_json(), "application/json", f"{receipt_id}.proven.json")

    @app.api_route("/receipts/{receipt_id}/entry", methods=READ)
    async def entry(receipt_id: ReceiptId) -> Response:
        found = await read(trail.entry, bytes.fromhex(receipt_id))
        return _file(found.data, "application/octet-stream", f"{receipt_id}.entry")

    @app.api_route("/receipts/{receipt_id}/inclusion", methods=READ)
    async def inclusion(receipt_id: ReceiptId, size: SizeOrNow = None) -> Response:
        proof = await read(trail.inclusion, bytes.fromhex(receipt_id), size)
        return JSONResponse(
            {
                "index": proof.index,
                "size": proof.head.size,
                "hashes": [item.hex() for item in proof.hashes],
            }
        )

    @app.api_route("/checkpoint", methods=READ)
    async def checkpoint() -> Response:
        return PlainTextResponse((await read(trail.checkpoint)).encoded())

    @app.api_route("/checkpoints", methods=READ)
    async def checkpoints(before: SizeOrNow = None) -> Response:
        chain = await read(trail.chain.chain, before)
        return pages.page("checkpoints.html", chain=chain)

    @app.api_route("/checkpoints/{size}", methods=READ)
    async def kept_checkpoint(size: Size) -> Response:
        return PlainTextResponse(await read(trail.chain.note, size))


def _file(content: str | bytes, kind: str, name: str) -> Response:
    disposition = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(content, media_type=kind, headers=disposition)


def _model_address(digest: bytes) -> str:
    return Filter(model=digest.hex()).address(None)


def _local(time: datetime | None) -> str:
    """A time as a field of a form has it, in UTC."""
    if time is None:
        return ""
    utc = time.replace(tzinfo=None) if time.tzinfo is None else time.astimezone(UTC)
    return f"{utc:%Y-%m-%dT%H:%M:%S}"
