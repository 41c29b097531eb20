"""Work in threads: done, failed, or forgotten before it has begun."""

from __future__ import annotations

import asyncio
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar

import pytest

from server.threads import in_thread

SECONDS = 20


class Words:
    """Something large."""


def test_work_has_a_result_or_an_error():
    def fail() -> None:
        raise ArithmeticError("failed")

    with ThreadPoolExecutor(1) as executor:
        assert asyncio.run(in_thread(executor, lambda: 7)) == 7
        with pytest.raises(ArithmeticError, match="failed"):
            asyncio.run(in_thread(executor, fail))


def test_what_cancelled_work_would_have_held_is_let_go_of_at_once():
    released, begun = threading.Event(), []

    async def ask(words: Words) -> None:
        await in_thread(executor, lambda: begun.append(words))

    async def cancelled() -> weakref.ref[Words]:
        words = Words()
        task = asyncio.create_task(ask(words))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return weakref.ref(words)

    with ThreadPoolExecutor(1) as executor:
        busy = executor.submit(released.wait, SECONDS)
        try:
            held = asyncio.run(cancelled())
            assert held() is None
            assert not busy.done()
        finally:
            released.set()
    assert begun == []


def test_work_runs_in_the_context_of_its_caller():
    """So that what it logs names the caller's trace."""
    name: ContextVar[str] = ContextVar("name", default="nobody")

    async def call():
        name.set("caller")
        with ThreadPoolExecutor(1) as executor:
            return await in_thread(executor, name.get)

    assert asyncio.run(call()) == "caller"
