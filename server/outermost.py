"""Around an application of ASGI: headers of every answer, and an answer to whatever fails."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import structlog
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_ADDRESS_BYTES = 2048
"""Of path and query together."""

_log = structlog.get_logger("blindproof.server")


def is_long(scope: Scope) -> bool:
    """Whether no address of ours is as long as the one of this request."""
    return len(scope.get("raw_path") or b"") + len(scope["query_string"]) > MAX_ADDRESS_BYTES


async def answered(
    app: ASGIApp,
    scope: Scope,
    receive: Receive,
    send: Send,
    *,
    headers: Mapping[str, str],
    event: str,
    failure: Callable[[], ASGIApp],
) -> None:
    """Have one request answered.

    Args:
        app: what answers it.
        scope: of ASGI.
        receive: of ASGI.
        send: of ASGI.
        headers: of every answer, over those of the application.
        event: what the line of the log is called when the application fails.
        failure: what answers then, if nothing was sent yet.
    """
    started = False

    async def send_with_headers(message: Message) -> None:
        nonlocal started
        if message["type"] == "http.response.start":
            started = True
            MutableHeaders(scope=message).update(headers)
        await send(message)

    try:
        await app(scope, receive, send_with_headers)
    except Exception as error:  # noqa: BLE001 -- the last place where one can be answered
        # The text of an unforeseen error may hold anything: it is neither logged nor shown.  Nor is
        # the address, in which who knows a receipt's id shows it, but for what routes call it.
        route = getattr(scope.get("route"), "path", None)
        _log.error(event, route=route, error=type(error).__name__)
        if not started:
            await failure()(scope, receive, send_with_headers)
