from __future__ import annotations

import io
import time

from rich.console import Console

from blindproof.cli.progress import PhaseProgress
from client_sdk import Phase


def shown(after: float, seconds: float, *, terminal: bool) -> str:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=100)
    with PhaseProgress(console, after) as progress:
        for phase in Phase:
            progress.begin(phase)
            progress.advance(0.5)
        progress.begin(Phase.EXCHANGE)
        time.sleep(seconds)
        progress.advance(1.0)
    return stream.getvalue()


def test_work_that_takes_long_is_shown_and_the_line_taken_away():
    output = shown(0.05, 0.6, terminal=True)
    assert "waiting for the answer" in output
    assert output.endswith("\x1b[2K")  # the line is erased


def test_short_work_is_not_shown():
    assert "waiting" not in shown(30.0, 0.0, terminal=True)


def test_nothing_is_drawn_where_nobody_looks():
    assert shown(0.0, 0.3, terminal=False) == ""
