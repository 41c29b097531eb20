"""What a client is doing, shown to a person while it takes long."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from client_sdk.aio import Phase

SHOWN_AFTER_SECONDS = 2.0

_DOING = {
    Phase.ENROL: "enrolling public keys",
    Phase.ENCRYPT: "encrypting",
    Phase.EXCHANGE: "sending, and waiting for the answer and its proof",
    Phase.VERIFY: "verifying the proof",
    Phase.DECRYPT: "decrypting",
    Phase.RELEASE: "releasing",
}


class PhaseProgress:
    """A bar for the present phase, drawn once the work has taken two seconds; gone at its end.

    Nothing is drawn where standard error is neither a terminal nor a notebook's.  Phases are
    reported by threads of the client, so every change is made under one lock.  From the second
    request on the bar says which one it is.
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
            disable=not (shown.is_terminal or shown.is_jupyter),
        )
        self._task = self._progress.add_task("", total=None)
        self._lock = threading.Lock()
        self._ended = False
        self._requests: int | None = None
        self._request = 0
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

    def expect(self, requests: int) -> None:
        """So many requests will be made, one after another: the bar says which of them it is."""
        with self._lock:
            self._requests, self._request = requests, 0

    def begin(self, phase: Phase) -> None:
        """A phase began; how long it will take is not known yet."""
        with self._lock:
            self._request += phase is Phase.ENCRYPT  # the first phase of every request
            doing = _DOING[phase]
            if self._request > 1 or (self._request and self._requests not in {None, 1}):
                of = "" if self._requests is None else f" of {self._requests}"
                doing = f"request {self._request}{of}: {doing}"
            self._progress.remove_task(self._task)
            self._task = self._progress.add_task(doing, total=None)

    def advance(self, part: float) -> None:
        """So much of the present phase is done, from 0 to 1."""
        with self._lock:
            self._progress.update(self._task, total=1.0, completed=part)

    def _show(self) -> None:
        with self._lock:
            if not self._ended:
                self._progress.start()
