"""Calls as parts of the application's trace, if it has one: OpenTelemetry's current span.

Only `traceparent` of W3C Trace Context goes along, which is numbers.  What else a context carries
is the application's own, and may say about whom the question is.
"""

from __future__ import annotations

from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

TRACEPARENT = "traceparent"
_PROPAGATOR = TraceContextTextMapPropagator()


def traceparent() -> str | None:
    """The current span as a header's value, None outside of any."""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier)
    return carrier.get(TRACEPARENT)
