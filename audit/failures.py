"""A failure as a log may show it: what failed and where, in nobody's words but this project's.

What an exception of Python or of a library says may quote what it was about: a value that does not
fit, the arguments of a call, a statement's parameters.  Messages of this project's own errors are
written for strangers, and a system error's is the system's; of all others the type has to do.
"""

from __future__ import annotations

import sys
import traceback
from pathlib import Path

from structlog.typing import EventDict, WrappedLogger

from protocol.errors import BlindproofError

MAX_CAUSES = 8
_SHOWN_PARTS = 3
"""Of a file's path: package, folder and module are enough to find a line."""


def show_failure(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Put `exception` in the place of a line's `exc_info`."""
    found = event.pop("exc_info", None)
    if found is True:
        found = sys.exc_info()
    error = found[1] if isinstance(found, tuple) else found
    if isinstance(error, BaseException):
        event["exception"] = failure(error)
    return event


def failure(error: BaseException) -> str:
    """An exception and those it came from, the first cause last."""
    lines: list[str] = []
    cause: BaseException | None = error
    for _ in range(MAX_CAUSES):
        if cause is None:
            break
        lines += [_headline(cause), *_places(cause)]
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return "\n".join(lines)


def _headline(error: BaseException) -> str:
    kind = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
    if isinstance(error, BlindproofError):
        return f"{kind}: {error}"
    if isinstance(error, OSError) and error.strerror:
        return f"{kind}: {error.strerror}"
    return kind


def _places(error: BaseException) -> list[str]:
    return [
        f"  {'/'.join(Path(frame.filename).parts[-_SHOWN_PARTS:])}:{frame.lineno} {frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)
    ]
