"""HTTPS in the event loop of the server: what the page and the gateway are served with.

Needs the extra `web`.  Connections are counted from the moment they are accepted, before a peer has
shown anything, and each of them, each handshake and each request has a bounded time.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from protocol.errors import BlindproofError

if TYPE_CHECKING:
    from starlette.types import ASGIApp

PEER = "peer"
"""Key of the `Peer` in the state of an ASGI scope."""
LINGER_SECONDS = 1.0
"""For a peer to read what is left and to take leave; browsers do not always."""
KEEP_ALIVE_SECONDS = 10
_EXHAUSTED_SECONDS = 0.5
"""Pause when the process has no descriptors left."""


class ListenError(BlindproofError):
    """There is nothing to listen on at an address."""


@dataclass(frozen=True)
class Limits:
    """What connections may take.

    Attributes:
        connections: open at once, handshakes included; whoever comes then is hung up on.
        quiet_seconds: longest handshake, and longest time without a whole request's header.
        request_seconds: longest time from a request's header to the end of its answer.
        shutdown_seconds: time answers under way get when the server stops.
    """

    connections: int
    quiet_seconds: float
    request_seconds: float
    shutdown_seconds: float


@dataclass(frozen=True, eq=False)
class Peer:
    """Who is at the other end of a connection.

    Attributes:
        common_names: of the certificate it has proved to hold; none unless TLS demands one.
        gone: set when the connection has ended.
    """

    common_names: tuple[str, ...]
    gone: asyncio.Event = field(default_factory=asyncio.Event)


@asynccontextmanager
async def serving_https(
    app: ASGIApp, address: str, tls: ssl.SSLContext, limits: Callable[[], Limits]
) -> AsyncIterator[str]:
    """Serve an application of ASGI while the context lasts; yields its URL once it accepts.

    Each scope's state has the `Peer` under the key `PEER`.

    Args:
        app: what answers.
        address: host:port, an IPv6 address in brackets; port 0 takes a free one.
        tls: asked for each connection.
        limits: those in force now; asked for each time one applies.

    Raises:
        ListenError: the address cannot be used.
    """
    host, listening = _listening(address)
    with listening:
        config = uvicorn.Config(
            app,
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="critical",  # what peers do wrong is no line of this server's log
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
        )
        config.load()  # what is wrong with it shows here, and not in the task
        server = _Server(config, listening, tls, limits)
        task = asyncio.create_task(server.serve())
        try:
            # The socket listens: whoever connects before the task runs waits in its queue.
            yield f"https://{host}:{listening.getsockname()[1]}/"
        finally:
            config.timeout_graceful_shutdown = max(1, round(limits().shutdown_seconds))
            server.should_exit = True
            await task
            await server.end()


class _Server(uvicorn.Server):
    """One that takes its connections from an `_Acceptor` and leaves signals to its caller."""

    def __init__(
        self,
        config: uvicorn.Config,
        listening: socket.socket,
        tls: ssl.SSLContext,
        limits: Callable[[], Limits],
    ) -> None:
        super().__init__(config)
        self._acceptor = _Acceptor(self, listening, tls, limits)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept connections."""
        if sockets is not None:
            raise ValueError("the acceptor has its own socket")
        await self.lifespan.startup()
        self._acceptor.start()
        self.servers = [self._acceptor]  # type: ignore[list-item]  # closed, and waited for
        self.started = True

    async def end(self) -> None:
        """Wait for what was cancelled because its time was over, and hang up on everybody."""
        await asyncio.gather(*self.server_state.tasks, return_exceptions=True)
        for connection in self.server_state.connections:
            connection.transport.abort()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave them alone."""
        yield


class _Acceptor:
    """Accepts connections, up to a number, and makes them speak TLS and then HTTP."""

    def __init__(
        self,
        server: _Server,
        listening: socket.socket,
        tls: ssl.SSLContext,
        limits: Callable[[], Limits],
    ) -> None:
        self._server = server
        self._listening = listening
        self._tls = tls
        self._limits = limits
        self._handshakes: set[asyncio.Task[None]] = set()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._listening.setblocking(False)
        self._task = asyncio.create_task(self._accept())

    def close(self) -> None:
        """Accept no more, and give up handshakes."""
        for task in (self._task, *self._handshakes):
            if task is not None:
                task.cancel()

    async def wait_closed(self) -> None:
        tasks = [task for task in (self._task, *self._handshakes) if task is not None]
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(self._listening)
            except ConnectionError:
                continue
            except OSError:
                await asyncio.sleep(_EXHAUSTED_SECONDS)
                continue
            if self._open >= self._limits().connections:
                connection.close()
                continue
            task = loop.create_task(self._shake_hands(connection))
            self._handshakes.add(task)
            task.add_done_callback(self._handshakes.discard)

    @property
    def _open(self) -> int:
        return len(self._handshakes) + len(self._server.server_state.connections)

    async def _shake_hands(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            # Without, an answer's body waits for the peer to confirm its header.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await loop.connect_accepted_socket(
                self._protocol,
                connection,
                ssl=self._tls,
                ssl_handshake_timeout=self._limits().quiet_seconds,
                ssl_shutdown_timeout=LINGER_SECONDS,
            )
        except OSError:
            connection.close()

    def _protocol(self) -> _Connection:
        state = self._server.server_state
        return _Connection(self._server.config, state, {}, limits=self._limits)


class _Connection(H11Protocol):
    """One connection, which ends in time whatever its peer does, and knows its peer."""

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: Any,  # noqa: ANN401 -- as the base has it
        app_state: dict[str, Any],
        *,
        limits: Callable[[], Limits],
    ) -> None:
        super().__init__(config, server_state, app_state)
        self._limits = limits
        self._peer = Peer(())
        self._timed: RequestResponseCycle | None = None
        self._end: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:  # noqa: ANN401 -- as the base has it
        """Begin, after the handshake."""
        super().connection_made(transport)
        self._peer = Peer(_common_names(transport.get_extra_info("peercert")))
        self.app_state = {PEER: self._peer}
        self._end_in(self._limits().quiet_seconds)

    def data_received(self, data: bytes) -> None:
        """Take bytes, which may make a request."""
        super().data_received(data)
        self._time()

    def on_response_complete(self) -> None:
        """End a request; another one may have come already."""
        super().on_response_complete()
        self._time()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        if self._end is not None:
            self._end.cancel()
        super().connection_lost(exc)
        self._peer.gone.set()

    def _time(self) -> None:
        """Bound what is under way now: a request, or the wait for one."""
        cycle: RequestResponseCycle | None = self.cycle  # None before the first request
        if cycle is not None and cycle.response_complete:
            cycle = None
        if cycle is not self._timed:
            self._timed = cycle
            limits = self._limits()
            self._end_in(limits.quiet_seconds if cycle is None else limits.request_seconds)

    def _end_in(self, seconds: float) -> None:
        if self._end is not None:
            self._end.cancel()
        self._end = self.loop.call_later(seconds, self.transport.abort)


def _common_names(certificate: dict[str, Any] | None) -> tuple[str, ...]:
    """Of a certificate as `ssl` describes one that it has verified."""
    subject = (certificate or {}).get("subject", ())
    return tuple(value for part in subject for kind, value in part if kind == "commonName")


def _listening(address: str) -> tuple[str, socket.socket]:
    """The host as it stands in a URL, and a socket that listens there."""
    host, _, port = address.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    try:
        found = socket.getaddrinfo(bare, int(port), type=socket.SOCK_STREAM)
        family, *_, place = found[0]
        listening = socket.create_server(place[:2], family=family)
    except OSError as error:
        raise ListenError(f"cannot listen on {address}: {error.strerror}") from error
    return host, listening
