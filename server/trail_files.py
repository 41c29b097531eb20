"""Where a server keeps its audit trail, and how it is opened: by the server, and by who reads it.

<state>/audit.db    the log, unless a database is named
<state>/audit.key   the secret half of the key that signs receipts and checkpoints
<state>/archive/    requests, answers, models and enrolments, unless another place is named
<state>/sealing/    the data keys of tenants whose requests hold plaintext columns
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Engine, inspect, select

from audit.archive import Archive
from audit.checkpoint import verify_checkpoint
from audit.database import open_engine, translated_errors
from audit.errors import LogStateError, LogUnavailableError
from audit.head import Head
from audit.keys import KEY_BYTES, SigningKey
from audit.log import AuditLog
from audit.object_store import ObjectStore, open_store
from audit.schema import heads
from audit.sealing import SealingKeys
from audit.signed_note import MAX_NOTE_BYTES, NoteKey
from protocol.accountability import actor_token
from wire.files import make_private_directory, read_bounded, read_or_create_secret

DATABASE, KEY, ARCHIVE, SEALING = "audit.db", "audit.key", "archive", "sealing"
TENANTS = "tenants"
"""Where the state directory of a server with several tenants has theirs."""


class TrailFiles(NamedTuple):
    """An open trail.

    Attributes:
        engine: the database.
        log: the receipts in it.
        archive: what they name.
        key: what signs receipts and checkpoints.
    """

    engine: Engine
    log: AuditLog
    archive: Archive
    key: SigningKey

    @property
    def log_key(self) -> NoteKey:
        """What verifies receipts and checkpoints, for those who pin it."""
        return NoteKey(self.log.origin, self.key.public)

    def close(self) -> None:
        """Close the database's connections."""
        self.engine.dispose()


def default_origin(server_id: str) -> str:
    """The name of a server's log, unless it is given one."""
    name = actor_token(server_id)
    if "+" in name:  # which separates the parts of a verifier key
        name = f"sha256:{hashlib.sha256(server_id.encode()).hexdigest()}"
    return f"blindproof/{name}"


def open_trail_files(
    state: Path,
    database: str | None = None,
    archive: str | None = None,
    *,
    origin: str | None = None,
    checkpoint: Path | None = None,
) -> TrailFiles:
    """Open the trail of a state directory.

    Args:
        state: the server's directory.
        database: URL of the log's database; the file in the directory if None.
        archive: path or URL of the archive; the one in the directory if None.
        origin: the log's name: a trail is made if there is none.  If None, the name is the one of
            the log that is there.
        checkpoint: file of a checkpoint which the log must extend.

    Raises:
        LogUnavailableError: the database cannot be used, or holds no log and none is to be made.
        LogStateError: the log is damaged, another's, does not extend the checkpoint, or was begun
            and is gone while its key or its archive is there.
        ArchiveUnavailableError: the archive cannot be used.
        NoteError, SignatureError: the origin is no name, or the checkpoint is not this log's.
        EncodingError, OSError: the key or the checkpoint's file cannot be used.
    """
    if origin is None:
        _require_trail(state, database)
    else:
        make_private_directory(state)
    engine = open_engine(database or f"sqlite:///{state.absolute() / DATABASE}")
    try:
        store = open_store(archive or str(state / ARCHIVE))
        if origin is None:
            origin = _stored_origin(engine)
        elif checkpoint is None:  # which says itself what the log must have been
            _require_whole(engine, state / KEY, store)
        pinned = _pinned(checkpoint, NoteKey(origin, _key(state).public)) if checkpoint else None
        log = AuditLog.open(engine, origin, pinned)
        # The log is made before its key: a key without a log is one whose log is gone.
        key, sealing = _key(state), SealingKeys(state / SEALING)
        return TrailFiles(engine, log, Archive(engine, store, sealing), key)
    except BaseException:
        engine.dispose()
        raise


def _require_trail(state: Path, database: str | None) -> None:
    """Whoever only reads makes nothing."""
    for path in (state / KEY, *(() if database else (state / DATABASE,))):
        if not path.is_file():
            several = state / TENANTS
            where = f"; each tenant's is in {several}/<tenant>" if several.is_dir() else ""
            raise LogUnavailableError(f"no audit trail: {path} is not there{where}")


def _require_whole(engine: Engine, key: Path, store: ObjectStore) -> None:
    """Refuse to begin a log anew over what is left of another one.

    Under the old key it would be a second history of that log, and the archive's objects, which no
    row of it names, would be removed as left over.  What several who start at once have made is no
    reason: the log is there before its key and its objects are.

    Raises:
        LogStateError: key or objects without their log, or a log without its key.
        LogUnavailableError, ArchiveUnavailableError: database or archive cannot be read.
    """
    size = _stored_size(engine)
    if size is None:
        left = "the log's key" if key.is_file() else "an archive with objects"
        if not key.is_file() and next(store.addresses(), None) is None:
            return
        size = _stored_size(engine)
        if size is None:
            raise LogStateError(
                f"{left} is there, and the database holds no log: is it the right database? A new "
                "log begins in a new state directory, with an archive of its own"
            )
    if size and not key.is_file():
        raise LogStateError(
            f"the log has {size} entries and its key {key} is gone: another one would not be its "
            "key. Without a copy of it, a new log has to begin, in a new state directory"
        )


def _stored_size(engine: Engine) -> int | None:
    """Entries of the log that is there; None if there is none."""
    with translated_errors(), engine.connect() as connection:
        if not inspect(connection).has_table(heads.name):
            return None
        return connection.execute(select(heads.c.size)).scalar_one_or_none()


def _key(state: Path) -> SigningKey:
    return SigningKey.from_secret(read_or_create_secret(state / KEY, KEY_BYTES))


def _stored_origin(engine: Engine) -> str:
    if _stored_size(engine) is None:
        raise LogUnavailableError("no audit trail in this database")
    with translated_errors(), engine.connect() as connection:
        return str(connection.execute(select(heads.c.origin)).scalar_one())


def _pinned(checkpoint: Path, key: NoteKey) -> Head:
    pinned, _ = verify_checkpoint(read_bounded(checkpoint, MAX_NOTE_BYTES), key)
    return Head(pinned.size, pinned.root)
