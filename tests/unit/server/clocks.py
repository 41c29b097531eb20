"""A clock that stands still until it is told otherwise."""

from __future__ import annotations


class Clock:
    """Seconds, as `time.monotonic`."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds
