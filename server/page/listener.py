"""Serve the page from the event loop of the server, over TLS with the server's certificate."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import structlog
import uvicorn

from protocol.errors import BlindproofError
from server.page.access import Access, read_or_create_token
from server.page.app import page_app
from server.page.reading import TrailReader
from wire.bounded_http import BoundedConnection

READERS = 2
"""Threads that read the trail: so many connections to the database, and no more, are the page's."""
MAX_CONNECTIONS = 64
IDLE_SECONDS = 10
SHUTDOWN_SECONDS = 5

_log = structlog.get_logger("blindproof.server.page")


class PageError(BlindproofError):
    """The page cannot be served with these settings."""


@asynccontextmanager
async def serving(
    address: str, certificate: Path, key: Path, token: Path, trail: TrailReader
) -> AsyncIterator[str]:
    """Serve the page while the context lasts; yields its URL once it accepts connections.

    Args:
        address: host:port, an IPv6 address in brackets; port 0 takes a free one.
        certificate: PEM file.
        key: PEM file.
        token: file of the token; made if there is none.
        trail: what is shown.

    Raises:
        PageError: address, certificate or key cannot be used.
        StorageError: the token cannot be read, made, or kept from others.
    """
    access = Access(read_or_create_token(token))
    context = _tls(certificate, key)
    host, listening = _listening(address)
    with listening, ThreadPoolExecutor(READERS, "blindproof-page") as executor:
        config = uvicorn.Config(
            page_app(trail, access, executor),
            http=_Connection,
            ws="none",
            lifespan="off",
            ssl_context_factory=lambda _config, _default: context,
            log_config=None,
            log_level="critical",  # what peers do wrong is no line of this server's log
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=IDLE_SECONDS,
            timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        )
        server = _Server(config)
        config.load()  # what is wrong with it shows here, and not in the task
        task = asyncio.create_task(server.serve([listening]))
        try:
            # The socket listens: whoever connects before the task runs waits in its queue.
            url = f"https://{host}:{listening.getsockname()[1]}/"
            _log.info("page", url=url)
            yield url
        finally:
            server.should_exit = True
            await task


class _Server(uvicorn.Server):
    """One that leaves signals to whoever runs the loop."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Connection(BoundedConnection):
    """One connection of a bounded number."""

    def connection_made(self, transport: Any) -> None:  # noqa: ANN401 -- as the base has it
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()


def _tls(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # A passphrase would be asked for on the terminal.
        context.load_cert_chain(certificate, key, password="")
    except (OSError, ValueError) as error:
        raise PageError(f"{certificate} and {key} are no certificate and its key") from error
    return context


def _listening(address: str) -> tuple[str, socket.socket]:
    """The host as it stands in a URL, and a socket that listens there."""
    host, _, port = address.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    try:
        found = socket.getaddrinfo(bare, int(port), type=socket.SOCK_STREAM)
        family, *_, place = found[0]
        listening = socket.create_server(place[:2], family=family)
    except OSError as error:
        raise PageError(f"the page cannot listen on {address}: {error.strerror}") from error
    # Connections inherit it; without, an answer's body waits for the peer to confirm its header.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return host, listening
