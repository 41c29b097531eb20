"""Malformed messages at every procedure and every route of a real server.

    python -m tests.fuzz.programme --messages 20000

Fails if an outcome is not a typed refusal, if the server or one of its workers ends, if it takes
more memory than it may, if an honest client is not served afterwards, or if the log is not whole.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.fuzz.outcomes import Tally
from tests.fuzz.procedures import ProcedureFuzz
from tests.fuzz.routes import RouteFuzz, routes_of
from tests.fuzz.target import ATTACKED, Memory, Target, target
from wire import rpc

MAX_GROWTH_BYTES = 1 << 30
"""Of all processes of the server together: eight requests, and workers that have begun."""


@dataclass
class Report:
    """What came of it.

    Attributes:
        tallies: of each procedure and each route.
        memory: of the server's processes.
        seconds: it took.
        log: what the check of the log says.
    """

    tallies: list[Tally] = field(default_factory=list)
    memory: Memory | None = None
    seconds: float = 0.0
    log: str = ""

    @property
    def failures(self) -> list[str]:
        return [failure for tally in self.tallies for failure in tally.failures]


def attack(
    attacked: Target, count: int, seed: int, tell: Callable[[str], None] = lambda _: None
) -> Report:
    """Send so many malformed messages to everything there is, and see whether it stands."""
    report = Report(memory=Memory(attacked.process))
    begun = time.monotonic()
    fuzzes = [
        *(ProcedureFuzz(attacked, method, seed) for method in rpc.METHODS),
        *(RouteFuzz(attacked, route, seed) for route in routes_of(attacked)),
    ]
    with report.memory.watched():
        for fuzz in fuzzes:
            tally = asyncio.run(fuzz.run(count))
            report.tallies.append(tally)
            tell(f"{tally.line()}  [{report.memory.sample() >> 20} MiB]")
            if not attacked.is_alive:
                raise AssertionError(f"the server has ended after {tally.name}")
    report.seconds = time.monotonic() - begun
    for name in ATTACKED:
        assert attacked.predict(name).soundness_bits >= 100
    report.log = attacked.check_log()
    assert report.memory.peak - report.memory.before < MAX_GROWTH_BYTES
    return report


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    """Run it as a program."""
    parser = argparse.ArgumentParser(description="Attack a server of its own with malformed bytes.")
    parser.add_argument("--messages", type=int, default=20_000, help="at each procedure and route")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as home, target(Path(home)) as attacked:
        report = attack(attacked, given.messages, given.seed, say)
    memory = report.memory
    assert memory is not None
    total = sum(tally.total for tally in report.tallies)
    say(
        f"{total} malformed messages in {report.seconds:.0f} s, {len(report.failures)} failures; "
        f"memory of the server {memory.before >> 20} MiB before, {memory.peak >> 20} at most, "
        f"{memory.after >> 20} after\n{report.log}"
    )
    for failure in report.failures[:50]:
        say(failure)
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
