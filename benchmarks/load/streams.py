"""Many streams held open at once, by peers who say nothing: each costs the server what it may.

A server ends such a stream after `header_seconds`, with a typed refusal; then another is opened.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

from wire import rpc

STREAMS_OF_A_CONNECTION = 100
PAUSE_SECONDS = 0.5
"""After a refusal."""
_TYPED = frozenset({grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED})


@dataclass
class Held:
    """What became of the streams.

    Attributes:
        now: open at this moment.
        open: most that were open at once.
        refused: ended by a typed refusal.
        other: ended otherwise.
    """

    now: int = 0
    open: int = 0
    refused: int = 0
    other: int = 0


async def _hold(connection: grpc.aio.Channel, held: Held) -> None:
    while True:
        call = connection.stream_stream(rpc.INFER.path)()
        held.now += 1
        held.open = max(held.open, held.now)
        try:
            code = await call.code()
        finally:
            held.now -= 1
            call.cancel()
        reason = dict(await call.trailing_metadata() or ()).get(rpc.REASON_METADATA)
        if code in _TYPED and reason is not None:
            held.refused += 1
        else:
            held.other += 1
        await asyncio.sleep(PAUSE_SECONDS)


async def _run(address: str, ca: bytes, count: int, held: Held, stop: asyncio.Event) -> None:
    credentials = grpc.ssl_channel_credentials(ca)
    connections = [
        grpc.aio.secure_channel(
            address, credentials, options=(("grpc.use_local_subchannel_pool", 1),)
        )
        for _ in range(-(-count // STREAMS_OF_A_CONNECTION))
    ]
    tasks = [
        asyncio.create_task(_hold(connections[number % len(connections)], held))
        for number in range(count)
    ]
    await stop.wait()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for connection in connections:
        await connection.close()


@contextmanager
def holding(address: str, ca: Path, count: int) -> Iterator[Held]:
    """Hold so many streams while the context lasts, from a thread of this process."""
    held, loop, stop = Held(), asyncio.new_event_loop(), asyncio.Event()
    thread = threading.Thread(
        target=loop.run_until_complete,
        args=(_run(address, ca.read_bytes(), count, held, stop),),
        name="streams",
    )
    thread.start()
    try:
        yield held
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()
