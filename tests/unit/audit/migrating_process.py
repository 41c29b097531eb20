"""Forks processes that open a log and are killed at a statement: one for each line of input.

Run by `test_migrations.py` with the URL of the log; a line is the number of the statement.  The
answer is a line: `killed`, or `opened` if there were fewer statements.
"""

from __future__ import annotations

import os
import signal
import sys
from itertools import count

from sqlalchemy import event

import audit.migrations  # noqa: F401 - once, and not in every child
from audit.database import open_engine
from audit.log import AuditLog
from tests.unit.audit.example_receipts import ORIGIN


def open_until(url: str, last: int) -> None:
    engine = open_engine(url)
    numbers = count(1)

    def execute(*_: object) -> None:
        if next(numbers) == last:
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(engine, "after_cursor_execute", execute)
    AuditLog.open(engine, ORIGIN)
    engine.dispose()


def main() -> None:
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            open_until(sys.argv[1], int(line))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        answer = "killed" if killed else "opened" if status == 0 else "failed"
        os.write(1, f"{answer}\n".encode())


if __name__ == "__main__":
    main()
