from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from audit.head import Head
from audit.log import AuditLog
from tests.unit.audit.example_receipts import LOG, LOG_KEY, ORIGIN
from tests.unit.witness.watched_log import asking, grow, request, watched_log
from witness.cosigning import CosigningWitness
from witness.errors import RefusedError
from witness.keys import SEEN_FILE
from witness.seen import NOTHING, SeenHeads

STEPS = 250
KILLS = 6


@dataclass(frozen=True)
class Growth:
    """A log, and a request for each of its sizes, from the size before it."""

    log: AuditLog
    requests: Path

    def head(self, size: int) -> Head:
        return self.log.inclusion_proof(0, size).head


@pytest.fixture(scope="module")
def growth(tmp_path_factory) -> Growth:
    path = tmp_path_factory.mktemp("growth")
    found = Growth(watched_log(path / "log"), path / "requests")
    found.requests.mkdir()
    for size in range(1, STEPS + 1):
        grow(found.log, 1)
        (found.requests / str(size)).write_bytes(asking(found.log, size - 1))
    return found


def start(state, growth, when):
    command = [sys.executable, "-m", "tests.unit.witness.cosigning_process", str(state)]
    return subprocess.Popen(
        [*command, str(growth.requests), when],
        cwd=Path(__file__).parents[3],
        stdout=subprocess.PIPE,
        text=True,
    )


def refused(witness, body) -> int:
    with pytest.raises(RefusedError) as caught:
        witness.add_checkpoint(body)
    return caught.value.status


def test_killed_before_the_answer_it_signs_that_tree_again_and_no_other(
    state, keys, growth, tmp_path
):
    process = start(state, growth, "early")
    assert process.communicate(timeout=60)[0] == ""
    assert process.returncode == -9
    seen = SeenHeads(state / SEEN_FILE)
    witness = CosigningWitness(keys, [LOG_KEY], seen)
    assert seen.all()[ORIGIN].size == 1
    fork = watched_log(tmp_path / "fork", 1, first=1000)
    assert refused(witness, asking(fork, 0)) == 409
    assert refused(witness, asking(fork, 1)) == 409
    first = watched_log(tmp_path / "first", 1)
    assert witness.add_checkpoint(asking(first, 1))
    seen.close()


def test_what_was_acknowledged_before_a_kill_is_never_forgotten(state, keys, growth, tmp_path):
    random = Random(20260101)
    size = 0
    for _ in range(KILLS):
        process = start(state, growth, "late")
        lines = [process.stdout.readline()]  # it has begun
        time.sleep(random.uniform(0, 0.1))
        process.kill()
        lines += process.communicate(timeout=60)[0].splitlines()
        acknowledged = max((int(line) for line in lines if line.strip()), default=size)
        seen = SeenHeads(state / SEEN_FILE)
        found = seen.all().get(ORIGIN, NOTHING)
        seen.close()
        assert size <= acknowledged <= found.size <= acknowledged + 1
        size = found.size
        assert found == growth.head(size)
        if size == STEPS:
            break
    assert size > 0
    fork = watched_log(tmp_path / "fork", size, first=1000)
    seen = SeenHeads(state / SEEN_FILE)
    assert refused(CosigningWitness(keys, [LOG_KEY], seen), request(size, (), fork.checkpoint(LOG)))
    seen.close()
