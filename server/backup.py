"""Copies of a server's state, taken while it runs, and what is made from them on another machine.

A backup is a directory: `state` and, if they are asked for, `models`, as the server has them; below
`checkpoints` what each log was; and SHA256SUMS, the digests of all these files, written last.  It
holds every secret of the server, and is as private as the state directory itself.

SQLite's files are copied by its online backup, which is one committed state of the database.
Databases come first: whatever their rows name was there before, so that it is copied after.  What
retention removes in between is missed when the copy is checked, and then they are copied again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import shutil
import sqlite3
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from audit.checkpoint import Checkpoint, sign_checkpoint
from audit.errors import AuditError
from audit.log_check import check_log
from audit.store_check import check_store
from protocol.errors import BlindproofError
from server.trail_files import ARCHIVE, DATABASE, KEY, TrailFiles, open_trail_files
from wire.files import sync_directory, write_private

STATE, MODELS, CHECKPOINTS, SUMS = "state", "models", "checkpoints", "SHA256SUMS"
ATTEMPTS = 3
_CHUNK = 1 << 20
_MAGIC = b"SQLite format 3\0"
_JOURNALS = ("-wal", "-shm", "-journal")
_DRAFTS = "drafts"
_LINE = re.compile(r"([0-9a-f]{64})  (\S.*)\n")
_BUSY_SECONDS = 30.0


class BackupError(BlindproofError):
    """A backup cannot be taken, is not whole, or would overwrite something."""


@dataclass(frozen=True)
class Copied:
    """What a backup holds.

    Attributes:
        files: how many.
        size: of them all, in bytes.
        logs: entries of each log, by its state directory within the backup.
        elsewhere: state directories whose log, or whose archive, is not among the files.
    """

    files: int
    size: int
    logs: dict[str, int]
    elsewhere: tuple[str, ...]


def back_up(target: Path, state: Path, models: Path | None = None) -> Copied:
    """Copy a server's state; the server may run.

    Args:
        target: directory of the backup, made by this.
        state: of the server, with all its tenants.
        models: directory of published models, if they are to be copied too.

    Raises:
        BackupError: the target is there already, the state is not, or what was copied is damaged.
        OSError: something cannot be read or written.
    """
    if not state.is_dir():
        raise BackupError(f"{state}: no state directory")
    if target.exists():
        raise BackupError(f"{target} is there already")
    sources = {STATE: state} | ({} if models is None else {MODELS: models})
    for source in sources.values():
        if target.resolve().is_relative_to(source.resolve()):
            raise BackupError(f"{target} is inside {source}, and would copy itself")
    _private_directory(target.parent)
    with _draft(target.with_name(f".{target.name}.{secrets.token_hex(8)}")) as draft:
        for attempt in range(1, ATTEMPTS + 1):
            for name, source in sources.items():
                _copy_databases(source, _private_directory(draft / name))
            for name, source in sources.items():
                _copy_files(source, draft / name)
            try:
                logs = _checked_logs(draft / STATE, {})
                break
            except BackupError:
                if attempt == ATTEMPTS:
                    raise
        for name, log in logs.items():
            path = draft / CHECKPOINTS / f"{name}.checkpoint"
            _private_directory(path.parent)
            write_private(path, log.note)
        sums = {path: _digest(draft / path) for path in _files(draft)}
        lines = (f"{digest}  {path}\n" for path, digest in sorted(sums.items()))
        write_private(draft / SUMS, "".join(lines).encode())
        os.sync()
        copied = _copied(draft, sums, logs)
        draft.rename(target)
        sync_directory(target.parent)
    return copied


def restore(
    backup: Path, state: Path, models: Path | None = None, checkpoints: Sequence[bytes] = ()
) -> Copied:
    """Make the directories of a server from a backup.

    Everything is compared with its digest; each log is computed again from its entries, and must be
    what it was when the backup was taken.

    Args:
        backup: directory of the backup.
        state: directory to fill: missing, or empty.
        models: the same for models; those of the backup are left where they are if None.
        checkpoints: kept elsewhere; each must be one of a log of the backup, which extends it.

    Raises:
        BackupError: the backup is damaged, a log does not extend a checkpoint, or a directory is
            not empty; nothing was restored.
        OSError: something cannot be read or written.
    """
    sums = _read_sums(backup)
    targets = {STATE: state} | ({} if models is None else {MODELS: models})
    for name, target in targets.items():
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise BackupError(f"{target} is not empty, and is not overwritten")
        if not (backup / name).is_dir():
            raise BackupError(f"{backup} holds no {name}")
    with contextlib.ExitStack() as stack:
        # Inside the targets, which may be mounted: a rename does not leave a file system.
        drafts = {
            name: stack.enter_context(_draft(_private_directory(target) / ".restoring"))
            for name, target in targets.items()
        }
        for path, digest in sums.items():
            name, _, inner = path.partition("/")
            if name in drafts:
                copy = drafts[name] / inner
                _private_directory(copy.parent)
                if _copy(backup / path, copy) != digest:
                    raise BackupError(f"{path} is damaged")
            elif _digest(backup / path) != digest:
                raise BackupError(f"{path} is damaged")
        logs = _checked_logs(drafts[STATE], _notes(backup), checkpoints)
        os.sync()
        for name, target in targets.items():
            for restored in drafts[name].iterdir():
                restored.rename(target / restored.name)
        os.sync()
    return _copied(backup, sums, logs)


@dataclass(frozen=True)
class _Log:
    """A log that was checked: its entries, and its state as a signed checkpoint."""

    size: int
    note: bytes


def _checked_logs(
    state: Path, notes: Mapping[str, bytes], checkpoints: Sequence[bytes] = ()
) -> dict[str, _Log]:
    """Check each log of a copied state whose database is among the files.

    Args:
        state: the copy.
        notes: what a log was when the backup was taken, by its directory.
        checkpoints: each must be one of some log.

    Raises:
        BackupError: one is damaged, or not what a checkpoint says.
    """
    logs: dict[str, _Log] = {}
    left = list(checkpoints)
    for directory in _trails(state):
        name = _named(directory, state)
        if not (directory / DATABASE).is_file():
            continue
        archived = any(_files(directory / ARCHIVE))
        try:
            with closing(open_trail_files(directory)) as trail:
                origin = trail.log.origin.encode() + b"\n"
                mine = [note for note in left if note.startswith(origin)]
                left = [note for note in left if note not in mine]
                kept = [*mine, *([notes[name]] if name in notes else [])]
                logs[name] = _checked(trail, kept, archived=archived)
        except AuditError as error:
            raise BackupError(f"{name}: {error}") from error
    if left:
        raise BackupError("a checkpoint is of no log of this backup")
    missing = notes.keys() - logs.keys()
    if missing:
        raise BackupError(f"{min(missing)}: its log is missing")
    return logs


def _checked(trail: TrailFiles, kept: Sequence[bytes], *, archived: bool) -> _Log:
    """Raises AuditError, BackupError."""
    head = check_log(trail.engine, trail.log_key, server_key=trail.key.public, kept=kept)
    if archived:
        found = check_store(trail.engine, trail.archive.store)
        if not found.whole:
            raise BackupError(
                f"the archive of '{trail.log.origin}' is not whole: {len(found.missing)} objects "
                f"are missing, {len(found.damaged)} damaged; see `blindproof audit fsck`"
            )
    note = sign_checkpoint(Checkpoint(trail.log.origin, head.size, head.root), trail.key)
    return _Log(head.size, note.encoded())


def _trails(state: Path) -> Iterator[Path]:
    """The state directories that have a log of their own."""
    tenants = state / "tenants"
    for directory in (state, *(sorted(tenants.iterdir()) if tenants.is_dir() else ())):
        if (directory / KEY).is_file():
            yield directory


def _copied(whole: Path, sums: dict[str, str], logs: dict[str, _Log]) -> Copied:
    sizes = {name: log.size for name, log in logs.items()}
    elsewhere = [
        name
        for name in (_named(directory, whole / STATE) for directory in _trails(whole / STATE))
        if name not in sizes or (sizes[name] and not any(_files(whole / name / ARCHIVE)))
    ]
    size = sum((whole / path).stat().st_size for path in sums)
    return Copied(len(sums), size, sizes, tuple(elsewhere))


def _named(directory: Path, state: Path) -> str:
    """A state directory by its path within a backup."""
    return (PurePosixPath(STATE) / directory.relative_to(state)).as_posix()


def _copy_databases(source: Path, target: Path) -> None:
    for path in _files(source):
        if _is_database(source / path):
            copy = target / path
            _private_directory(copy.parent)
            copy.unlink(missing_ok=True)
            _copy_database(source / path, copy)


def _copy_database(source: Path, target: Path) -> None:
    """One committed state, in one file without journals."""
    os.close(os.open(target, os.O_CREAT | os.O_EXCL, 0o600))
    uri = f"{source.absolute().as_uri()}?mode=ro"
    try:
        with (
            closing(sqlite3.connect(uri, uri=True, timeout=_BUSY_SECONDS)) as reading,
            closing(sqlite3.connect(target)) as writing,
        ):
            reading.backup(writing)
    except sqlite3.Error as error:
        raise BackupError(f"{source}: {error}") from error


def _copy_files(source: Path, target: Path) -> None:
    """Copy what is no database and not copied yet; what has gone meanwhile is not missed here."""
    for path in _files(source):
        copy = target / path
        if not copy.exists() and not _is_database(source / path):
            _private_directory(copy.parent)
            with contextlib.suppress(FileNotFoundError):
                _copy(source / path, copy)


def _copy(source: Path, target: Path) -> str:
    """Copy a file, for its owner only; returns its digest."""
    with (
        _opened(source) as reading,
        open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as writing,  # noqa: PTH123
    ):
        digest = hashlib.sha256()
        while chunk := reading.read(_CHUNK):
            digest.update(chunk)
            writing.write(chunk)
        return digest.hexdigest()


def _private_directory(path: Path) -> Path:
    """Make a directory that only its owner can enter, and those above it alike."""
    for above in (*reversed(path.parents), path):
        above.mkdir(mode=0o700, exist_ok=True)
    return path


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with _opened(path) as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """A regular file.  Raises BackupError, and OSError."""
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as stream:  # noqa: PTH123
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise BackupError(f"{path} is not a file")
        yield stream


def _is_database(path: Path) -> bool:
    try:
        with _opened(path) as stream:
            return stream.read(len(_MAGIC)) == _MAGIC
    except FileNotFoundError:
        return False


def _files(directory: Path) -> Iterator[str]:
    """Paths of the files below a directory, without drafts and without databases' journals."""
    for parent, directories, names in os.walk(directory, followlinks=True, onerror=_raise):
        # A tenant may have any name, that of the archive's drafts as well.
        drafts = _DRAFTS if Path(parent).name == ARCHIVE else None
        directories[:] = sorted(n for n in directories if n != drafts and not n.startswith("."))
        for name in sorted(names):
            if name.startswith(".") or name.endswith(_JOURNALS):
                continue
            path = (Path(parent) / name).relative_to(directory).as_posix()
            if not path.isprintable():
                raise BackupError(f"{path!r} is no name of a server's file")
            yield path


