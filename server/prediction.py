"""How long the work of a call takes, before it is done: as long as such work took lately.

Work is of a kind: the same model in the same packing, or an enrolment of the same size.  What was
measured of a kind is forgotten after a while without a call of it: a machine that stood still for a
minute must not make a server refuse, for ever, calls from which it would learn better.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass

WEIGHT = 0.2
"""Of the newest measurement in the moving average."""
REMEMBERED_SECONDS = 60.0
MAX_KINDS = 1024


@dataclass
class _Measured:
    seconds: float
    at: float


class WorkTimes:
    """Moving averages of the time which work of a kind has taken.  For one event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._measured: OrderedDict[Hashable, _Measured] = OrderedDict()

    def observe(self, kind: Hashable, seconds: float) -> None:
        """Learn what one piece of work has taken."""
        known = self.recent(kind)
        average = seconds if known is None else known + WEIGHT * (seconds - known)
        self._measured[kind] = _Measured(average, self._clock())
        self._measured.move_to_end(kind)
        while len(self._measured) > MAX_KINDS:
            self._measured.popitem(last=False)

    def recent(self, kind: Hashable) -> float | None:
        """Seconds that work of a kind takes now; None if none was measured lately."""
        measured = self._measured.get(kind)
        if measured is None or self._clock() - measured.at > REMEMBERED_SECONDS:
            return None
        return measured.seconds
