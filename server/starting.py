"""What stops a server from starting."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from protocol.errors import BlindproofError
from server.storage import StorageError, reading


class ServerError(BlindproofError):
    """The server cannot start with these settings."""


@contextmanager
def starting(path: Path) -> Iterator[None]:
    """Failures with what is at a path stop the start with `ServerError`."""
    try:
        with reading(path):
            yield
    except StorageError as error:
        raise ServerError(str(error)) from error
