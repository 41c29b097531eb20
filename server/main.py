"""Run a server: TLS always, health checking, graceful shutdown."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import grpc
import structlog
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio as health_aio  # type: ignore[attr-defined]  # not in its stubs
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server

from audit.output import configure_logging
from audit.recorder import Observer
from server.admission import Admission
from server.answering import Answering, InThreads
from server.audit_service import AuditService
from server.calls import Calls
from server.identity import Anyone
from server.inference import SECRET_BYTES, InferenceEngine
from server.inference_service import InferenceService
from server.key_service import KeyService
from server.model_service import ModelService
from server.rooms import OneRoom, Place, opened
from server.settings import ServerSettings
from server.starting import ServerError, starting
from server.trail_tasks import page, witnesses
from wire import rpc
from wire.files import (
    make_private_directory,
    read_or_create_secret,
    write_private,
)

__all__ = ["ServerError", "engine_of", "main", "running", "serve"]

_SERVICES = (rpc.MODEL_SERVICE, rpc.KEY_SERVICE, rpc.INFERENCE_SERVICE, rpc.AUDIT_SERVICE)
_log = structlog.get_logger("blindproof.server")


def engine_of(settings: ServerSettings) -> InferenceEngine:
    """The honest engine, with the secret of the state directory, made if there is none.

    Raises:
        ServerError: the secret cannot be read, made, or kept from others.
    """
    with starting(settings.state):
        path = make_private_directory(settings.state) / "server.secret"
        new = not path.exists()
        secret = read_or_create_secret(path, SECRET_BYTES)
    if new:
        _log.warning("new state created", path=str(settings.state))
    return InferenceEngine(secret)


@asynccontextmanager
async def running(
    settings: ServerSettings,
    engine: InferenceEngine | None = None,
    observer: Observer | None = None,
) -> AsyncIterator[str]:
    """Serve while the context lasts; yields the address (host:port) once calls are accepted.

    Args:
        settings: see `ServerSettings`.
        engine: what answers requests; the honest engine unless a test or the demonstration says so.
        observer: called at each step of the commit of a receipt, from any thread; for tests.

    Raises:
        ServerError: certificate, key, directories, audit trail or address cannot be used.
    """
    credentials = _credentials(settings)
    async with AsyncExitStack() as stack:
        # Taken down in the reverse order: calls first, then what records them.
        room = await stack.enter_async_context(opened(Place.only(settings), settings, observer))
        files = room.trail.files
        answering: Answering = InThreads(engine or engine_of(settings), settings.compute_threads)
        stack.push_async_callback(answering.close)
        identification = Anyone(settings.tenant, certificates=settings.tls_client_ca is not None)
        calls = Calls(settings.request_seconds, identification, OneRoom(room))
        with starting(settings.state):
            cosigning = await stack.enter_async_context(witnesses(settings, files))
            await stack.enter_async_context(page(settings, files))
        server = grpc.aio.server(
            options=(
                ("grpc.max_receive_message_length", rpc.MAX_MESSAGE_BYTES),
                ("grpc.so_reuseport", 0),
            )
        )
        health = health_aio.HealthServicer()
        add_HealthServicer_to_server(health, server)
        admission = Admission(settings)
        for service in (
            ModelService(settings.server_id, calls),
            KeyService(settings, calls, admission, answering),
            InferenceService(settings, calls, admission, answering),
            AuditService(calls, cosigning),
        ):
            server.add_generic_rpc_handlers(service.handlers())
        host, _, _ = settings.listen.rpartition(":")
        try:
            port = server.add_secure_port(settings.listen, credentials)
        except RuntimeError as error:
            raise ServerError(f"cannot listen on {settings.listen}") from error
        await server.start()
        try:
            for name in ("", *_SERVICES):
                await health.set(name, health_pb2.HealthCheckResponse.SERVING)
            address = f"{host}:{port}"
            if settings.address_file is not None:
                with starting(settings.address_file):
                    write_private(settings.address_file, address.encode())
            _log.info(
                "serving",
                address=address,
                server_id=settings.server_id,
                log_key=files.log_key.encoded(),
            )
            yield address
        finally:
            await health.enter_graceful_shutdown()
            await server.stop(settings.shutdown_seconds)
            await calls.end()
            _log.info("stopped")


async def serve(settings: ServerSettings) -> None:
    """Serve until SIGINT or SIGTERM."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with running(settings):
        await stop.wait()


def main(settings: ServerSettings) -> None:
    """Run a server in this process."""
    configure_logging()
    asyncio.run(serve(settings))


def _credentials(settings: ServerSettings) -> grpc.ServerCredentials:
    with starting(settings.tls_certificate):
        certificate = settings.tls_certificate.read_bytes()
    with starting(settings.tls_key):
        key = settings.tls_key.read_bytes()
    _check_pair(settings, certificate, key)
    authority = None
    if settings.tls_client_ca is not None:
        with starting(settings.tls_client_ca):
            authority = settings.tls_client_ca.read_bytes()
        _certificate(authority, settings.tls_client_ca)
    return grpc.ssl_server_credentials(
        [(key, certificate)],
        root_certificates=authority,
        require_client_auth=authority is not None,
    )


def _check_pair(settings: ServerSettings, certificate: bytes, key: bytes) -> None:
    """What gRPC would report, if at all, by failing every handshake.

    Raises:
        ServerError: not PEM, a key with a passphrase, or the key of another certificate.
    """
    public = _certificate(certificate, settings.tls_certificate).public_key()
    try:
        private = serialization.load_pem_private_key(key, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ServerError(f"{settings.tls_key}: not a PEM private key without passphrase") from None
    if private.public_key() != public:
        raise ServerError(f"{settings.tls_key} is not the key of {settings.tls_certificate}")


def _certificate(data: bytes, path: Path) -> x509.Certificate:
    """The first certificate of a PEM file.  Raises ServerError."""
    try:
        return x509.load_pem_x509_certificates(data)[0]
    except ValueError:
        raise ServerError(f"{path}: no PEM certificate") from None
