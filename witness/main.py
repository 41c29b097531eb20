"""Run a witness: HTTP over TLS, or on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import structlog

from audit.output import configure_logging
from wire.files import write_private
from witness.cosigning import CosigningWitness
from witness.errors import WitnessServiceError
from witness.keys import SEEN_FILE, read_keys
from witness.seen import SeenHeads
from witness.settings import WitnessSettings

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI

_log = structlog.get_logger("blindproof.witness")
_SHUTDOWN_SECONDS = 5


@asynccontextmanager
async def running(settings: WitnessSettings) -> AsyncIterator[str]:
    """Answer requests while the context lasts; yields the URL to be put into policies.

    Raises:
        WitnessServiceError: keys, memory, certificate or address cannot be used.
    """
    keys = read_keys(settings.state)
    with contextlib.closing(SeenHeads(settings.state / SEEN_FILE)) as seen:
        witness = CosigningWitness(keys, settings.log_keys(), seen)
        with _listening(settings) as listener:
            started = asyncio.Event()
            server = _server(settings, witness, started)
            serving = asyncio.create_task(server.serve([listener]))
            starting = asyncio.create_task(started.wait())
            try:
                await asyncio.wait({serving, starting}, return_when=asyncio.FIRST_COMPLETED)
                if serving.done():
                    raise WitnessServiceError(f"cannot serve on {settings.listen}")
                url = _url(settings, listener)
                if settings.address_file is not None:
                    write_private(settings.address_file, url.encode())
                _log.info("serving", url=url, name=keys.name, logs=len(settings.logs))
                yield url
            finally:
                starting.cancel()
                server.should_exit = True
                await serving
                _log.info("stopped")


async def serve(settings: WitnessSettings) -> None:
    """Serve until SIGINT or SIGTERM."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with running(settings):
        await stop.wait()


def main(settings: WitnessSettings) -> None:
    """Run a witness in this process; one JSON object a line on standard output."""
    configure_logging()
    asyncio.run(serve(settings))


def _server(
    settings: WitnessSettings, witness: CosigningWitness, started: asyncio.Event
) -> uvicorn.Server:
    """The HTTP server, which says when it has started and leaves signals to its caller."""
    try:
        import uvicorn

        from witness.app import witness_app
    except ImportError as error:
        raise WitnessServiceError(
            "a witness needs an HTTP server: pip install 'blindproof[witness]'"
        ) from error

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            started.set()

        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    return Server(_config(settings, witness_app(witness, settings.body_seconds)))


def _config(settings: WitnessSettings, app: FastAPI) -> uvicorn.Config:
    import uvicorn

    from wire.bounded_http import BoundedConnection

    config = uvicorn.Config(
        app,
        http=BoundedConnection,
        ws="none",
        log_config=None,
        log_level=logging.CRITICAL,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        lifespan="off",
        limit_concurrency=settings.max_requests,
        timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
        ssl_certfile=settings.tls_certificate,
        ssl_keyfile=settings.tls_key,
    )
    try:
        config.load()
    except (OSError, ValueError) as error:
        raise WitnessServiceError(
            f"{settings.tls_certificate} and {settings.tls_key} are no certificate and its key"
        ) from error
    return config


@contextmanager
def _listening(settings: WitnessSettings) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        listener = socket.create_server((settings.host, settings.port), family=family)
    except OSError as error:
        raise WitnessServiceError(
            f"cannot listen on {settings.listen}: {error.strerror}"
        ) from error
    with listener:
        yield listener


def _url(settings: WitnessSettings, listener: socket.socket) -> str:
    scheme = "http" if settings.tls_certificate is None else "https"
    host = settings.listen.rpartition(":")[0]
    return f"{scheme}://{host}:{listener.getsockname()[1]}"
