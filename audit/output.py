"""Lines of a service's output: nothing depends on them, and they are no part of the trail."""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import TextIO, cast

import structlog


class Output:
    """Standard output, as it is at each line.  A line that it does not take is lost.

    Behind a full disk or a pipe whose reader has gone, an error of output would otherwise end the
    call that it is about, before its receipt is written.
    """

    def write(self, text: str) -> None:
        """Write a line, or lose it."""
        with contextlib.suppress(OSError, ValueError):  # the latter of a stream that is closed
            sys.stdout.write(text)

    def flush(self) -> None:
        """Pass on what was written, or lose it."""
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()


def configure_logging() -> None:
    """One JSON object a line; payloads are never logged."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(file=cast("TextIO", Output())),
    )
