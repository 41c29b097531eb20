"""Where archived bytes are kept: each object under the SHA-256 of its bytes.

An object never changes, so whoever has its address can tell whether it is the one; one that is not
is an error and never a result.  Stores know nothing of what their objects mean: `audit.archive`
does.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from audit.errors import ArchiveUnavailableError, ObjectDamagedError, ObjectMissingError
from audit.private_files import make_private_directory, sync_directory, write_whole

ADDRESS_BYTES = 32
_FAN_OUT = 2
_NAME = re.compile(r"[0-9a-f]{64}")
_DRAFTS = "drafts"


class ObjectStore(Protocol):
    """Objects by address.  May be used by several threads, and by several processes."""

    def put(self, data: bytes) -> bytes:
        """Keep an object; when this returns, it is durable.

        Returns:
            Its address.  An object that is there already is the same one, and counts as new.

        Raises:
            ArchiveUnavailableError: it cannot be written; no part of it is visible.
        """

    def get(self, address: bytes) -> bytes:
        """The object at an address, which was compared with it.

        Raises:
            ObjectMissingError: there is none.
            ObjectDamagedError: what is there is another one.
            ArchiveUnavailableError: it cannot be read now.
        """

    def delete(self, address: bytes) -> None:
        """Remove an object, if there is one.

        Raises:
            ArchiveUnavailableError: it cannot be removed now.
        """

    def delete_older(self, address: bytes, time_ns: int) -> bool:
        """Remove an object unless it was put after a time; true if there is none any more.

        Whoever puts an object again does so because a row will name it: it must not go between.

        Raises:
            ArchiveUnavailableError: it cannot be removed now.
        """

    def addresses(self) -> Iterator[bytes]:
        """The addresses of all objects, in no order.

        Raises:
            ArchiveUnavailableError: they cannot be listed now.
        """

    def discard_drafts(self, time_ns: int) -> int:
        """Remove what writers that were killed have left before a time; the number of pieces.

        Raises:
            ArchiveUnavailableError: it cannot be removed now.
        """


def address_of(data: bytes) -> bytes:
    """The address of an object."""
    return hashlib.sha256(data).digest()


def checked_object(address: bytes, data: bytes) -> bytes:
    """The bytes found at an address, if they are the object.

    Raises:
        ObjectDamagedError: they are not.
    """
    if address_of(data) != address:
        raise ObjectDamagedError(f"object {address.hex()} is not what was kept")
    return data


def address_batches(store: ObjectStore, count: int) -> Iterator[list[bytes]]:
    """The addresses of all objects, some at a time.

    Raises:
        ArchiveUnavailableError: they cannot be listed now.
    """
    addresses = store.addresses()
    while batch := list(islice(addresses, count)):
        yield batch


class FileStore:
    """Objects as files that only their owner reads, in one directory for each first byte."""

    def __init__(self, directory: Path) -> None:
        """Use a directory, or make it.

        Raises:
            ArchiveUnavailableError: it cannot be made.
        """
        self._directory = directory
        self._drafts = directory / _DRAFTS
        with _translated_errors():
            make_private_directory(directory)
            make_private_directory(self._drafts)

    def put(self, data: bytes) -> bytes:
        """Keep an object, see `ObjectStore.put`; a damaged one is replaced."""
        address = address_of(data)
        path = self._path(address)
        with _translated_errors():
            if not self._renewed(path, data):
                # Not its parents: a disk that is not mounted is not replaced by a directory.
                make_private_directory(path.parent, parents=False)
                write_whole(path, data, self._drafts)
        return address

    def get(self, address: bytes) -> bytes:
        """The object at an address, see `ObjectStore.get`."""
        with _translated_errors():
            try:
                data = self._path(address).read_bytes()
            except FileNotFoundError:
                self._require_directory()
                raise ObjectMissingError(f"the archive holds no object {address.hex()}") from None
        return checked_object(address, data)

    def delete(self, address: bytes) -> None:
        """Remove an object, see `ObjectStore.delete`."""
        self._remove(address, None)

    def delete_older(self, address: bytes, time_ns: int) -> bool:
        """Remove an object unless it is newer, see `ObjectStore.delete_older`."""
        return self._remove(address, time_ns)

    def addresses(self) -> Iterator[bytes]:
        """The addresses of all objects, see `ObjectStore.addresses`."""
        with _translated_errors():
            for directory in sorted(self._directory.iterdir()):
                if len(directory.name) == _FAN_OUT and directory.is_dir():
                    names = sorted(path.name for path in directory.iterdir())
                    yield from (
                        bytes.fromhex(name)
                        for name in names
                        if _NAME.fullmatch(name) and name.startswith(directory.name)
                    )

    def discard_drafts(self, time_ns: int) -> int:
        """Remove the drafts of writers that were killed, see `ObjectStore.discard_drafts`."""
        discarded = 0
        with _translated_errors():
            for draft in self._drafts.iterdir():
                try:
                    if draft.stat().st_mtime_ns <= time_ns:
                        draft.unlink()
                        discarded += 1
                except FileNotFoundError:  # its writer was alive
                    continue
        return discarded

    def _remove(self, address: bytes, newest_ns: int | None) -> bool:
        path = self._path(address)
        with _translated_errors():
            if not path.parent.is_dir():
                self._require_directory()
                return True
            with _locked(path.parent, fcntl.LOCK_EX):
                try:
                    if newest_ns is not None and path.stat().st_mtime_ns > newest_ns:
                        return False
                    path.unlink()
                except FileNotFoundError:
                    return True
            sync_directory(path.parent)
        return True

    def _renewed(self, path: Path, data: bytes) -> bool:
        """True if the object is there; then it is durable, and as new as if it were written now."""
        if not path.exists():
            return False
        with _locked(path.parent, fcntl.LOCK_SH):
            try:
                if path.read_bytes() != data:
                    return False
                os.utime(path)
            except FileNotFoundError:  # removed meanwhile
                return False
        # Whoever wrote it may not have come to this yet.
        sync_directory(path.parent)
        return True

    def _require_directory(self) -> None:
        """A directory that has gone is a disk that has gone: nothing is said to be missing."""
        if not self._drafts.is_dir():
            raise ArchiveUnavailableError("the directory of the archive is not there")

    def _path(self, address: bytes) -> Path:
        name = address.hex()
        return self._directory / name[:_FAN_OUT] / name


def open_store(url: str) -> ObjectStore:
    """The store at a path, at `file://...`, or at `s3://bucket/prefix?endpoint_url=...&region=...`.

    Raises:
        ArchiveUnavailableError: another kind of place, or a directory that cannot be made.
    """
    parts = urlsplit(url)
    if parts.scheme == "s3":
        from audit.s3_store import open_s3_store

        return open_s3_store(url)
    if parts.scheme == "file" and not parts.netloc and parts.path:
        return FileStore(Path(unquote(parts.path)))
    if "://" in url or not url:
        raise ArchiveUnavailableError("an archive is a path, file:///path or s3://bucket/prefix")
    return FileStore(Path(url))


@contextmanager
def _locked(directory: Path, kind: int) -> Iterator[None]:
    """Hold the lock of a directory: those who renew objects share it, those who remove do not."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, kind)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _translated_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ArchiveUnavailableError(f"the archive failed: {error.strerror}") from error
