"""Run a server: TLS always, health checking, graceful shutdown."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import grpc
import structlog
from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio as health_aio  # type: ignore[attr-defined]  # not in its stubs
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server

from protocol.errors import BlindproofError
from server.inference import SECRET_BYTES, InferenceEngine
from server.keys import EnrolledKeyStore
from server.registry import ModelRegistry
from server.service import Service
from server.settings import ServerSettings
from wire import rpc
from wire.files import (
    make_private_directory,
    read_or_create_secret,
    write_private,
)

_log = structlog.get_logger("blindproof.server")


class ServerError(BlindproofError):
    """The server cannot start with these settings."""


def engine_of(settings: ServerSettings) -> InferenceEngine:
    """The honest engine, with the secret of the state directory."""
    state = make_private_directory(settings.state)
    return InferenceEngine(read_or_create_secret(state / "server.secret", SECRET_BYTES))


@asynccontextmanager
async def running(
    settings: ServerSettings, engine: InferenceEngine | None = None
) -> AsyncIterator[str]:
    """Serve while the context lasts; yields the address (host:port) once calls are accepted.

    Args:
        settings: see `ServerSettings`.
        engine: what answers requests; the honest engine unless a test or the demonstration says so.

    Raises:
        ServerError: certificate, key or address cannot be used.
    """
    credentials = _credentials(settings)
    registry = ModelRegistry(settings.models)
    models = registry.load_all()
    keys = EnrolledKeyStore(
        make_private_directory(settings.state) / "keys", settings.max_enrolled_keys
    )
    with ThreadPoolExecutor(settings.compute_threads, "blindproof-compute") as executor:
        service = Service(settings, registry, keys, engine or engine_of(settings), executor)
        server = grpc.aio.server(
            options=(
                ("grpc.max_receive_message_length", rpc.MAX_MESSAGE_BYTES),
                ("grpc.so_reuseport", 0),
            )
        )
        health = health_aio.HealthServicer()
        add_HealthServicer_to_server(health, server)
        server.add_generic_rpc_handlers(tuple(service.handlers()))
        host, _, _ = settings.listen.rpartition(":")
        try:
            port = server.add_secure_port(settings.listen, credentials)
        except RuntimeError as error:
            raise ServerError(f"cannot listen on {settings.listen}") from error
        await server.start()
        for name in ("", rpc.MODEL_SERVICE, rpc.KEY_SERVICE, rpc.INFERENCE_SERVICE):
            await health.set(name, health_pb2.HealthCheckResponse.SERVING)
        address = f"{host}:{port}"
        if settings.address_file is not None:
            write_private(settings.address_file, address.encode())
        _log.info("serving", address=address, models=len(models), server_id=settings.server_id)
        try:
            yield address
        finally:
            await health.enter_graceful_shutdown()
            await server.stop(settings.shutdown_seconds)
            _log.info("stopped")


async def serve(settings: ServerSettings) -> None:
    """Serve until SIGINT or SIGTERM."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with running(settings):
        await stop.wait()


def configure_logging() -> None:
    """One JSON object a line; payloads are never logged."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    )


def main(settings: ServerSettings) -> None:
    """Run a server in this process."""
    configure_logging()
    asyncio.run(serve(settings))


def _credentials(settings: ServerSettings) -> grpc.ServerCredentials:
    try:
        certificate = settings.tls_certificate.read_bytes()
        key = settings.tls_key.read_bytes()
        authority = settings.tls_client_ca.read_bytes() if settings.tls_client_ca else None
    except OSError as error:
        raise ServerError(f"cannot read {error.filename}: {error.strerror}") from error
    return grpc.ssl_server_credentials(
        [(key, certificate)],
        root_certificates=authority,
        require_client_auth=authority is not None,
    )
