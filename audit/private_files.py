"""Files of the audit trail: for their owner only, whole or not there, on the disk on return."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

_PRIVATE_FILE, _PRIVATE_DIRECTORY = 0o600, 0o700


def make_private_directory(path: Path, *, parents: bool = True) -> None:
    """Create a directory that only its owner can enter, durably; one that is there stays as it is.

    Args:
        path: where.
        parents: create those above it too.

    Raises:
        OSError: it cannot be made.
    """
    if path.is_dir():
        return
    path.mkdir(mode=_PRIVATE_DIRECTORY, parents=parents, exist_ok=True)
    sync_directory(path.parent)


def write_whole(path: Path, data: bytes, drafts: Path) -> None:
    """Put a file in its place once all of it is on the disk; a file that was there is replaced.

    Args:
        path: where it goes.
        data: all of it.
        drafts: a directory of the same file system, for the time before.

    Raises:
        OSError: it cannot be written.  What was at `path` before is there still.
    """
    draft = _write_draft(data, drafts)
    try:
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def create_whole(path: Path, data: bytes) -> None:
    """Create a file as `write_whole` does, unless there is one: of two at once, one's stays.

    Raises:
        OSError: it cannot be written.
    """
    draft = _write_draft(data, path.parent)
    try:
        # Linked into its place, not renamed: a rename would replace what another has written.
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()
    sync_directory(path.parent)


def erase(path: Path) -> bool:
    """Overwrite a file and remove it; false if there is none.

    Neither reaches copies: backups and snapshots must be erased by whoever made them, and file
    systems that never overwrite in place need encryption below.

    Raises:
        OSError: it cannot be written or removed.
    """
    try:
        with path.open("r+b") as file:
            file.write(bytes(os.fstat(file.fileno()).st_size))
            file.flush()
            os.fsync(file.fileno())
    except FileNotFoundError:
        return False
    path.unlink(missing_ok=True)
    sync_directory(path.parent)
    return True


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable.

    Raises:
        OSError: the directory cannot be read, or the disk has failed.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_draft(data: bytes, directory: Path) -> Path:
    draft = directory / f".draft-{secrets.token_hex(16)}"
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE_FILE)
    try:
        with os.fdopen(descriptor, "wb", buffering=0) as stream:
            view = memoryview(data)
            while view:
                view = view[stream.write(view) :]
            os.fsync(stream.fileno())
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    return draft
