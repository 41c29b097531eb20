"""How much memory a server and its workers take over time."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median

import psutil

SAMPLE_SECONDS = 1.0


@dataclass
class Samples:
    """Resident bytes of a process and its descendants, with the moment of each sample."""

    taken: list[tuple[float, int]] = field(default_factory=list)

    @property
    def peak(self) -> int:
        """Bytes."""
        return max((size for _, size in self.taken), default=0)

    def between(self, start: float, end: float) -> float:
        """The median of a part, in bytes."""
        return median([size for at, size in self.taken if start <= at <= end] or [0])


@contextmanager
def sampling(process: int) -> Iterator[Samples]:
    """Sample while the context lasts."""
    samples, stop = Samples(), threading.Event()

    def sample() -> None:
        while not stop.wait(SAMPLE_SECONDS):
            samples.taken.append((time.monotonic(), resident(process)))

    thread = threading.Thread(target=sample, name="memory")
    thread.start()
    try:
        yield samples
    finally:
        stop.set()
        thread.join()


def resident(process: int) -> int:
    """Resident bytes of a process and its descendants now; of those that are gone, none."""
    total = 0
    try:
        parent = psutil.Process(process)
        family = [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    for member in family:
        try:
            total += member.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total
