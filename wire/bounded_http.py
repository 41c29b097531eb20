"""HTTP connections, each for a bounded time.

Services take a bounded number of them.  A peer that says nothing, or a header one byte at a time,
would otherwise keep its place and its descriptor for ever.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

CONNECTION_SECONDS = 60.0
"""Longer than any request here takes, a slow body and the wait for a database included."""
LINGER_SECONDS = 1.0
"""For the peer to read what is left and to take leave; browsers do not always."""


class BoundedConnection(H11Protocol):
    """One connection, which ends after a time whatever its peer does."""

    _end: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:  # noqa: ANN401 -- as the base has it
        """Begin, and end later."""
        super().connection_made(transport)
        self._end = self.loop.call_later(CONNECTION_SECONDS, self.shutdown)

    def shutdown(self) -> None:
        """Close when the answer that is under way has gone, and in a moment whatever happens."""
        super().shutdown()
        if self._end is not None:
            self._end.cancel()
        self._end = self.loop.call_later(LINGER_SECONDS, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        if self._end is not None:
            self._end.cancel()
        super().connection_lost(exc)
