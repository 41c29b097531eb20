"""Bytes at rest: private files, written whole or not at all, read within a bound."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from protocol.errors import EncodingError

_PRIVATE_FILE, _PRIVATE_DIRECTORY = 0o600, 0o700
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def make_private_directory(path: Path) -> Path:
    """Create a directory only its owner can enter; an existing one is left as it is."""
    path.mkdir(mode=_PRIVATE_DIRECTORY, parents=True, exist_ok=True)
    return path


def write_private(path: Path, data: bytes) -> None:
    """Write a file of mode 0600 so that a reader sees the old bytes or the new ones."""
    with private_file(path) as stream:
        stream.write(data)


@contextlib.contextmanager
def private_file(path: Path) -> Iterator[BinaryIO]:
    """The same, piece by piece: the file is in its place once it is whole and on the disk."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE_FILE)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make renames inside a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_bounded(path: Path, limit: int) -> bytes:
    """Read a file of at most `limit` bytes.

    Raises:
        EncodingError: a longer file.
        OSError: it cannot be read.
    """
    with path.open("rb") as stream:
        data = stream.read(limit + 1)
    if len(data) > limit:
        raise EncodingError(f"{path.name} has more than {limit} bytes")
    return data


def read_regular(path: Path, limit: int) -> bytes:
    """As `read_bounded`, of a regular file only: nobody writes to a pipe put in its place.

    Raises:
        EncodingError: a longer file.
        OSError: it cannot be read, or is a pipe or a device; never waits for either.
    """
    with open(path, "rb", opener=_without_waiting) as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        data = stream.read(limit + 1)
    if len(data) > limit:
        raise EncodingError(f"{path.name} has more than {limit} bytes")
    return data


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def read_or_create_secret(path: Path, size: int) -> bytes:
    """The secret kept in a file, drawn from the operating system the first time.

    Raises:
        EncodingError: the file has another size.
        PermissionError: others than its owner may use the file.
        OSError: it cannot be read or made.
    """
    if not path.exists():
        # Linked into place, not renamed: of two processes that start together one draws the secret
        # and both read it.
        draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        write_private(draft, secrets.token_bytes(size))
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
        draft.unlink()
    if stat.S_IMODE(path.stat().st_mode) & _OTHERS:
        raise PermissionError(
            errno.EACCES, "others may read or write this secret: chmod 600", str(path)
        )
    data = read_bounded(path, size)
    if len(data) != size:
        raise EncodingError(f"{path.name} has {len(data)} bytes, expected {size}")
    return data
