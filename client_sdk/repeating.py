"""Ask again, with the same bytes, when a connection breaks before the answer is whole.

The server knows a request again by its header and answers it from its archive: the work is done
once, and one receipt records it, however often it is asked.  What the server refused is not asked
again: it would refuse it again.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from typing import TypeVar

from client_sdk.transport_errors import ConnectionLostError

DEFAULT_RETRIES = 2
FIRST_PAUSE_SECONDS = 0.4
PAUSE_GROWTH = 4.0
MAX_PAUSE_SECONDS = 10.0

Returned = TypeVar("Returned")


async def repeated(work: Callable[[], Awaitable[Returned]], retries: int) -> Returned:
    """Do work; again, after a pause, if the connection breaks, up to so many times.

    Raises:
        ConnectionLostError: it broke once more.
        BlindproofError: whatever else the work raises, at once.
    """
    for attempt in range(retries):
        try:
            return await work()
        except ConnectionLostError:
            await asyncio.sleep(pause(attempt))
    return await work()


def pause(attempt: int) -> float:
    """Seconds to wait after an attempt, counted from 0.

    Drawn from the upper half of a range that grows: clients that lost one server do not all come
    back at the same moment.
    """
    longest = min(FIRST_PAUSE_SECONDS * PAUSE_GROWTH**attempt, MAX_PAUSE_SECONDS)
    return longest * (1 + secrets.randbelow(1 << 16) / (1 << 16)) / 2
