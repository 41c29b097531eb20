"""What a pool makes of workers that end, hang, grow or lie."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from server.refusals import Refusal
from server.workers.pool import CANCEL_SECONDS, InProcesses
from wire.rpc import Reason

OK = b"ok"
SLACK_SECONDS = 2.0
"""Of a loaded machine; an idle one takes a hundredth of it."""


async def lost(pool: InProcesses, enrolment: object) -> None:
    """Have something done whose worker is lost with it."""
    with pytest.raises(Refusal) as caught:
        await pool.verify_enrolment(enrolment)
    assert caught.value.reason is Reason.WORKER_LOST
    assert caught.value.retry_seconds is not None


def is_running(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):  # the latter while it is being read
        return False
    return state != "Z"


def wait_for_end(process: int) -> None:
    while is_running(process):
        time.sleep(0.001)


async def all_ready(pool: InProcesses, workers: int = 2) -> None:
    while pool.state.workers < workers:  # noqa: ASYNC110 -- nothing says so
        await asyncio.sleep(0.01)


@pytest.mark.rejects("C-104")
@pytest.mark.parametrize("word", [b"die", b"lie", b"nonsense", b"want"])
def test_a_worker_that_is_lost_takes_one_request_and_another_takes_its_place(
    unruly, told, starts, word: bytes
):
    async def work(pool: InProcesses) -> None:
        await pool.verify_enrolment(told(OK))
        waiting = asyncio.create_task(lost(pool, told(word)))
        await asyncio.sleep(0)
        others = [asyncio.create_task(pool.verify_enrolment(told(OK))) for _ in range(3)]
        await asyncio.gather(waiting, *others)
        assert pool.state.lost == 1

    unruly(work)
    assert len(starts()) == 2


def test_a_worker_that_dies_idle_takes_no_request(unruly, told, starts):
    async def work(pool: InProcesses) -> None:
        await pool.verify_enrolment(told(OK))
        (process,) = pool.pids
        os.kill(process, signal.SIGKILL)
        wait_for_end(process)  # the loop must not notice before it has something to do
        await pool.verify_enrolment(told(OK))
        assert process not in pool.pids

    unruly(work)
    assert len(starts()) == 2


def test_workers_work_at_the_same_time(unruly, told):
    async def work(pool: InProcesses) -> float:
        await all_ready(pool)
        begin = time.monotonic()
        await asyncio.gather(*(pool.verify_enrolment(told(b"pause")) for _ in range(2)))
        return time.monotonic() - begin

    assert unruly(work, workers=2) < 0.6


@pytest.mark.rejects("C-104")
def test_work_that_nobody_waits_for_is_stopped(unruly, told):
    async def work(pool: InProcesses) -> None:
        await pool.verify_enrolment(told(OK))
        (process,) = pool.pids
        hanging = asyncio.create_task(pool.verify_enrolment(told(b"hang")))
        await asyncio.sleep(0.1)
        assert pool.state.busy == 1
        begin = time.monotonic()
        hanging.cancel()
        with pytest.raises(asyncio.CancelledError):
            await hanging
        await asyncio.to_thread(wait_for_end, process)
        assert CANCEL_SECONDS - 0.1 < time.monotonic() - begin < CANCEL_SECONDS + SLACK_SECONDS
        await pool.verify_enrolment(told(OK))
        assert (pool.state.stopped, pool.state.lost) == (1, 0)

    unruly(work)


def test_work_that_ends_in_time_costs_no_worker_when_nobody_waits(unruly, told, starts):
    async def work(pool: InProcesses) -> None:
        await pool.verify_enrolment(told(OK))
        pausing = asyncio.create_task(pool.verify_enrolment(told(b"pause")))
        await asyncio.sleep(0.05)
        pausing.cancel()
        await pool.verify_enrolment(told(OK))

    unruly(work)
    assert len(starts()) == 1


def test_work_that_is_cancelled_while_it_waits_never_begins(unruly, told, starts):
    async def work(pool: InProcesses) -> None:
        await pool.verify_enrolment(told(OK))
        first = asyncio.create_task(pool.verify_enrolment(told(b"pause")))
        second = asyncio.create_task(pool.verify_enrolment(told(b"die")))
        await asyncio.sleep(0.05)
        assert pool.state.waiting == 1
        second.cancel()
        await asyncio.sleep(0)
        assert pool.state.waiting == 0
        await first
        await pool.verify_enrolment(told(OK))

    unruly(work)
    assert len(starts()) == 1


def test_a_worker_with_much_memory_is_replaced(unruly, told, starts):
    async def work(pool: InProcesses) -> None:
        for _ in range(2):
            await pool.verify_enrolment(told(b"grow"))
        await pool.verify_enrolment(told(OK))
        assert pool.state.lost == 0

    unruly(work)
    assert len(starts()) == 3


def test_what_waits_is_refused_when_workers_cannot_be_started(told):
    async def work() -> None:
        pool = InProcesses(
            bytes(32), workers=2, threads=1, memory_bytes=1, command=(sys.executable, "-c", "exit")
        )
        try:
            async with asyncio.timeout(30):
                await lost(pool, told(OK))
        finally:
            await pool.close()

    asyncio.run(work())


def test_a_pool_that_closes_leaves_no_process_and_nobody_waiting(unruly, told, starts):
    async def work(pool: InProcesses) -> None:
        await all_ready(pool)
        works = [asyncio.create_task(lost(pool, told(b"hang"))) for _ in range(3)]
        await asyncio.sleep(0.05)
        await pool.close()
        await asyncio.gather(*works)

    unruly(work, workers=2)
    assert not any(map(is_running, starts()))
