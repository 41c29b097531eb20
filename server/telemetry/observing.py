"""From settings to telemetry: none, or an endpoint, or traces, or both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager

from opentelemetry.metrics import Meter, NoOpMeter
from opentelemetry.trace import NoOpTracer, Tracer

from server.extras import needing
from server.settings import ServerSettings
from server.telemetry.endpoint import Endpoint
from server.telemetry.instruments import Telemetry
from wire.rpc import Method


@asynccontextmanager
async def observing(
    settings: ServerSettings, methods: Iterable[Method] = ()
) -> AsyncIterator[Telemetry]:
    """Telemetry as the settings ask for it, and its endpoint, while the context lasts.

    Args:
        settings: which of it.
        methods: what is served.

    Raises:
        ExtraMissingError: the extra `telemetry` is not installed, and is needed.
        EndpointError: nothing can listen there.
    """
    meter: Meter = NoOpMeter("blindproof")
    tracer: Tracer = NoOpTracer()
    async with AsyncExitStack() as stack:
        with needing("telemetry"):
            if settings.traces is not None:
                from server.telemetry.exporters import otlp

                tracing = otlp(settings.traces, settings.traces_fraction)
                stack.push_async_callback(asyncio.to_thread, tracing.close)
                tracer = tracing.tracer
            if settings.metrics is not None:
                from server.telemetry.exporters import prometheus

                measuring = prometheus()
                stack.callback(measuring.close)
                meter = measuring.meter
        telemetry = Telemetry(meter, tracer, methods)
        if settings.metrics is not None:
            endpoint = Endpoint(telemetry.read, measuring.page, lambda: telemetry.ready)
            await stack.enter_async_context(endpoint.serving(settings.metrics))
        yield telemetry
