"""Processes that are killed while they append.  This shows what survives the process; that the
system's crash is survived too, rests on SQLite's synchronous=FULL.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from random import Random

from audit.database import open_engine
from audit.head import Head
from audit.log import AuditLog
from audit.log_check import check_log
from audit.merkle import verify_consistency
from tests.unit.audit.example_receipts import LOG_KEY, ORIGIN, SERVER, numbered

KILLS = 60
LONGEST_SECONDS = 0.25
MAX_BATCH = 12


def killed(process, random, start):
    """Let a child append and kill it at some time; the number that it last acknowledged."""
    batch = random.randint(1, MAX_BATCH)
    process.stdin.write(f"{start} {batch}\n")
    process.stdin.flush()
    timer, acknowledged = None, start
    for line in process.stdout:
        if line.startswith("pid"):
            delay = random.uniform(0, LONGEST_SECONDS)
            timer = threading.Timer(delay, os.kill, (int(line.split()[1]), signal.SIGKILL))
            timer.start()
        elif line.startswith("gone"):
            break
        else:
            acknowledged = int(line)
    else:
        raise AssertionError("the forking process ended")
    timer.join()
    return acknowledged, batch


def test_no_acknowledged_receipt_is_lost_and_the_log_stays_whole(tmp_path, repository_root):
    path = tmp_path / "audit.db"
    random = Random(20260101)
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.unit.audit.appending_process", str(path)],
        cwd=Path(repository_root),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    engine = open_engine(f"sqlite:///{path}")
    AuditLog.open(engine, ORIGIN)
    size, inside, head = 0, 0, None
    try:
        for _ in range(KILLS):
            acknowledged, batch = killed(process, random, size)
            inside += acknowledged > size
            # Opened with what was acknowledged before: an older state would be refused.
            log = AuditLog.open(engine, ORIGIN, head)
            found = log.head().size
            assert found in {acknowledged, acknowledged + batch}  # committed, not yet said
            if head is not None and head.size > 0:
                hashes = log.consistency_proof(head.size)
                verify_consistency(head.size, head.root, found, log.head().root, hashes)
            size, head = found, log.head()
    finally:
        process.stdin.close()
        process.wait(timeout=30)
        process.stdout.close()
    assert inside >= KILLS // 4  # most were killed in the middle of their work
    assert check_log(engine, LOG_KEY, server_key=SERVER.public) == head
    log = AuditLog.open(engine, ORIGIN)
    assert [entry.receipt() for entry in log.entries()] == [numbered(at) for at in range(size)]
    assert isinstance(head, Head)
    engine.dispose()
