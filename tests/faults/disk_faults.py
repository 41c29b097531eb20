"""Ways in which a disk stops taking what a server writes; each is over when its context ends."""

from __future__ import annotations

import contextlib
import resource
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

BLOCK = 1 << 16
DATABASE_FILES = ("audit.db", "audit.db-wal", "audit.db-shm")


@contextlib.contextmanager
def mounted(place: Path, *how: str) -> Iterator[None]:
    """Mount at a directory; for those who may."""
    place.mkdir(exist_ok=True)
    subprocess.run(["mount", *how, str(place)], check=True, capture_output=True)  # noqa: S607
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)  # noqa: S607


def may_mount(place: Path) -> bool:
    try:
        with mounted(place, "-t", "tmpfs", "tmpfs"):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


@contextlib.contextmanager
def full(directory: Path) -> Iterator[None]:
    """Fill a file system of limited size to its last page."""
    ballast = directory / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(BLOCK)):
            pass
    try:
        yield
    finally:
        ballast.unlink()


@contextlib.contextmanager
def files_limited(process: int, size: int) -> Iterator[None]:
    """Let a process write no file beyond a size: it meets EFBIG, as on a disk with a quota."""
    soft, hard = resource.prlimit(process, resource.RLIMIT_FSIZE)
    resource.prlimit(process, resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.prlimit(process, resource.RLIMIT_FSIZE, (soft, hard))


@contextlib.contextmanager
def read_only(directory: Path) -> Iterator[None]:
    """Put a read-only mount of a directory over itself."""
    with mounted(directory, "--bind", str(directory)):
        subprocess.run(
            ["mount", "-o", "remount,bind,ro", str(directory)],  # noqa: S607
            check=True,
            capture_output=True,
        )
        yield


@contextlib.contextmanager
def gone(*paths: Path) -> Iterator[None]:
    """Take files or directories away, and put them back over whatever took their place."""
    away = [path for path in paths if path.exists()]
    for path in away:
        path.rename(_kept(path))
    try:
        yield
    finally:
        for path in paths:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        for path in away:
            _kept(path).rename(path)


def database(state: Path) -> tuple[Path, ...]:
    """The files of a state's database."""
    return tuple(state / name for name in DATABASE_FILES)


@contextlib.contextmanager
def replaced(state: Path, other: Path) -> Iterator[None]:
    """Another database where a state's was, for a while."""
    with gone(*database(state)):
        shutil.copy(other, state / DATABASE_FILES[0])
        yield


def copied_database(state: Path, target: Path) -> Path:
    """The database of a server that does not run, as one file."""
    if any(path.exists() and path.stat().st_size for path in database(state)[1:2]):
        raise AssertionError("a journal is not in the database yet")
    shutil.copy(state / DATABASE_FILES[0], target)
    return target


def _kept(path: Path) -> Path:
    return path.with_name(f"{path.name}.kept")
