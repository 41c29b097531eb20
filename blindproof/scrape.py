"""A server's metrics as one reads them: fetched, compared with the ones before, made into rates."""

from __future__ import annotations

import http.client
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from math import inf

from protocol.errors import BlindproofError

MAX_BYTES = 16 << 20
Labels = Mapping[str, str]


class ScrapeError(BlindproofError):
    """There are no metrics to be had."""


@dataclass(frozen=True)
class Scrape:
    """All samples of one moment.

    Attributes:
        time: seconds, monotonic.
        ready: whether the server says that it accepts calls.
        samples: labels and value of each sample, by name.
    """

    time: float
    ready: bool
    samples: Mapping[str, list[tuple[Labels, float]]]

    def total(self, name: str, **labels: str) -> float:
        """The sum of all samples of a name with these labels, 0 if there are none."""
        return sum(value for _, value in self._matching(name, labels))

    def by(self, name: str, label: str, **labels: str) -> dict[str, float]:
        """The same for each value of a further label."""
        found: dict[str, float] = defaultdict(float)
        for own, value in self._matching(name, labels):
            found[own.get(label, "")] += value
        return dict(found)

    def has(self, name: str) -> bool:
        """Whether the server tells this at all."""
        return bool(self.samples.get(name))

    def _matching(self, name: str, labels: Labels) -> list[tuple[Labels, float]]:
        return [
            (own, value)
            for own, value in self.samples.get(name, [])
            if labels.items() <= own.items()
        ]


_START = Scrape(0.0, ready=False, samples={})


@dataclass(frozen=True)
class Change:
    """What happened between two scrapes; since the server's start if there is only one.

    Attributes:
        now: the later one.
        before: the earlier one.
    """

    now: Scrape
    before: Scrape = field(default=_START)

    @property
    def seconds(self) -> float:
        """How long that was."""
        if self.before is _START:
            started = self.now.total("process_start_time_seconds")
            return max(time.time() - started, 1e-9) if started else inf
        return max(self.now.time - self.before.time, 1e-9)

    def count(self, name: str, **labels: str) -> float:
        """By how much a counter went up; what it has now, if the server began anew."""
        now, before = self.now.total(name, **labels), self.before.total(name, **labels)
        return now - before if now >= before else now

    def rate(self, name: str, **labels: str) -> float:
        """The same for one second."""
        return self.count(name, **labels) / self.seconds

    def mean(self, name: str, **labels: str) -> float | None:
        """The mean of a histogram's values, None if there are none."""
        count = self.count(f"{name}_count", **labels)
        return self.count(f"{name}_sum", **labels) / count if count else None

    def quantile(self, share: float, name: str, **labels: str) -> float | None:
        """About the value below which a share of a histogram's values is, None if there are none.

        Values count as spread evenly between the bounds of their bucket; those above the last bound
        as at it.
        """
        bounds = sorted(self.now.by(f"{name}_bucket", "le", **labels), key=float)
        counts = [self.count(f"{name}_bucket", le=bound, **labels) for bound in bounds]
        if not counts or not counts[-1]:
            return None
        wanted = share * counts[-1]
        steps = [(0.0, 0.0), *zip(map(float, bounds), counts, strict=True)]
        for (low, below), (high, upto) in pairwise(steps):
            if upto >= wanted and upto > below:
                if high == inf:
                    return low
                return low + (high - low) * (wanted - below) / (upto - below)
        return None


def scrape(address: str, seconds: float = 5.0) -> Scrape:
    """Fetch a server's metrics.

    Args:
        address: host:port of the endpoint.
        seconds: for each answer.

    Raises:
        ScrapeError: nothing answers there, or something else.
    """
    try:
        from prometheus_client.parser import text_string_to_metric_families
    except ModuleNotFoundError as error:
        raise ScrapeError(
            f"{error.name} is not installed: pip install 'blindproof[telemetry]'"
        ) from error
    ready = _get(address, "/readyz", seconds)[0] == http.HTTPStatus.OK
    status, text = _get(address, "/metrics", seconds)
    if status != http.HTTPStatus.OK:
        raise ScrapeError(f"http://{address}/metrics answers {status}: is it a server's endpoint?")
    samples: dict[str, list[tuple[Labels, float]]] = defaultdict(list)
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                samples[sample.name].append((sample.labels, sample.value))
    except ValueError as error:
        raise ScrapeError(f"http://{address}/metrics answers something else") from error
    return Scrape(time.monotonic(), ready, samples)


def _get(address: str, path: str, seconds: float) -> tuple[int, str]:
    connection = None
    try:
        connection = http.client.HTTPConnection(address, timeout=seconds)
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read(MAX_BYTES).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException) as error:
        raise ScrapeError(
            f"no metrics at {address}: does a server run there with --metrics {address}?"
        ) from error
    finally:
        if connection is not None:
            connection.close()
