"""What a server tells its operators: metrics, traces, and whether it is alive and ready.

Numbers and bounded names only.  No identity of a person, client, request or key is ever a label or
an attribute, and no exception's words are: see docs/observability.md.

Instruments and spans are those of the OpenTelemetry API, which costs next to nothing until a
setting asks for metrics or traces; only then is the SDK loaded (extra `telemetry`).
"""

from server.telemetry.instruments import ObservedCall, Telemetry, silent

__all__ = ["ObservedCall", "Telemetry", "silent"]
