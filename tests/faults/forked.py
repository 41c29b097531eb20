"""Servers forked by `tests.faults.forking_server`, one at a time, as the tests see them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from audit.recorder import CommitStep
from server.settings import ServerSettings


class ServerRefusedError(Exception):
    """The server did not start: the words of its error."""


@dataclass
class ForkedServer:
    """A running server.

    Attributes:
        process: its id.
        address: host and port.
        log: what it logs, at debug level.
    """

    process: int
    address: str
    log: Path
    _handle: int
    _answers: IO[str]
    _status: int | None = None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if it still lives; by its handle, for its id may be another's by now."""
        if self._status is None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._handle, number)

    def gone(self) -> int:
        """Wait for its end; the status, negative for the signal that ended it."""
        if self._status is None:
            self._status = int(_answer(self._answers, "gone"))
            os.close(self._handle)
        return self._status


@dataclass
class Forks:
    """Starts servers; one at a time."""

    _orders: IO[str]
    _answers: IO[str]
    _logs: Path

    def start(
        self,
        settings: ServerSettings,
        step: CommitStep | None = None,
        occurrence: int = 0,
        log: Path | None = None,
    ) -> ForkedServer:
        """Start a server, which kills itself at an occurrence (from 1) of a step if one is given.

        Raises:
            ServerRefusedError: it ended instead.
        """
        log = log or self._logs / "server.log"
        order = {
            "settings": settings.model_dump(mode="json", exclude_defaults=True),
            "step": step,
            "occurrence": occurrence,
            "log": str(log),
        }
        self._orders.write(json.dumps(order) + "\n")
        self._orders.flush()
        process = int(_answer(self._answers, "process"))
        word, _, rest = self._answers.readline().strip().partition(" ")
        if word == "serving":
            return ForkedServer(process, rest, log, os.pidfd_open(process), self._answers)
        if word == "failed":
            _answer(self._answers, "gone")
        raise ServerRefusedError(rest)

    @contextmanager
    def running(self, settings: ServerSettings, log: Path | None = None) -> Iterator[ForkedServer]:
        """A server that is killed at the end, whatever happened."""
        server = self.start(settings, log=log)
        try:
            yield server
        finally:
            server.signal(signal.SIGKILL)
            server.gone()


@contextmanager
def forks(root: Path, logs: Path) -> Iterator[Forks]:
    """The process from which servers are forked."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.forking_server"],
        cwd=root,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # its threads begin with its import
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    if process.stdin is None or process.stdout is None:
        raise AssertionError("pipes were asked for")
    try:
        yield Forks(process.stdin, process.stdout, logs)
    finally:
        process.stdin.close()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:  # a test has left its server, which ends with it
            process.kill()
            process.wait()
        process.stdout.close()


def _answer(answers: IO[str], word: str) -> str:
    line = answers.readline()
    found, _, rest = line.strip().partition(" ")
    if found != word:
        raise AssertionError(f"expected '{word}' of the forking process, found {line!r}")
    return rest
