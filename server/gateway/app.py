"""The gateway as an application of ASGI."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from protocol.errors import BlindproofError
from server.calls import Procedures
from server.gateway.invoking import Invocation, described
from server.gateway.openapi import AllowedMethods, allowed_methods, describe
from server.gateway.problems import Problem, RefusedError
from server.gateway.routes import gateway_routes
from server.outermost import answered, is_long
from server.refusals import as_refusal
from wire.rpc import Reason

OPENAPI_PATH = "/openapi.json"
HTTP_VERSION = "1.1"
"""In an earlier one an answer that is cut off looks whole: it ends where its connection does."""
HEADERS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}


def gateway_app(procedures: Procedures, body_seconds: Callable[[], float]) -> FastAPI:
    """An application, to be served with `server.listener`.

    Args:
        procedures: what gRPC routes to.
        body_seconds: longest wait for a document that a client sends, as it is now.
    """
    app = FastAPI(
        title="Blindproof",
        version="1",
        description="Private inference that proves itself, for those who cannot speak gRPC.",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.add_middleware(_Guard)
    app.include_router(gateway_routes(Invocation(procedures, body_seconds)))
    description = describe(app)
    _add_problems(app, allowed_methods(description))

    @app.get(OPENAPI_PATH, include_in_schema=False)
    async def openapi() -> Response:
        return JSONResponse(description)

    return app


def _add_problems(app: FastAPI, allowed: AllowedMethods) -> None:
    """Failures in this interface's own words."""

    @app.exception_handler(RefusedError)
    async def refused(_request: Request, error: RefusedError) -> Response:
        return error.problem.response()

    @app.exception_handler(BlindproofError)
    async def malformed(_request: Request, error: BlindproofError) -> Response:
        """What cannot be put into a message is what a procedure would have refused."""
        refusal = as_refusal(error)
        return Problem.of(refusal.reason, str(refusal)).response()

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> Response:
        return Problem.of(Reason.MALFORMED, described(error.errors())).response()

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> Response:
        headers = dict(error.headers or {})
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            # The framework names those of one route, and an address may have several.
            headers["Allow"] = ", ".join(allowed(request.scope["path"])) or "GET"
        return Problem(error.status_code, error.detail, headers=headers).response()


class _Guard:
    """Outermost: bounds and headers, and an answer to whatever fails."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request of ASGI."""
        if scope["type"] != "http":
            return
        app = self._app
        if scope["http_version"] != HTTP_VERSION:
            app = Problem(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "HTTP/1.1 is spoken").response()
        elif is_long(scope):
            app = Problem(HTTPStatus.REQUEST_URI_TOO_LONG, "no address is that long").response()
        await answered(
            app,
            scope,
            receive,
            send,
            headers=HEADERS,
            event="gateway failed",
            failure=lambda: Problem.of(Reason.INTERNAL, "internal error").response(),
        )
