"""Which calls may hold words in memory and compute: so many, and so many bytes in all."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from server.memory import MemoryBudget
from server.refusals import Refusal
from server.settings import ServerSettings
from wire.rpc import Reason


class Admission:
    """The places of one server.  For one event loop."""

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self._running = 0
        self._memory = MemoryBudget(settings.max_memory_bytes)

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """One of the places for calls that hold words in memory; refused at once when none is."""
        if self._running >= self._settings.max_requests:
            raise Refusal(Reason.BUSY, "this server is busy: try again later")
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1

    @contextmanager
    def reserve(self, count: int) -> Iterator[None]:
        """Hold so many bytes while the context lasts; see `MemoryBudget.reserve`."""
        with self._memory.reserve(count):
            yield
