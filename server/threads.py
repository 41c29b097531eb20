"""Work in threads, for calls that may be cancelled while it waits for one."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

Result = TypeVar("Result")


async def in_thread(executor: Executor, work: Callable[[], Result]) -> Result:
    """Run work in a thread of an executor.

    If the caller is cancelled before the work has begun, it never begins, and is let go of at once:
    the executor keeps its place until a thread comes to it, and with it would keep all the memory
    that a call no longer counts.  Work that has begun goes on to its end.  It runs in the caller's
    context: lines that it logs name the caller's trace.

    Raises:
        BaseException: what the work raises.
    """
    waiting = [work]
    context = contextvars.copy_context()

    def run() -> Result:
        return waiting.pop()()

    try:
        return await asyncio.get_running_loop().run_in_executor(executor, context.run, run)
    finally:
        waiting.clear()
