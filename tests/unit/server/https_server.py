"""An application of ASGI behind the real listener, in a thread, and connections to it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from starlette.types import ASGIApp

from blindproof.authority import Authority
from server.listener import Limits, serving_https
from server.tls import ServerTls, TlsFiles

LIMITS = Limits(connections=16, quiet_seconds=5.0, request_seconds=10.0, shutdown_seconds=2.0)
CLIENT = "ward-7"
SECONDS = 20.0


@dataclass
class HttpsServer:
    """Where it is, whom to trust, and what a client of mutual TLS shows."""

    url: str
    ca: Path
    home: Path

    def context(self, certificate: str | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.ca)
        if certificate is not None:
            context.load_cert_chain(
                self.home / f"{certificate}.pem", self.home / f"{certificate}.key.pem"
            )
        return context

    def client(self, certificate: str | None = None) -> httpx.Client:
        return httpx.Client(base_url=self.url, verify=self.context(certificate), timeout=SECONDS)

    def plain(self) -> socket.socket:
        """A connection that has said nothing yet."""
        place = urlsplit(self.url)
        return socket.create_connection((place.hostname, place.port), timeout=SECONDS)

    def connected(self) -> ssl.SSLSocket:
        """A connection after its handshake."""
        return self.context().wrap_socket(self.plain(), server_hostname="localhost")

    def exchange(self, request: bytes) -> bytes:
        """What is answered to these bytes before the connection ends."""
        answer = b""
        with contextlib.suppress(OSError), self.connected() as connection:
            connection.sendall(request)
            while part := connection.recv(1 << 16):
                answer += part
        return answer


@contextmanager
def https_server(
    app: ASGIApp,
    home: Path,
    limits: Limits | Callable[[], Limits] = LIMITS,
    *,
    mutual: bool = False,
) -> Iterator[HttpsServer]:
    """Serve while the context lasts."""
    authority = Authority.fresh()
    ca = authority.write(home / "ca.pem")
    certificate, key = authority.issue(home, "localhost")
    authority.issue(home, CLIENT)
    tls = ServerTls(TlsFiles(certificate, key, ca if mutual else None))
    context = tls.context(require_clients=True)
    present = limits if callable(limits) else lambda: limits
    started: Future[str] = Future()
    stop = asyncio.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        try:
            async with serving_https(app, "localhost:0", context, present) as url:
                started.set_result(url)
                await stop.wait()
        except Exception as error:
            if started.done():
                raise
            started.set_exception(error)

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), name="https")
    thread.start()
    try:
        yield HttpsServer(started.result(SECONDS), ca, home)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(SECONDS)
        assert not thread.is_alive()
        loop.close()
