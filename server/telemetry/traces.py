"""Spans of calls: continued from the client's trace, and without the words of any failure.

Of what W3C Trace Context carries, only `traceparent` is read: numbers.  `tracestate` and baggage
are free text of the peer's, and would travel on to wherever traces go.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from opentelemetry.context import Context
from opentelemetry.trace import (
    Span,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    format_trace_id,
    get_current_span,
    use_span,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from wire import rpc

_TRACEPARENT = "traceparent"
_PROPAGATOR = TraceContextTextMapPropagator()


def parent_of(metadata: Iterable[tuple[str, str | bytes]]) -> Context:
    """The client's span, as its metadata names it; an empty context if there is none."""
    carrier = {
        key: value
        for key, value in metadata
        if key == _TRACEPARENT and isinstance(value, str) and value.isascii()
    }
    return _PROPAGATOR.extract(carrier, Context())


def server_span(tracer: Tracer, method: rpc.Method, parent: Context) -> Span:
    """Start the span of a call; whoever starts it ends it."""
    return tracer.start_span(
        method.path[1:],
        context=parent,
        kind=SpanKind.SERVER,
        attributes={"rpc.system": "grpc", "rpc.service": method.service, "rpc.method": method.name},
    )


@contextmanager
def current(span: Span) -> Iterator[Span]:
    """Make a span the current one, and end it; of an exception nothing but that it happened."""
    with use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
        try:
            yield span
        except Exception:
            span.set_status(Status(StatusCode.ERROR))
            raise


def trace_id() -> str | None:
    """The id of the current trace in hexadecimal, None outside of any."""
    found = get_current_span().get_span_context()
    return format_trace_id(found.trace_id) if found.is_valid else None
