"""Run a server: TLS always, health checking, graceful shutdown."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import grpc
import structlog
from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio as health_aio  # type: ignore[attr-defined]  # not in its stubs
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server

from audit.output import configure_logging
from audit.recorder import Observer
from server.admission import Admission
from server.audit_service import AuditService
from server.calls import Calls, Procedures, handlers_of
from server.configuration import Configuration
from server.executors import answering_of, engine_of, works_at_once
from server.extras import needing
from server.identity import Anyone, Identification
from server.inference import InferenceEngine
from server.inference_service import InferenceService
from server.key_service import KeyService
from server.model_service import ModelService
from server.reloading import Configured, Reloading, stamps
from server.rooms import OneRoom, Place, Rooms, opened
from server.settings import ServerSettings
from server.starting import ServerError, starting
from server.telemetry import Telemetry
from server.telemetry.log_lines import add_trace_id
from server.telemetry.observing import observing
from server.tenancy import Tenancy
from server.tls import ServerTls, TlsError, TlsFiles
from server.trail_files import TENANTS
from server.trail_tasks import page
from server.watched import watch
from wire import rpc
from wire.files import (
    write_private,
)

__all__ = ["ServerError", "engine_of", "main", "running", "serve"]

_SERVICES = (rpc.MODEL_SERVICE, rpc.KEY_SERVICE, rpc.INFERENCE_SERVICE, rpc.AUDIT_SERVICE)
_log = structlog.get_logger("blindproof.server")


@asynccontextmanager
async def running(
    settings: ServerSettings,
    engine: InferenceEngine | None = None,
    observer: Observer | None = None,
    *,
    configuration: Configuration | None = None,
    again: asyncio.Event | None = None,
) -> AsyncIterator[str]:
    """Serve while the context lasts; yields the address (host:port) once calls are accepted.

    Args:
        settings: see `ServerSettings`.
        engine: what answers requests; the honest engine unless a test or the demonstration says so.
        observer: called at each step of the commit of a receipt, from any thread; for tests.
        configuration: where the settings are from; read again when its file changes.
        again: set by who wants settings, certificates and tenants read again.

    Raises:
        ServerError: certificate, key, directories, audit trail or address cannot be used.
    """
    configuration = configuration or Configuration.of(settings)
    files = TlsFiles.of(settings)
    seen = stamps((configuration.file, *files.paths, settings.tenants))
    try:
        tls = ServerTls(files)
    except TlsError as error:
        raise ServerError(str(error)) from error
    async with AsyncExitStack() as stack:
        # Taken down in the reverse order: calls first, then what records them.
        telemetry = await stack.enter_async_context(observing(settings, rpc.METHODS))
        house = await stack.enter_async_context(_housed(settings, tls, observer, telemetry))
        answering = answering_of(settings, engine)
        stack.push_async_callback(answering.close)
        calls = Calls(settings.request_seconds, house.identification, house.rooms, telemetry)
        server = grpc.aio.server(
            options=(
                ("grpc.max_receive_message_length", rpc.MAX_MESSAGE_BYTES),
                ("grpc.so_reuseport", 0),
                # Calls under way end on the old connection, however long they take.
                ("grpc.max_connection_age_ms", round(settings.connection_seconds * 1000)),
            )
        )
        health = health_aio.HealthServicer()
        add_HealthServicer_to_server(health, server)
        admission = Admission(settings, works_at_once(settings, engine), telemetry=telemetry)
        keys = KeyService(settings, calls, admission, answering)
        inference = InferenceService(settings, calls, admission, answering)
        models = ModelService(settings, calls, admission)
        procedures: dict[rpc.Method, grpc.RpcMethodHandler[bytes, bytes]] = {}
        for service in (models, keys, inference, AuditService(calls)):
            procedures.update(service.procedures())
        server.add_generic_rpc_handlers(handlers_of(procedures))
        host, _, _ = settings.listen.rpartition(":")
        try:
            port = server.add_secure_port(settings.listen, tls.grpc_credentials())
        except RuntimeError as error:
            raise ServerError(f"cannot listen on {settings.listen}") from error
        configured = [
            Configured(part.configure) for part in (calls, admission, models, keys, inference)
        ]
        tenants = [] if house.tenancy is None else [house.tenancy]
        for tenancy in tenants:
            tenancy.follow(calls, admission.quotas)
        reloading = Reloading(
            configuration,
            settings,
            (tls, *configured, *tenants),
            again,
            seen,
        )
        watch(
            telemetry,
            reloading=reloading,
            admission=admission,
            uploads=inference.uploads,
            answering=answering,
            tls=tls,
        )
        doors = await stack.enter_async_context(AsyncExitStack())
        await server.start()
        try:
            await stack.enter_async_context(reloading.watching())
            await doors.enter_async_context(_gateway(reloading, tls, procedures))
            for name in ("", *_SERVICES):
                await health.set(name, health_pb2.HealthCheckResponse.SERVING)
            address = f"{host}:{port}"
            if settings.address_file is not None:
                with starting(settings.address_file):
                    write_private(settings.address_file, address.encode())
            telemetry.ready = True
            _log.info(
                "serving",
                address=address,
                server_id=settings.server_id,
                log_keys=house.log_keys(),
                certificate_expires=tls.expires.isoformat(),
            )
            yield address
        finally:
            telemetry.ready = False
            await health.enter_graceful_shutdown()
            await asyncio.gather(server.stop(reloading.settings.shutdown_seconds), doors.aclose())
            await calls.end()
            _log.info("stopped")


@dataclass(frozen=True)
class _House:
    """Who is served, and where.

    Attributes:
        identification: who decides whose call it is.
        rooms: of the tenants.
        tenancy: both, if there is a file of tenants.
    """

    identification: Identification
    rooms: Rooms
    tenancy: Tenancy | None = None

    def log_keys(self) -> list[str]:
        """Of the tenants' logs; each has its tenant in its name."""
        return [room.trail.log_key.encoded() for room in self.rooms.all()]


