"""Forks processes that append to a log until they are killed: one for each line of input.

Every answer is a line: the process, or the number of the last receipt that a commit acknowledged.
Run by `test_log_crash.py`, which says where the log is and from which number on to append.
"""

from __future__ import annotations

import os
import sys

from audit.database import open_engine
from audit.log import AuditLog
from tests.unit.audit.example_receipts import ORIGIN, numbered


def append(path: str, start: int, batch: int) -> None:
    log = AuditLog.open(open_engine(f"sqlite:///{path}"), ORIGIN)
    while True:
        log.append([numbered(number) for number in range(start, start + batch)])
        start += batch
        os.write(1, f"{start}\n".encode())


def main() -> None:
    path = sys.argv[1]
    for line in sys.stdin:
        start, batch = map(int, line.split())
        child = os.fork()
        if child == 0:
            append(path, start, batch)
        os.write(1, f"pid {child}\n".encode())
        os.waitpid(child, 0)
        os.write(1, b"gone\n")


if __name__ == "__main__":
    main()
