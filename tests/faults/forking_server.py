"""Forks real servers, which are started within milliseconds and can be killed at any step.

Run by `tests.faults.forked`.  Every line of input describes one server: its settings, and the
step of a commit at whose n-th occurrence it kills itself, or none.  Answers are lines too: the
process, its address once it accepts calls, and how it ended.
"""

from __future__ import annotations

import asyncio
import ctypes
import itertools
import json
import logging
import os
import signal
import sys
from collections.abc import Callable

from audit.output import configure_logging
from audit.recorder import CommitStep
from server.main import running
from server.settings import ServerSettings
from server.telemetry.log_lines import add_trace_id

ANSWERS = os.dup(1)
PR_SET_PDEATHSIG = 1
"""Of linux/prctl.h."""


def say(*words: object) -> None:
    os.write(ANSWERS, (" ".join(map(str, words)) + "\n").encode())


def end_with_parent() -> None:
    """Leave no process behind when the tests are stopped: Linux kills this one with its parent."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def killer(step: str, occurrence: int) -> Callable[[CommitStep], None]:
    """Ends this process, without any farewell, at the n-th occurrence of a step."""
    counted = itertools.count(1)  # by whatever thread observes

    def observe(reached: CommitStep) -> None:
        if reached == step and next(counted) == occurrence:
            os.kill(os.getpid(), signal.SIGKILL)

    return observe


async def serve(settings: ServerSettings, observer: Callable[[CommitStep], None] | None) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with running(settings, None, observer) as address:
        say("serving", address)
        await stop.wait()


def child(order: dict) -> None:
    end_with_parent()
    os.close(0)
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for output in (1, 2):
        os.dup2(log, output)
    configure_logging(add_trace_id, level=logging.DEBUG)
    settings = ServerSettings.model_validate(order["settings"])
    observer = killer(order["step"], order["occurrence"]) if order["step"] else None
    asyncio.run(serve(settings, observer))


def main() -> None:
    end_with_parent()
    for line in sys.stdin:
        # gRPC, and whatever else has threads, must not have been started: no fork survives that.
        threads = len(os.listdir("/proc/self/task"))  # noqa: PTH208 -- nothing is opened
        if threads != 1:
            raise SystemExit(f"{threads} threads before the fork")
        process = os.fork()
        if process == 0:
            status = 1
            say("process", os.getpid())  # before it says that it serves
            try:
                child(json.loads(line))
                status = 0
            except BaseException as error:  # noqa: BLE001 -- a fork must not return into the loop
                say("failed", f"{type(error).__name__}: {error}".replace("\n", " "))
            finally:
                os._exit(status)
        _, status = os.waitpid(process, 0)
        say("gone", os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
