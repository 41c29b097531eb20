"""A server goes on when nobody takes its lines."""

from __future__ import annotations

import errno
import json
import sys

import pytest
import structlog

from audit.output import configure_logging


class Broken:
    """A stream that takes nothing any more."""

    def __init__(self, error, *, buffered):
        self.error, self.buffered, self.asked = error, buffered, []

    def write(self, text):
        self.asked.append(text)
        if not self.buffered:
            raise self.error

    def flush(self):
        raise self.error


pytestmark = pytest.mark.usefixtures("output_restored")


@pytest.mark.parametrize("buffered", [False, True])
@pytest.mark.parametrize(
    "error",
    [BrokenPipeError(), OSError(errno.ENOSPC, "full"), ValueError("I/O on closed file")],
    ids=lambda error: type(error).__name__,
)
def test_a_line_that_nobody_takes_is_lost(monkeypatch, error, buffered):
    stream = Broken(error, buffered=buffered)
    configure_logging()
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", stream)
        structlog.get_logger("blindproof.server").error("call failed")
    assert "call failed" in "".join(stream.asked)


def test_other_lines_are_written_as_they_come(capsys):
    configure_logging()
    structlog.get_logger("blindproof.server").info("serving", models=1)
    assert json.loads(capsys.readouterr().out)["event"] == "serving"
