"""Serve the gateway from the event loop of the server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import structlog

from server.calls import Procedures
from server.gateway.app import gateway_app
from server.listener import Limits, serving_https
from server.settings import ServerSettings
from server.tls import ServerTls

_log = structlog.get_logger("blindproof.server.gateway")


@asynccontextmanager
async def serving(
    address: str, settings: Callable[[], ServerSettings], tls: ServerTls, procedures: Procedures
) -> AsyncIterator[str]:
    """Serve while the context lasts; yields the URL once connections are accepted.

    Clients need a certificate here if they need one for gRPC.

    Args:
        address: host:port, an IPv6 address in brackets; port 0 takes a free one.
        settings: those in force now, for the limits.
        tls: of the server.
        procedures: what gRPC routes to.

    Raises:
        ListenError: the address cannot be used.
    """

    def limits() -> Limits:
        present = settings()
        return Limits(
            connections=present.max_gateway_connections,
            quiet_seconds=present.header_seconds,
            # Procedures end by themselves before; the rest is for an answer's last bytes.
            request_seconds=present.request_seconds + present.idle_seconds,
            shutdown_seconds=present.shutdown_seconds,
        )

    app = gateway_app(procedures, lambda: settings().header_seconds)
    async with serving_https(app, address, tls.context(require_clients=True), limits) as url:
        _log.info("gateway", url=url)
        yield url
