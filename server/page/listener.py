"""Serve the page from the event loop of the server, over TLS with the server's certificate."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import structlog

from server.listener import Limits, serving_https
from server.page.access import Access, read_or_create_token
from server.page.app import page_app
from server.page.reading import TrailReader

READERS = 2
"""Threads that read the trail: so many connections to the database, and no more, are the page's."""
LIMITS = Limits(
    connections=64,
    quiet_seconds=10.0,
    request_seconds=60.0,  # longer than any takes, the wait for a database included
    shutdown_seconds=5.0,
)

_log = structlog.get_logger("blindproof.server.page")


@asynccontextmanager
async def serving(
    address: str, tls: ssl.SSLContext, token: Path, trail: TrailReader
) -> AsyncIterator[str]:
    """Serve the page while the context lasts; yields its URL once it accepts connections.

    Args:
        address: host:port, an IPv6 address in brackets; port 0 takes a free one.
        tls: of the server.
        token: file of the token; made if there is none.
        trail: what is shown.

    Raises:
        ListenError: the address cannot be used.
        StorageError: the token cannot be read, made, or kept from others.
    """
    access = Access(read_or_create_token(token))
    with ThreadPoolExecutor(READERS, "blindproof-page") as executor:
        app = page_app(trail, access, executor)
        async with serving_https(app, address, tls, lambda: LIMITS) as url:
            _log.info("page", url=url)
            yield url
