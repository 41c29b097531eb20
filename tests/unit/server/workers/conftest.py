from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest

from fhe_layers.moduli import modulus_chain
from protocol.keys import EnrolledKey, KeyRequest
from server.workers.pool import InProcesses
from wire.stored_key import Enrolment

Result = TypeVar("Result")
SECRET = bytes(range(32))


@pytest.fixture(scope="session")
def told() -> Callable[[bytes], Enrolment]:
    """Makes an enrolment whose proof is a word for the unruly worker."""
    request = KeyRequest("client", "server", 8192, modulus_chain(8192, 1)[0], 1)
    key = EnrolledKey(request, bytes(32), bytes(32), np.zeros((1, 1, 8192), dtype=np.uint64))
    return lambda word: Enrolment(key, word)


@pytest.fixture
def unruly(tmp_path: Path) -> Callable[..., Result]:
    """Runs something with a pool of unruly workers; their process ids are in `starts`."""

    def run(work: Callable[[InProcesses], Awaitable[Result]], workers: int = 1) -> Result:
        async def with_pool() -> Result:
            program = "tests.unit.server.workers.unruly"
            pool = InProcesses(
                SECRET,
                workers=workers,
                threads=1,
                memory_bytes=1 << 40,
                command=(sys.executable, "-P", "-m", program, str(tmp_path / "starts")),
            )
            try:
                return await asyncio.wait_for(work(pool), 60)
            finally:
                await pool.close()

        return asyncio.run(with_pool())

    return run


@pytest.fixture
def starts(tmp_path: Path) -> Callable[[], list[int]]:
    """Process ids of the unruly workers that were started."""
    return lambda: [int(line) for line in (tmp_path / "starts").read_text().split()]