@asynccontextmanager
async def _housed(
    settings: ServerSettings, tls: ServerTls, observer: Observer | None, telemetry: Telemetry
) -> AsyncIterator[_House]:
    """The rooms of a server while the context lasts.

    Raises:
        ServerError, TenantsError: they cannot be opened.
    """
    if settings.tenants is not None:
        tenancy = Tenancy(settings.tenants, settings, observer, telemetry)
        async with tenancy.serving():
            yield _House(tenancy, tenancy, tenancy)
        return
    tenants = settings.state / TENANTS
    if tenants.is_dir():
        # Whoever has lost that setting does not mean to serve everybody, under a new log.
        raise ServerError(f"{tenants} is there, and the setting 'tenants' names no file of tenants")
    async with AsyncExitStack() as stack:
        room = await stack.enter_async_context(
            opened(Place.only(settings), settings, observer, telemetry)
        )
        with starting(settings.state):
            await stack.enter_async_context(page(settings, room.trail.files, tls))
        anyone = Anyone(settings.tenant, certificates=settings.tls_client_ca is not None)
        yield _House(anyone, OneRoom(room))


@asynccontextmanager
async def _gateway(
    reloading: Reloading, tls: ServerTls, procedures: Procedures
) -> AsyncIterator[None]:
    """The REST gateway while the context lasts, if it is asked for.

    Raises:
        ListenError, ExtraMissingError: it cannot be served.
    """
    address = reloading.settings.gateway
    if address is None:
        yield
        return
    with needing("web"):
        from server.gateway import serving
    async with serving(address, lambda: reloading.settings, tls, procedures):
        yield


async def serve(configuration: Configuration) -> None:
    """Serve until SIGINT or SIGTERM; SIGHUP has everything read again that may change.

    Raises:
        SettingsError, ServerError: the server cannot start.
    """
    stop, again = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, again.set)
    settings = configuration.settings()
    async with running(settings, configuration=configuration, again=again):
        await stop.wait()


def main(configuration: Configuration) -> None:
    """Run a server in this process.  Raises as `serve`."""
    configure_logging(add_trace_id)
    asyncio.run(serve(configuration))