def _raise(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _read_sums(backup: Path) -> dict[str, str]:
    """Digests by path, of exactly the files that are there.  Raises BackupError."""
    sums: dict[str, str] = {}
    try:
        with (backup / SUMS).open(encoding="utf-8") as lines:
            for line in lines:
                match = _LINE.fullmatch(line)
                if match is None or not _is_inside(match[2]):
                    raise BackupError(f"{backup / SUMS} is damaged")
                sums[match[2]] = match[1]
    except FileNotFoundError:
        raise BackupError(f"{backup} is no backup: it has no {SUMS}") from None
    except UnicodeDecodeError:
        raise BackupError(f"{backup / SUMS} is damaged") from None
    found = {path for path in _files(backup) if path != SUMS}
    for path in sums.keys() ^ found:
        raise BackupError(f"{path} is {'missing' if path in sums else 'not among ' + SUMS}")
    return sums


def _is_inside(path: str) -> bool:
    parts = PurePosixPath(path).parts
    return len(parts) > 1 and parts[0] in {STATE, MODELS, CHECKPOINTS} and ".." not in parts


def _notes(backup: Path) -> dict[str, bytes]:
    """What each log was, by its state directory."""
    root = backup / CHECKPOINTS
    return {
        path.relative_to(root).as_posix().removesuffix(".checkpoint"): path.read_bytes()
        for path in root.rglob("*.checkpoint")
    }


@contextmanager
def _draft(path: Path) -> Iterator[Path]:
    """A private directory, which is gone at the end unless it was renamed."""
    path.mkdir(mode=0o700)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
