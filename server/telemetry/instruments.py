"""What the parts of a server report, in their own words, as instruments of OpenTelemetry."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from opentelemetry.metrics import CallbackOptions, Meter, NoOpMeter, Observation
from opentelemetry.trace import NoOpTracer, Span, Status, StatusCode, Tracer

from server.telemetry import catalogue, traces
from wire.inference import ServerTimings
from wire.rpc import Method, Reason

if TYPE_CHECKING:
    from audit.log import AuditLog
    from audit.receipt import Receipt
    from audit.recorder import Recorder

OK = "ok"
Reading = Callable[[], float | Mapping[str, float]]
"""Reads a metric: its value, or one for each value of its label."""


@dataclass
class ObservedCall:
    """One call, as it will be counted.

    Attributes:
        span: its part of a trace.
        tenant: whose call it is, once that is known.
        reason: how it ends.
    """

    span: Span
    tenant: str = ""
    reason: str = OK


class Telemetry:
    """The instruments of one server.  For its event loop, but for what says otherwise.

    Attributes:
        ready: whether the server accepts calls.
    """

    def __init__(self, meter: Meter, tracer: Tracer, methods: Iterable[Method] = ()) -> None:
        """Make every instrument there is.

        Args:
            meter: makes instruments; of no effect if nobody asks for metrics.
            tracer: starts spans; of no effect if nobody asks for traces.
            methods: what is served: counted from 0, so that a first call is an increase.
        """
        self.ready = False
        self._tracer = tracer
        self._counters = {
            metric: meter.create_counter(metric.full_name, metric.unit, metric.description)
            for metric in catalogue.COUNTERS
        }
        self._histograms = {
            metric: meter.create_histogram(
                metric.full_name,
                metric.unit,
                metric.description,
                explicit_bucket_boundaries_advisory=metric.bounds,
            )
            for metric in catalogue.HISTOGRAMS
        }
        self._readings: dict[catalogue.Metric, list[Reading]] = defaultdict(list)
        self._read: dict[catalogue.Metric, list[Observation]] = {}
        for metric in (*catalogue.GAUGES, *catalogue.WATCHED_COUNTERS):
            gauge = isinstance(metric, catalogue.Gauge)
            create = meter.create_observable_gauge if gauge else meter.create_observable_counter

            def observe(
                _options: CallbackOptions, metric: catalogue.Metric = metric
            ) -> list[Observation]:
                return self._read.get(metric, [])

            create(metric.full_name, [observe], metric.unit, metric.description)
        self._active = {method.name: 0 for method in methods}
        self.watch(catalogue.CALLS_ACTIVE, lambda: dict(self._active))
        for method in self._active:
            self._add(catalogue.CALLS, 0, tenant="", method=method, reason=OK)

    def watch(
        self, metric: catalogue.Gauge | catalogue.WatchedCounter, reading: Reading
    ) -> Callable[[], None]:
        """Read a metric in this way whenever somebody asks: in the event loop, and quickly.

        One that is watched in several ways has the sum of their values, label by label.

        Returns:
            What ends it.
        """
        readings = self._readings[metric]
        readings.append(reading)
        return lambda: readings.remove(reading)

    def read(self) -> None:
        """Read all that is watched; what is exported next shows it."""
        self._read = {metric: self._observations(metric) for metric in self._readings}

    @contextmanager
    def call(
        self, method: Method, metadata: Iterable[tuple[str, str | bytes]] = ()
    ) -> Iterator[ObservedCall]:
        """Count and trace a call while the context lasts; its caller says how it ends.

        Args:
            method: what is called.
            metadata: of the call; a `traceparent` there is continued.
        """
        span = traces.server_span(self._tracer, method, traces.parent_of(metadata))
        observed = ObservedCall(span)
        self._active[method.name] = self._active.get(method.name, 0) + 1
        start = time.perf_counter()
        with traces.current(span):
            try:
                yield observed
            except asyncio.CancelledError:
                observed.reason = Reason.CANCELLED
                raise
            finally:
                seconds = time.perf_counter() - start
                self._active[method.name] -= 1
                self._ended(method, observed, seconds)

    def _ended(self, method: Method, observed: ObservedCall, seconds: float) -> None:
        tenant, reason = observed.tenant, str(observed.reason)
        self._add(catalogue.CALLS, 1, tenant=tenant, method=method.name, reason=reason)
        self._record(catalogue.CALL_DURATION, seconds, method=method.name)
        if reason == Reason.QUOTA_EXHAUSTED:
            self._add(catalogue.QUOTA_REFUSALS, 1, tenant=tenant)
        observed.span.set_attributes({"blindproof.tenant": tenant, "blindproof.reason": reason})
        if reason != OK:
            observed.span.set_status(Status(StatusCode.ERROR))

    def span(self, name: str) -> AbstractContextManager[Span]:
        """A part of the current call, in its trace."""
        return traces.current(self._tracer.start_span(name))

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Time how long a call waits for its place."""
        start = time.perf_counter()
        with self.span("wait"):
            try:
                yield
            finally:
                self._record(catalogue.QUEUE_WAIT, time.perf_counter() - start)

    def stages(self, timings: ServerTimings, span: Span) -> None:
        """How long the stages of an answer took, wherever they ran, and the span they are part of.

        Stages that an answer does not have took no time, and are not counted.
        """
        for stage in fields(timings):
            seconds: float = getattr(timings, stage.name)
            if seconds > 0:
                self._record(catalogue.STAGE_DURATION, seconds, stage=stage.name)
                span.set_attribute(f"blindproof.{stage.name}.seconds", seconds)

    def committed(self, receipts: Sequence[Receipt], seconds: float) -> None:
        """Receipts became durable in one commit.  From any thread."""
        self._record(catalogue.COMMIT_RECEIPTS, len(receipts))
        self._record(catalogue.COMMIT_DURATION, seconds)
        for receipt in receipts:
            self._add(
                catalogue.RECEIPTS,
                1,
                tenant=receipt.tenant,
                action=str(receipt.action),
                outcome=str(receipt.outcome),
            )

    def missed(self, tenant: str) -> None:
        """A refused call got no receipt."""
        self._add(catalogue.RECEIPTS_MISSED, 1, tenant=tenant)

    def serves(self, tenant: str, log: AuditLog, recorder: Recorder) -> Callable[[], None]:
        """Watch a tenant's log, and count from 0 what should stay there.

        A first one is an increase then, and not a new series.

        Returns:
            What ends the watch.
        """
        ends = ExitStack()
        ends.callback(self.watch(catalogue.LOG_ENTRIES, lambda: {tenant: log.acknowledged_size}))
        ends.callback(self.watch(catalogue.RECEIPTS_WAITING, lambda: {tenant: recorder.waiting}))
        self._add(catalogue.RECEIPTS_MISSED, 0, tenant=tenant)
        self._add(catalogue.QUOTA_REFUSALS, 0, tenant=tenant)
        return ends.close

    def _add(self, metric: catalogue.Counter, count: int, **labels: str) -> None:
        self._counters[metric].add(count, labels)

    def _record(self, metric: catalogue.Histogram, value: float, **labels: str) -> None:
        self._histograms[metric].record(value, labels)

    def _observations(self, metric: catalogue.Metric) -> list[Observation]:
        total: dict[str, float] = defaultdict(float)
        for reading in self._readings[metric]:
            found = reading()
            for label, value in (found if isinstance(found, Mapping) else {"": found}).items():
                total[label] += value
        return [
            Observation(value, dict.fromkeys(metric.labels, label))
            for label, value in total.items()
        ]


def silent() -> Telemetry:
    """Instruments that tell nobody."""
    return Telemetry(NoOpMeter("blindproof"), NoOpTracer())
