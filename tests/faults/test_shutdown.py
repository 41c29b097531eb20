"""Servers that are told to stop under load: running calls end, and nothing is half recorded."""

from __future__ import annotations

import signal
from functools import partial
from pathlib import Path
from random import Random

import grpc
import pytest

from tests.faults.forked import Forks
from tests.faults.ledger import Ledger, checked, opened
from tests.faults.load import Load
from tests.faults.rounds import rounds
from tests.faults.stage import Stage

TIMES = rounds(6, 100)
LONGEST_SECONDS = 0.2


@pytest.mark.accepts("C-95")
def test_a_server_that_is_told_to_stop_finishes_what_it_admitted(
    stage: Stage, servers: Forks, tmp_path: Path
):
    random = Random(20260105)
    settings = stage.copy(tmp_path / "state")
    ledger = Ledger(settings.state)
    for _ in range(TIMES):
        server = servers.start(settings)
        load = Load(stage, random)
        delay = random.uniform(0, LONGEST_SECONDS)
        load.run(server.address, partial(server.signal, signal.SIGTERM), delay)
        assert server.gone() == 0
        for exchange in load.exchanges:
            if exchange.admitted:
                assert exchange.status is grpc.StatusCode.OK, exchange
                assert exchange.receipt is not None
        ledger.settle(load.exchanges)
    with opened(settings.state) as trail:
        assert checked(trail) == ledger.head
    ledger.tell(f"told to stop under load: {TIMES} times")
    assert ledger.counted["acknowledged"] > TIMES
