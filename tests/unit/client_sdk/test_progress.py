from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from client_sdk import Phase
from client_sdk.progress import PhaseProgress


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


@pytest.mark.parametrize(("expected", "text"), [(3, "request 2 of 3: "), (None, "request 2: ")])
def test_several_requests_are_counted(expected: int | None, text: str):
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=100)
    with PhaseProgress(console, 0.0) as progress:
        if expected is not None:
            progress.expect(expected)
        progress.begin(Phase.ENROL)
        for _ in range(2):
            progress.begin(Phase.ENCRYPT)
            progress.begin(Phase.EXCHANGE)
        time.sleep(0.4)
    assert f"{text}sending" in stream.getvalue()
