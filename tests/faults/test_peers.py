"""Servers and peers that stand still: stopped, slow, or at a half-open connection's other end."""

from __future__ import annotations

import asyncio
import signal
import time
from functools import partial
from pathlib import Path
from random import Random

import grpc

from tests.faults.asking import Question, ask, channel
from tests.faults.forked import ForkedServer, Forks
from tests.faults.ledger import Ledger, checked, opened
from tests.faults.load import Load
from tests.faults.proxy import proxied
from tests.faults.rounds import rounds
from tests.faults.stage import PRIVATE, PUBLIC, Stage
from wire import rpc

STOPS = rounds(3, 100)
LONGEST_STOP_SECONDS = 1.0
AFTERWARDS_SECONDS = 0.3
RECOVERY_SECONDS = 5.0
IDLE_SECONDS = 1.0
PLACES = 4


def stop(server: ForkedServer, load: Load, seconds: float, continued: list[float]) -> None:
    """Stop it for a while, in the middle of its work; a little later the load is over."""
    server.signal(signal.SIGSTOP)
    time.sleep(seconds)
    continued.append(time.monotonic())
    server.signal(signal.SIGCONT)
    time.sleep(AFTERWARDS_SECONDS)
    load.over = True


def test_a_server_that_was_stopped_goes_on_where_it_was(
    stage: Stage, servers: Forks, tmp_path: Path
):
    random = Random(20260201)
    settings = stage.copy(tmp_path / "state")
    ledger = Ledger(settings.state)
    longest = 0.0
    with servers.running(settings) as server:
        for _ in range(STOPS):
            load, continued = Load(stage, random), []
            seconds = random.uniform(0, LONGEST_STOP_SECONDS)
            load.run(server.address, partial(stop, server, load, seconds, continued))
            assert all(one.status is grpc.StatusCode.OK for one in load.exchanges), load.exchanges
            after = [end for end in load.ended if end > continued[0]]
            longest = max(longest, min(after) - continued[0])
            ledger.settle(load.exchanges)
    assert longest < RECOVERY_SECONDS
    with opened(settings.state) as trail:
        assert checked(trail) == ledger.head
    ledger.tell(f"stopped {STOPS} times; an answer at most {longest:.2f} seconds after")


async def half_sent(connection: grpc.aio.Channel, question: Question) -> None:
    """Ask, and fall silent once the server has given a place."""
    call = connection.stream_stream(rpc.INFER.path)(timeout=60)
    await call.write(question.header)
    await call.initial_metadata()
    await call.write(question.body[0])


def test_half_open_connections_give_their_places_back(stage: Stage, servers: Forks, tmp_path: Path):
    random = Random(20260202)
    settings = stage.copy(tmp_path / "state").model_copy(
        update={"max_requests": PLACES, "idle_seconds": IDLE_SECONDS}
    )
    authority = stage.ca.read_bytes()

    async def scenario(address: str) -> float:
        with proxied(address) as proxy:
            far = channel(proxy.address, authority)
            private = stage.prepared[PRIVATE]
            for _ in range(PLACES):
                await half_sent(far, private.question(random))
            proxy.stall()
            began = time.monotonic()
            near = channel(address, authority)
            while True:
                found = await ask(near, stage.prepared[PUBLIC].question(random))
                if found.status is grpc.StatusCode.OK:
                    break
                assert found.reason == rpc.Reason.BUSY, found
                await asyncio.sleep(0.1)
            taken = time.monotonic() - began
            await asyncio.sleep(IDLE_SECONDS)  # the others are refused in the meantime
            await near.close()
            proxy.cut()
            await far.close()
            return taken

    with servers.running(settings) as server:
        taken = asyncio.run(scenario(server.address))
    assert taken < RECOVERY_SECONDS
    with opened(settings.state) as trail:
        reasons = [entry.receipt().receipt.reason for entry in trail.log.entries()]
    assert reasons.count(rpc.Reason.TOO_SLOW) == PLACES


def test_clients_who_read_slowly_hold_nobody_up(stage: Stage, servers: Forks, tmp_path: Path):
    random = Random(20260203)
    settings = stage.copy(tmp_path / "state").model_copy(update={"idle_seconds": IDLE_SECONDS})
    authority = stage.ca.read_bytes()

    async def slow(connection: grpc.aio.Channel) -> grpc.StatusCode:
        question = stage.prepared[PRIVATE].question(random)
        call = connection.stream_stream(rpc.INFER.path)(timeout=60)
        await call.write(question.header)
        await call.initial_metadata()
        for message in question.body:
            await call.write(message)
            await asyncio.sleep(IDLE_SECONDS / 2)
        await call.done_writing()
        async for _ in call:
            await asyncio.sleep(IDLE_SECONDS / 4)
        return await call.code()

    async def scenario(address: str) -> tuple[list[grpc.StatusCode], list[float]]:
        connections = [channel(address, authority) for _ in range(2)]
        crawling = [asyncio.create_task(slow(connections[0])) for _ in range(PLACES)]
        taken = []
        while not all(task.done() for task in crawling):
            began = time.monotonic()
            found = await ask(connections[1], stage.prepared[PUBLIC].question(random))
            assert found.status is grpc.StatusCode.OK, found
            taken.append(time.monotonic() - began)
        codes = [task.result() for task in crawling]
        for connection in connections:
            await connection.close()
        return codes, taken

    with servers.running(settings) as server:
        codes, taken = asyncio.run(scenario(server.address))
    assert codes == [grpc.StatusCode.OK] * PLACES
    assert max(taken) < RECOVERY_SECONDS
