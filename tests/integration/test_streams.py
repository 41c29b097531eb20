"""A thousand calls at once: what waits holds its header only, what is too much is told so."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import grpc
import psutil
import pytest

from blindproof.loopback import server_process
from tests.integration.conftest import World
from tests.integration.example_models import records
from tests.integration.raw_requests import fresh, messages_like
from wire import rpc
from wire.rpc import Reason

STREAMS = 1000
BEYOND = 100
MEBIBYTE = 1 << 20
SECONDS = 60.0
PATIENCE = 3500.0
"""Enough for a thousand calls before one's own: whoever has less is told so at once."""


@pytest.fixture
def address(world: World, tmp_path: Path) -> Iterator[str]:
    settings = world.settings.model_copy(
        update={
            "state": tmp_path / "state",
            "address_file": tmp_path / "address",
            "max_requests": 2,
            "max_streams": STREAMS,
            "max_memory_bytes": 64 * MEBIBYTE,
            "idle_seconds": SECONDS,
            "request_seconds": 3600.0,
        }
    )
    with server_process(settings) as started:
        yield started.address


@pytest.fixture
def sent(world: World) -> list[bytes]:
    with world.client("public") as client:
        return messages_like(client.predict(records(2), packing="batch").evidence[0])


def server_memory() -> int:
    """Resident bytes of the server's processes."""
    found = psutil.Process().children(recursive=True)
    return sum(process.memory_info().rss for process in found)


async def reason_of(call) -> str | None:
    await call.code()
    return dict(await call.trailing_metadata() or ()).get(rpc.REASON_METADATA)


async def answer(channel: grpc.aio.Channel, messages: list[bytes]) -> int:
    """How many messages the answer to a request has."""
    call = channel.stream_stream(rpc.INFER.path)(iter(messages), timeout=SECONDS)
    return len([message async for message in call])


@pytest.mark.rejects("C-105")
@pytest.mark.accepts("C-105")
def test_a_thousand_streams_are_held_and_more_are_told_so(world: World, address: str, sent):
    async def scenario() -> None:
        credentials = grpc.ssl_channel_credentials(world.ca.read_bytes())
        async with grpc.aio.secure_channel(address, credentials) as channel:
            assert await answer(channel, fresh(sent)) > 1
            before = server_memory()
            calls = []
            for _ in range(STREAMS + BEYOND):
                call = channel.stream_stream(rpc.INFER.path)(timeout=PATIENCE)
                await call.write(fresh(sent)[0])
                calls.append(call)
            ends = [asyncio.create_task(reason_of(call)) for call in calls]
            for ended in islice(asyncio.as_completed(ends), BEYOND):
                await ended
            refused = Counter(end.result() for end in ends if end.done())
            assert refused == {Reason.BUSY: BEYOND}
            advice = [
                dict(await call.trailing_metadata())
                for call, end in zip(calls, ends, strict=True)
                if end.done()
            ]
            assert all(int(found[rpc.RETRY_METADATA]) > 0 for found in advice)
            assert all(found[rpc.STATUS_DETAILS_METADATA] for found in advice)
            grown = server_memory() - before
            assert grown < 100 * MEBIBYTE, f"{grown / MEBIBYTE:.0f} MiB"
            # Those who have a place are served, and then those who waited for it.
            held = [call for call, end in zip(calls, ends, strict=True) if not end.done()]
            admitted = [call for call in held if await is_admitted(call)]
            assert len(admitted) == 2
            # All hang up: the queue is empty at once, and the next one is served.
            for call in held:
                call.cancel()
            await asyncio.gather(*ends, return_exceptions=True)
            assert await answer(channel, fresh(sent)) > 1

    asyncio.run(scenario())


async def is_admitted(call) -> bool:
    try:
        async with asyncio.timeout(0.001):
            return rpc.ADMITTED_METADATA in await asyncio.shield(call.initial_metadata())
    except TimeoutError:
        return False
