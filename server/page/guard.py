"""What every request passes before the page's own code sees it, and every answer after it.

Outermost, so that it holds for what the application does not know: other paths, other methods, its
own failures.
"""

from __future__ import annotations

from fastapi import Request, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from server.outermost import answered, is_long
from server.page.access import FAILURE_SECONDS, Access, TooManyFailuresError
from server.page.rendering import Pages

SESSION_COOKIE = "__Host-blindproof-audit"
LOGIN_PATH, LOGOUT_PATH = "/login", "/logout"
PUBLIC_PATHS = frozenset({"/static/page.css", "/static/icon.svg"})
"""What the form for the token needs to be shown."""

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """Bounds, access and headers around an application.

    Args:
        app: the application.
        access: who may read it.
        pages: for the form that asks for the token.
    """

    def __init__(self, app: ASGIApp, access: Access, pages: Pages) -> None:
        self._app = app
        self._access = access
        self._pages = pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request of ASGI."""
        if scope["type"] != "http":
            return
        await answered(
            self._refusal(Request(scope)) or self._app,
            scope,
            receive,
            send,
            headers=HEADERS,
            event="page failed",
            failure=lambda: self._pages.problem(
                500, "The page failed", "The server has a log of it."
            ),
        )

    def _refusal(self, request: Request) -> Response | None:
        """The answer to what must not reach the application, None for what may."""
        scope = request.scope
        if is_long(scope):
            return self._pages.problem(414, "Address too long", "No page has such an address.")
        # The path that routes are chosen by, and not the one in a URL put together with what the
        # peer says of the host.
        path = scope["path"]
        posts = path in {LOGIN_PATH, LOGOUT_PATH}
        public = path in PUBLIC_PATHS
        if request.method == "POST" and path == LOGIN_PATH:
            return None
        if not public:
            refusal = self._without_access(request)
            if refusal is not None:
                return refusal
        if request.method in {"GET", "HEAD"} or (request.method == "POST" and posts):
            return None
        return self._pages.problem(
            405, "Read-only", "The trail can be read here and nothing else.", {"Allow": "GET, HEAD"}
        )

    def _without_access(self, request: Request) -> Response | None:
        try:
            bearer = request.headers.get("authorization", "")
            scheme, _, token = bearer.partition(" ")
            if scheme.lower() == "bearer" and self._access.has_token(peer_of(request), token):
                return None
        except TooManyFailuresError:
            return too_many_failures(self._pages)
        session = session_of(request)
        if session is not None and self._access.has_session(session):
            return None
        return self._pages.login(401)


def peer_of(request: Request) -> str:
    """The network address a request came from."""
    return "unknown" if request.client is None else request.client.host


def session_of(request: Request) -> str | None:
    """The session in a request's cookie, not checked."""
    return request.cookies.get(SESSION_COOKIE)


def too_many_failures(pages: Pages) -> Response:
    """The answer to a peer that guesses."""
    response = pages.login(429, "Too many wrong tokens from this address. Wait a minute.")
    response.headers["Retry-After"] = str(int(FAILURE_SECONDS))
    return response
