"""The SDK of OpenTelemetry, loaded if a setting asks for metrics or traces.

Every server has providers of its own, none is made the process's: several servers may run in one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from server.events import software_version
from server.telemetry.endpoint import Page

if TYPE_CHECKING:
    from opentelemetry.metrics import Meter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.trace import Tracer

SCOPE = "blindproof.server"
MAX_SPANS = 1024
"""In memory; behind that many they are lost, and no call waits."""
BATCH_MILLISECONDS = 1000
"""Spans wait so long for others."""
EXPORT_SECONDS = 2.0
"""For one batch of spans, and for what is left when a server stops; then it is given up."""


@dataclass(frozen=True)
class Measuring:
    """A meter, the page that shows its instruments and this process, and what ends it."""

    meter: Meter
    page: Callable[[], Page]
    close: Callable[[], None]


@dataclass(frozen=True)
class Tracing:
    """A tracer, and what sends whatever is left and ends it; that may take a moment."""

    tracer: Tracer
    close: Callable[[], None]


def prometheus() -> Measuring:
    """Metrics in Prometheus' text format.  Raises ModuleNotFoundError without the extra."""
    from opentelemetry.exporter.prometheus import PrometheusMetricReader
    from opentelemetry.sdk.metrics import MeterProvider
    from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
    from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    reader = PrometheusMetricReader(registry=registry, scope_info_enabled=False)
    provider = MeterProvider([reader], _resource(), shutdown_on_exit=False)
    one_at_a_time = threading.Lock()

    def page() -> Page:
        with one_at_a_time:
            return Page(generate_latest(registry), CONTENT_TYPE_PLAIN_0_0_4)

    return Measuring(provider.get_meter(SCOPE), page, provider.shutdown)


def otlp(url: str, fraction: float) -> Tracing:
    """Spans to a collector, in batches, from a thread of their own.

    Args:
        url: of the collector, for OTLP over HTTP.
        fraction: of all traces that are kept, decided by their ids alone: a peer cannot demand that
            all of its calls are traced.

    Raises:
        ModuleNotFoundError: the extra is not installed.
    """
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import TraceIdRatioBased

    provider = TracerProvider(TraceIdRatioBased(fraction), _resource(), shutdown_on_exit=False)
    exporter = OTLPSpanExporter(url, timeout=EXPORT_SECONDS)
    provider.add_span_processor(
        BatchSpanProcessor(
            exporter, max_queue_size=MAX_SPANS, schedule_delay_millis=BATCH_MILLISECONDS
        )
    )
    return Tracing(provider.get_tracer(SCOPE), provider.shutdown)


def _resource() -> Resource:
    """What everything told is about; OTEL_RESOURCE_ATTRIBUTES may add to it."""
    from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource

    return Resource.create({SERVICE_NAME: SCOPE, SERVICE_VERSION: software_version()})
