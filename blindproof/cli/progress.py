"""What a client is doing, shown on a terminal while it takes long."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from client_sdk import Phase

SHOWN_AFTER_SECONDS = 2.0

_DOING = {
    "enrol": "enrolling public keys",
    "encrypt": "encrypting",
    "exchange": "sending, and waiting for the answer and its proof",
    "verify": "verifying the proof",
    "decrypt": "decrypting",
    "release": "releasing",
}


class PhaseProgress:
    """A bar for the present phase, drawn once the work has taken two seconds; gone at its end.

    Nothing is drawn where standard error is not a terminal.  Phases are reported by threads of the
    client, so every change is made under one lock.
    """

    def __init__(self, console: Console | None = None, after: float = SHOWN_AFTER_SECONDS) -> None:
        shown = console or Console(stderr=True)
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TimeElapsedColumn(),
            console=shown,
            transient=True,
            disable=not shown.is_terminal,
        )
        self._task = self._progress.add_task("", total=None)
        self._lock = threading.Lock()
        self._ended = False
        self._timer = threading.Timer(after, self._show)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        with self._lock:
            self._ended = True
            self._progress.stop()

    def begin(self, phase: Phase) -> None:
        """A phase began; how long it will take is not known yet."""
        with self._lock:
            self._progress.remove_task(self._task)
            self._task = self._progress.add_task(_DOING[phase], total=None)

    def advance(self, part: float) -> None:
        """So much of the present phase is done, from 0 to 1."""
        with self._lock:
            self._progress.update(self._task, total=1.0, completed=part)

    def _show(self) -> None:
        with self._lock:
            if not self._ended:
                self._progress.start()
