"""What a worker's process does before it works."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import structlog

import kernels
from audit.output import configure_logging
from server.workers.sizing import THREADS_VARIABLE
from server.workers.worker import work_for

_log = structlog.get_logger("blindproof.worker")

PR_SET_PDEATHSIG = 1
"""Of linux/prctl.h."""
EXPENDABLE = 500
"""Added to the score by which Linux chooses what to kill when memory is short: a worker's end costs
one request, the server's all of them."""


def main(arguments: Sequence[str]) -> None:
    """Work for the server at the other end of a socket.

    Args:
        arguments: the socket's descriptor, and the server's process id.
    """
    descriptor, server = map(int, arguments)
    end_with(server)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(EXPENDABLE))
    configure_logging()
    kernels.compute_here(int(os.environ.get(THREADS_VARIABLE, "1")))
    with socket.socket(fileno=descriptor) as connection:
        try:
            work_for(connection)
        except OSError:  # the server is closing the connection, and this process with it
            sys.exit(1)
        except Exception:  # noqa: BLE001 -- the last line
            _log.exception("worker failed")
            sys.exit(1)


def end_with(server: int) -> None:
    """Have Linux kill this process with its server, even while it is stopped.

    It is bound to the thread that started it; the connection, which ends too, serves elsewhere.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != server:  # gone before that
        os._exit(0)
