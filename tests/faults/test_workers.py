"""Workers killed under load: each takes one request with it, which says so and is recorded."""

from __future__ import annotations

import signal
import time
from functools import partial
from pathlib import Path
from random import Random

import grpc
import psutil
import pytest

from audit.receipt import Outcome
from server.settings import Executor
from tests.faults.forked import ForkedServer, Forks
from tests.faults.ledger import Ledger, checked, opened
from tests.faults.load import Load
from tests.faults.rounds import rounds
from tests.faults.stage import Stage
from wire import rpc

KILLS = rounds(5, 100)
WORKERS = 2
RECOVERY_SECONDS = 5.0
AFTERWARDS_SECONDS = 0.5


def workers_of(server: ForkedServer) -> list[psutil.Process]:
    return psutil.Process(server.process).children()


def kill_one(server: ForkedServer, load: Load, random: Random, killed: list[float]) -> None:
    """Kill a worker, wait until all places are taken again and answers come, and end the load."""
    found = workers_of(server)
    random.choice(found).kill()
    killed.append(time.monotonic())
    deadline = killed[-1] + RECOVERY_SECONDS
    while len(load.ended) == 0 or load.ended[-1] < killed[-1] or not whole(server, found):
        assert time.monotonic() < deadline, "the pool did not recover"
        time.sleep(0.05)
    time.sleep(AFTERWARDS_SECONDS)
    load.over = True


def whole(server: ForkedServer, before: list[psutil.Process]) -> bool:
    """Whether as many workers live as there should be."""
    living = [one for one in workers_of(server) if one.status() != psutil.STATUS_ZOMBIE]
    return len(living) == WORKERS and set(living) != set(before)


@pytest.mark.accepts("C-104")
def test_a_killed_worker_takes_one_request_with_it(stage: Stage, servers: Forks, tmp_path: Path):
    random = Random(20260301)
    settings = stage.copy(tmp_path / "state").model_copy(
        update={"executor": Executor.PROCESSES, "workers": WORKERS}
    )
    ledger = Ledger(settings.state)
    lost, longest = 0, 0.0
    with servers.running(settings) as server:
        for _ in range(KILLS):
            load, killed = Load(stage, random), []
            kill = partial(kill_one, server, load, random, killed)
            load.run(server.address, kill, random.uniform(0, 0.3))
            refused = [one for one in load.exchanges if one.status is not grpc.StatusCode.OK]
            assert {one.reason for one in refused} <= {rpc.Reason.WORKER_LOST}, refused
            assert all(one.status is grpc.StatusCode.UNAVAILABLE for one in refused)
            assert all(one.receipt_id is not None for one in refused)
            assert len(refused) <= 1
            lost += len(refused)
            after = [
                end
                for one, end in zip(load.exchanges, load.ended, strict=True)
                if one.status is grpc.StatusCode.OK and end > killed[0]
            ]
            longest = max(longest, min(after) - killed[0])
            ledger.settle(load.exchanges)
        assert len(workers_of(server)) == WORKERS
        server.signal(signal.SIGTERM)
        assert server.gone() == 0
    assert longest < RECOVERY_SECONDS
    assert lost > 0, "no worker was killed at its work"
    with opened(settings.state) as trail:
        assert checked(trail) == ledger.head
    assert ledger.counted[f"recorded {Outcome.FAILED}"] == lost
    ledger.tell(f"workers killed: {KILLS}, requests lost: {lost}, an answer {longest:.2f} s after")
