"""The operators' endpoint: /metrics for Prometheus, /healthz and /readyz for what restarts servers.

Plain HTTP, meant for loopback or an operators' network: it shows numbers and names of tenants, and
takes nothing.  One request a connection, of a bounded number of connections, each for a bounded
time.  Where there are too many, the one goes that has kept the server waiting for longest: whoever
holds them keeps no probe away, for which the server would be restarted.  It is answered from the
server's event loop, so that an answer of /healthz shows that the loop runs.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus

import structlog

from protocol.errors import BlindproofError

MAX_CONNECTIONS = 32
MAX_HEAD_BYTES = 8192
EXCHANGE_SECONDS = 10.0
_TEXT = "text/plain; charset=utf-8"
_END_OF_HEAD = b"\r\n\r\n"

_log = structlog.get_logger("blindproof.server")


class EndpointError(BlindproofError):
    """The endpoint cannot listen there."""


@dataclass(frozen=True)
class Page:
    """What one path answers."""

    body: bytes
    content_type: str = _TEXT
    status: HTTPStatus = HTTPStatus.OK


class Endpoint:
    """Answers operators and their programs."""

    def __init__(
        self, read: Callable[[], None], metrics: Callable[[], Page], ready: Callable[[], bool]
    ) -> None:
        """Configure.

        Args:
            read: reads what is watched, in the event loop.
            metrics: then makes the page of all metrics, in a thread.
            ready: says whether calls are accepted.
        """
        self._read = read
        self._metrics = metrics
        self._ready = ready
        self._connections = 0
        self._idle: OrderedDict[asyncio.StreamWriter, None] = (
            OrderedDict()
        )  # which wait for their peers

    @asynccontextmanager
    async def serving(self, address: str) -> AsyncIterator[str]:
        """Answer while the context lasts; yields the URL.

        Args:
            address: host:port, an IPv6 address in brackets; port 0 takes a free one.

        Raises:
            EndpointError: nothing can listen there.
        """
        host, _, port = address.rpartition(":")
        bare = host.removeprefix("[").removesuffix("]")
        try:
            server = await asyncio.start_server(
                self._connected, bare, int(port), limit=MAX_HEAD_BYTES
            )
        except OSError as error:
            raise EndpointError(
                f"metrics cannot be served on {address}: {error.strerror}"
            ) from error
        async with server:
            url = f"http://{host}:{server.sockets[0].getsockname()[1]}"
            _log.info("metrics", url=f"{url}/metrics")
            yield url

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        if self._connections >= MAX_CONNECTIONS:
            if not self._idle:
                writer.transport.abort()
                return
            longest, _ = self._idle.popitem(last=False)
            longest.transport.abort()  # its place is given back in a moment
        self._connections += 1
        self._idle[writer] = None
        try:
            async with asyncio.timeout(EXCHANGE_SECONDS):
                head = await reader.readuntil(_END_OF_HEAD)
                self._idle.pop(writer, None)  # it may have had to make way already
                answer = await self._answer(head)
                self._idle[writer] = None
                writer.write(answer)
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError, TimeoutError):
            writer.transport.abort()
        finally:
            self._idle.pop(writer, None)
            self._connections -= 1

    async def _answer(self, head: bytes) -> bytes:
        """The bytes of an answer to the head of a request."""
        words = head.partition(b"\r\n")[0].split(b" ")
        if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
            return _encoded(_problem(HTTPStatus.BAD_REQUEST))
        method, target, _ = words
        if method not in {b"GET", b"HEAD"}:
            return _encoded(_problem(HTTPStatus.METHOD_NOT_ALLOWED))
        page = await self._page(target.partition(b"?")[0])
        return _encoded(page, body=method == b"GET")

    async def _page(self, path: bytes) -> Page:
        if path == b"/metrics":
            self._read()
            return await asyncio.to_thread(self._metrics)
        if path == b"/healthz":
            return Page(b"alive\n")
        if path == b"/readyz":
            if self._ready():
                return Page(b"ready\n")
            return Page(b"not ready\n", status=HTTPStatus.SERVICE_UNAVAILABLE)
        return _problem(HTTPStatus.NOT_FOUND)


def _problem(status: HTTPStatus) -> Page:
    return Page(f"{status.phrase}\n".encode(), status=status)


def _encoded(page: Page, *, body: bool = True) -> bytes:
    head = (
        f"HTTP/1.1 {page.status.value} {page.status.phrase}\r\n"
        f"Content-Type: {page.content_type}\r\n"
        f"Content-Length: {len(page.body)}\r\n"
        "Cache-Control: no-store\r\n"
        "X-Content-Type-Options: nosniff\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode() + (page.body if body else b"")
