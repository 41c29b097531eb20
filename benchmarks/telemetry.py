"""What telemetry costs a call, and a look at the metrics: ``python -m benchmarks.telemetry``.

A call has its span, four spans inside, its stages and a commit with its receipt, as a prediction
has.  Traces go to a port where nobody listens, so that sending them is part of what is measured.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import cast

from opentelemetry.trace import NoOpTracer
from rich.console import Console
from rich.table import Table

from audit.receipt import Receipt
from server.telemetry import Telemetry, silent
from server.telemetry.exporters import otlp, prometheus
from wire import rpc
from wire.inference import ServerTimings

CALLS = 5000
TENANTS = 100
TIMINGS = ServerTimings(0.001, 0.01, 0.002, 0.05)


def call(telemetry: Telemetry, tenant: str) -> None:
    """What a prediction tells."""
    receipt = SimpleNamespace(tenant=tenant, action="predict", outcome="answered")
    with telemetry.call(rpc.INFER) as observed:
        observed.tenant = tenant
        with telemetry.waiting(), telemetry.span("receive"), telemetry.span("release"):
            pass
        with telemetry.span("work") as span:
            telemetry.stages(TIMINGS, span)
        telemetry.committed([cast("Receipt", receipt)], 0.001)


def microseconds(count: int, work: Callable[[int], object]) -> float:
    """The mean of so many, after a few that do not count."""
    for index in range(count // 10):
        work(index)
    start = time.perf_counter()
    for index in range(count):
        work(index)
    return 1e6 * (time.perf_counter() - start) / count


def main() -> None:
    """Measure and print."""
    table = Table("what", "microseconds")
    quiet = silent()
    table.add_row("a call, no telemetry", f"{microseconds(CALLS, lambda _: call(quiet, 'a')):.1f}")
    measuring = prometheus()
    told = Telemetry(measuring.meter, NoOpTracer(), rpc.METHODS)
    per_call = microseconds(CALLS, lambda index: call(told, f"tenant {index % TENANTS}"))
    table.add_row("a call, metrics", f"{per_call:.1f}")
    tracing = otlp("http://127.0.0.1:9/v1/traces", 1.0)
    both = Telemetry(measuring.meter, tracing.tracer)
    per_call = microseconds(CALLS // 10, lambda index: call(both, f"tenant {index % TENANTS}"))
    table.add_row("a call, metrics and traces", f"{per_call:.1f}")
    table.add_row(
        f"a page of metrics, {TENANTS} tenants",
        f"{microseconds(20, lambda _: measuring.page()):.0f}",
    )
    Console().print(table)
    tracing.close()
    measuring.close()


if __name__ == "__main__":
    main()
