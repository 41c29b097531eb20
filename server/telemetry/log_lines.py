"""What a server's log lines have beside what they say."""

from __future__ import annotations

from structlog.typing import EventDict, WrappedLogger

from server.telemetry.traces import trace_id


def add_trace_id(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Name the trace that a line belongs to, if there is one: a number that the client may know."""
    found = trace_id()
    if found is not None:
        event["trace_id"] = found
    return event
