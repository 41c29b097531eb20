"""Damage on the server's own disk: the operator's business, and none of the client's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from protocol.errors import BlindproofError


class StorageError(BlindproofError):
    """Something stored cannot be read or is not what it should be; the message names the path."""


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Failures to read or understand what is stored at a path become `StorageError`."""
    try:
        yield
    except OSError as error:
        reason = "not a directory" if isinstance(error, FileExistsError) else error.strerror
        raise StorageError(f"{error.filename or path}: {reason}") from error
    except BlindproofError as error:
        raise StorageError(f"{path}: {error}") from error
