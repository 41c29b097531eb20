"""Lines of a service's output: nothing depends on them, and they are no part of the trail.

Every line is one JSON object with time, level and event, lines of libraries too.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import warnings
from pathlib import Path
from typing import TextIO, cast

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from audit.failures import show_failure

_TEMPLATES = frozenset({"asyncio", "opentelemetry"})
"""Libraries whose messages have a first line that is always the same, or filled in afterwards."""


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


def configure_logging(*processors: Processor, level: int = logging.INFO) -> None:
    """One JSON object a line; payloads are never logged, nor what they might be quoted in.

    Args:
        processors: add what else every line has.
        level: of the lines of this project; libraries' lines are warnings at least.
    """
    output = cast("TextIO", Output())
    every: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        show_failure,
        *processors,
    ]
    structlog.configure(
        processors=[*every, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(file=output),
    )
    lines = logging.StreamHandler(output)
    lines.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[_as_known, *every],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(handlers=[lines], level=logging.WARNING, force=True)
    warnings.showwarning = _show_warning


def _as_known(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """A library's line: where it comes from, and what it says if that can be known to quote nobody.

    What is filled in may be anything, a task's exception and its words among it; and in a library
    that nobody has looked at, so may all of it.
    """
    record: logging.LogRecord = event["_record"]
    known = record.name.partition(".")[0] in _TEMPLATES
    event["event"] = str(record.msg).partition("\n")[0] if known else "a library's line"
    event["library"] = record.name
    event["place"] = f"{record.module}:{record.lineno}"
    return event


def _show_warning(  # noqa: PLR0917  (as the module calls it)
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """As `warnings.showwarning`: what kind it is and where, and not its words."""
    del message, file, line
    place = f"{Path(filename).stem}:{lineno}"
    structlog.get_logger("warnings").warning("warning", category=category.__name__, place=place)
