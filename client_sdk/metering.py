"""How much of what is to be sent and received has gone: for whoever shows it to a person."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

Meter: TypeAlias = Callable[[float], None]
"""Called with the part of the present phase that is done, from 0 to 1."""


def unmetered(part: float) -> None:
    """The meter of those who gave none."""
    del part


class Traffic:
    """Counts the bytes of one call against those expected, and reports the part that has gone."""

    def __init__(self, expected_bytes: int, report: Meter) -> None:
        self._expected = max(expected_bytes, 1)
        self._report = report
        self._gone = 0

    def count(self, message: bytes) -> bytes:
        """One message has gone, or come."""
        self._gone += len(message)
        self._report(min(self._gone / self._expected, 1.0))
        return message

    def counted(self, messages: Iterable[bytes]) -> Iterator[bytes]:
        """The messages, counted as they are taken."""
        return map(self.count, messages)
