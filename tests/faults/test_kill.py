"""Servers that are killed with SIGKILL under load: at random times, and at every commit step.

This shows what survives the process.  That a crash of the system is survived too rests on SQLite's
synchronous=FULL and on the flushes of the archive.
"""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random

import pytest

from audit.recorder import CommitStep
from audit.store_check import check_store
from tests.faults.asking import Question
from tests.faults.forked import ForkedServer, Forks
from tests.faults.ledger import Ledger, checked, opened
from tests.faults.load import Load
from tests.faults.rounds import rounds
from tests.faults.stage import Stage

PARTS, POINTS = 4, rounds(12, 50)
"""Random points, on a state of its own for each part."""
LONGEST_SECONDS = 0.2
EARLY_SHARE = 0.25
"""Of the points: counted from the first connection; the others from the first answer."""
CHECK_EVERY = 10
KILLS_PER_STEP = rounds(2, 6)
LATEST_OCCURRENCE = 10
MAX_AGAIN = 4
"""Questions of the last round that are asked again."""


@dataclass
class Killing:
    """Round after round on one state: a server, its load, its death, and the reckoning."""

    stage: Stage
    servers: Forks
    state: Path
    random: Random
    ledger: Ledger = field(init=False)
    again: list[Question] = field(default_factory=list)
    points: int = 0

    def __post_init__(self) -> None:
        self.settings = self.stage.copy(self.state)
        self.ledger = Ledger(self.state)

    def round(self, kill: Callable[[ForkedServer, Load], None], **start: object) -> None:
        server = self.servers.start(self.settings, **start)
        load = Load(self.stage, self.random, self.again)
        try:
            kill(server, load)
        finally:
            server.signal(signal.SIGKILL)
        assert server.gone() == -signal.SIGKILL
        self.points += 1
        self._require_retried(load)
        self.again = self.ledger.settle(load.exchanges)[:MAX_AGAIN]
        if self.points % CHECK_EVERY == 0:
            self.check()

    def _require_retried(self, load: Load) -> None:
        """What was asked again and answered is not computed again if it had been recorded."""
        retried = {question.idempotency_digest for question in self.again}
        for exchange in load.exchanges:
            if exchange.question.idempotency_digest in retried and exchange.receipt:
                self.ledger.counted["answered when repeated"] += 1
                if not exchange.admitted:
                    self.ledger.counted["answered from the archive"] += 1
                    assert exchange.receipt.index < self.ledger.head.size
                else:
                    assert exchange.receipt.index >= self.ledger.head.size

    def check(self) -> None:
        with opened(self.state) as trail:
            assert checked(trail) == self.ledger.head
            stored = check_store(trail.engine, trail.archive.store)
        self.ledger.counted["orphaned objects"] = stored.orphans

    def report(self, what: str) -> None:
        self.check()
        self.ledger.tell(f"{what}: {self.points} points")


@pytest.fixture
def killing(stage: Stage, servers: Forks, tmp_path: Path) -> Iterator[Killing]:
    yield Killing(stage, servers, tmp_path / "state", Random(20260101))
    shutil.rmtree(tmp_path)  # hundreds of megabytes, of many runs


@pytest.mark.accepts("C-95")
@pytest.mark.rejects("C-95")
@pytest.mark.accepts("C-96")
@pytest.mark.parametrize("part", range(PARTS))
def test_killed_at_random_times_it_loses_nothing_it_acknowledged(killing: Killing, part: int):
    killing.random.seed(part)

    def kill(server: ForkedServer, load: Load) -> None:
        delay = killing.random.uniform(0, LONGEST_SECONDS)
        early = killing.random.random() < EARLY_SHARE
        load.run(server.address, partial(server.signal, signal.SIGKILL), delay, early=early)

    for _ in range(POINTS):
        killing.round(kill)
    killing.report(f"killed at random times, part {part + 1} of {PARTS}")
    counted = killing.ledger.counted
    assert killing.points == POINTS
    assert counted["acknowledged"] > POINTS  # they were killed in the middle of their work
    assert counted["requests"] > counted["acknowledged"]
    assert counted["answered when repeated"] > POINTS // 2


@pytest.mark.parametrize("step", CommitStep, ids=lambda step: step.name)
def test_killed_at_a_step_of_a_commit_it_loses_nothing(killing: Killing, step: CommitStep):
    for _ in range(KILLS_PER_STEP):
        occurrence = killing.random.randint(1, LATEST_OCCURRENCE)
        killing.round(
            lambda server, load: load.run(server.address), step=step, occurrence=occurrence
        )
    killing.report(f"killed at '{step}'")
    assert killing.ledger.counted["requests"] >= KILLS_PER_STEP
