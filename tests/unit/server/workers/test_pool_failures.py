"""What a pool makes of failures nobody foresaw: who waits is told, and no place stays empty."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from server.refusals import Refusal
from server.workers import pool as pool_module
from server.workers.frames import Frame, Kind
from server.workers.pool import Pool
from wire.rpc import Reason


class Scripted:
    """A worker which fails where it is told to, instead of in the ways a process does."""

    pid = 1
    resident_bytes = 0
    answered = 0
    ended = False

    def __init__(self, failing: str) -> None:
        self.gone = asyncio.get_running_loop().create_future()
        self._failing = failing

    async def perform(self, work: Frame, supply: object) -> Frame:
        if self._failing in {"perform", "end"}:
            raise MemoryError
        return Frame(Kind.VERIFIED)

    async def end(self) -> int:
        if self._failing == "end":
            raise RuntimeError("can't start new thread")
        return 0


def starting(failing: str) -> Callable[[], object]:
    """Starts workers, of which the first one fails."""
    failures = [failing]

    async def start() -> Scripted:
        fails = failures.pop() if failures else ""
        if fails == "start":
            raise RuntimeError("can't start new thread")
        return Scripted(fails)

    return start


@pytest.mark.parametrize("failing", ["start", "perform", "end"])
def test_a_failure_nobody_foresaw_costs_one_worker(
    failing: str, told, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(pool_module, "FIRST_BACKOFF_SECONDS", 0.001)

    async def work() -> None:
        pool = Pool(starting(failing), workers=1, memory_bytes=1)
        try:
            async with asyncio.timeout(10):
                with pytest.raises(Refusal) as caught:
                    await pool.verify_enrolment(told(b""))
                assert caught.value.reason is Reason.WORKER_LOST
                await pool.verify_enrolment(told(b""))
        finally:
            await pool.close()

    asyncio.run(work())


@pytest.mark.parametrize("noticed", [False, True])
def test_a_worker_that_died_idle_does_not_keep_work_from_another(told, noticed: bool):
    async def work() -> None:
        workers: list[Scripted] = []

        async def start() -> Scripted:
            if len(workers) == 2:
                await asyncio.sleep(60)
            workers.append(Scripted(""))
            return workers[-1]

        pool = Pool(start, workers=2, memory_bytes=1)
        try:
            async with asyncio.timeout(10):
                while len(pool._idle) < 2:  # noqa: ASYNC110 -- nothing says so
                    await asyncio.sleep(0)
                workers[-1].ended = True  # the one whose turn it is
                if noticed:
                    workers[-1].gone.set_result(None)
                    await asyncio.sleep(0.01)
                await pool.verify_enrolment(told(b""))
        finally:
            await pool.close()

    asyncio.run(work())
