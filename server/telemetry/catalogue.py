"""Every metric of a server: its name, unit, labels, and what it says.

Labels are bounded: tenants and quotas are the operator's, everything else is an enumeration.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

NAMESPACE = "blindproof"
_UNITS: Final = {"s": "seconds", "By": "bytes", "d": "days"}
"""Units of UCUM, as OpenTelemetry has them, and the words that Prometheus puts behind a name."""

_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1)
_SLOW = (0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_COUNTS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        name: as OpenTelemetry has it, without the namespace.
        description: for people.
        unit: of UCUM; empty for what is counted.
        labels: keys, each with few values.
    """

    name: str
    description: str
    unit: str = ""
    labels: tuple[str, ...] = ()

    @property
    def full_name(self) -> str:
        """The name with its namespace."""
        return f"{NAMESPACE}.{self.name}"

    @property
    def exported(self) -> str:
        """The name that Prometheus' text format gives it; a histogram adds _bucket and the like."""
        parts = [self.full_name.replace(".", "_")]
        if self.unit:
            parts.append(_UNITS[self.unit])
        return "_".join(parts)


@dataclass(frozen=True)
class Counter(Metric):
    """Goes up only."""

    @property
    def exported(self) -> str:
        """See `Metric.exported`."""
        return f"{super().exported}_total"


@dataclass(frozen=True)
class WatchedCounter(Counter):
    """Goes up only, and is read when somebody asks."""


@dataclass(frozen=True)
class Gauge(Metric):
    """Read when somebody asks."""


@dataclass(frozen=True)
class Histogram(Metric):
    """A distribution, by the upper bounds of its buckets."""

    bounds: tuple[float, ...] = (*_FAST, *_SLOW)


CALLS = Counter(
    "calls",
    "Calls that have ended, by reason: ok, or why the call failed. Peers that nobody knows have no "
    "tenant.",
    labels=("tenant", "method", "reason"),
)
CALL_DURATION = Histogram(
    "call.duration",
    "From the arrival of a call to its end, its transfer included.",
    unit="s",
    labels=("method",),
)
CALLS_ACTIVE = Gauge("calls.active", "Calls under way.", labels=("method",))

QUEUE_DEPTH = Gauge("queue.depth", "Calls that wait for a place to hold words in memory.")
QUEUE_WAIT = Histogram("queue.wait", "How long a call waited for its place.", unit="s")
PLACES_USED = Gauge("places.used", "Places for calls that hold words in memory: taken.")
PLACES_LIMIT = Gauge("places.limit", "Places for calls that hold words in memory: all.")
MEMORY_RESERVED = Gauge("memory.reserved", "Bytes reserved for the words of calls.", unit="By")
MEMORY_LIMIT = Gauge("memory.limit", "Bytes that calls may reserve together.", unit="By")
QUOTA_REFUSALS = Counter(
    "quota.refusals", "Calls refused because their tenant's quota was used up.", labels=("tenant",)
)
UPLOADS_PARKED = Gauge("uploads.parked", "Broken uploads whose messages are kept for a while.")
UPLOADS_PARKED_SIZE = Gauge("uploads.parked.size", "Bytes of these messages.", unit="By")

STAGE_DURATION = Histogram(
    "stage.duration",
    "Stages of an answer: expand, evaluate, sanitise, prove.",
    unit="s",
    labels=("stage",),
)
WORKERS = Gauge("workers", "Worker processes, by what they do.", labels=("state",))
WORKS_WAITING = Gauge("works.waiting", "Works that wait for a worker.")
WORKERS_ENDED = WatchedCounter(
    "workers.ended",
    "Worker processes that were replaced: lost by themselves, or stopped because nobody waited for "
    "their work any more.",
    labels=("cause",),
)
WORKER_MEMORY = Gauge("worker.memory", "Resident bytes of all worker processes.", unit="By")

RECEIPTS = Counter("receipts", "Receipts that are durable.", labels=("tenant", "action", "outcome"))
RECEIPTS_MISSED = Counter(
    "receipts.missed",
    "Refused calls that got no receipt because too many waited for the disk.",
    labels=("tenant",),
)
RECEIPTS_WAITING = Gauge("receipts.waiting", "Receipts that wait for the disk.", labels=("tenant",))
COMMIT_RECEIPTS = Histogram("commit.receipts", "Receipts of one commit.", bounds=_COUNTS)
COMMIT_DURATION = Histogram("commit.duration", "How long a commit took.", unit="s")
LOG_ENTRIES = Gauge("log.entries", "Entries of the audit log.", labels=("tenant",))
CERTIFICATE_EXPIRY = Gauge(
    "certificate.expiry",
    "Until a certificate in use expires; negative afterwards.",
    unit="d",
    labels=("certificate",),
)

CONFIGURATION_REFUSED = Gauge(
    "configuration.refused", "1 while the files on disk cannot be put into force, 0 otherwise."
)

COUNTERS = (CALLS, QUOTA_REFUSALS, RECEIPTS, RECEIPTS_MISSED)
HISTOGRAMS = (CALL_DURATION, QUEUE_WAIT, STAGE_DURATION, COMMIT_RECEIPTS, COMMIT_DURATION)
GAUGES = (
    CALLS_ACTIVE,
    QUEUE_DEPTH,
    PLACES_USED,
    PLACES_LIMIT,
    MEMORY_RESERVED,
    MEMORY_LIMIT,
    UPLOADS_PARKED,
    UPLOADS_PARKED_SIZE,
    WORKERS,
    WORKS_WAITING,
    WORKER_MEMORY,
    RECEIPTS_WAITING,
    LOG_ENTRIES,
    CERTIFICATE_EXPIRY,
    CONFIGURATION_REFUSED,
)
WATCHED_COUNTERS = (WORKERS_ENDED,)
METRICS: tuple[Metric, ...] = (*COUNTERS, *HISTOGRAMS, *GAUGES, *WATCHED_COUNTERS)
