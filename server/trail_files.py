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

from sqlalchemy import Engine, select
from sqlalchemy.exc import SQLAlchemyError

from audit.archive import Archive
from audit.checkpoint import verify_checkpoint
from audit.database import open_engine
from audit.errors import LogUnavailableError
from audit.head import Head
from audit.keys import KEY_BYTES, SigningKey
from audit.log import AuditLog
from audit.object_store import open_store
from audit.schema import heads
from audit.sealing import SealingKeys
from audit.signed_note import MAX_NOTE_BYTES, NoteKey
from protocol.accountability import actor_token
from wire.files import make_private_directory, read_bounded, read_or_create_secret

DATABASE, KEY, ARCHIVE, SEALING = "audit.db", "audit.key", "archive", "sealing"


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
        LogStateError: the log is damaged, another's, or does not extend the checkpoint.
        ArchiveUnavailableError: the archive cannot be used.
        NoteError, SignatureError: the origin is no name, or the checkpoint is not this log's.
        EncodingError, OSError: the key or the checkpoint's file cannot be used.
    """
    if origin is None:
        _require_trail(state, database)
    else:
        make_private_directory(state)
    key = SigningKey.from_secret(read_or_create_secret(state / KEY, KEY_BYTES))
    engine = open_engine(database or f"sqlite:///{state.absolute() / DATABASE}")
    try:
        origin = origin or _stored_origin(engine)
        pinned = _pinned(checkpoint, NoteKey(origin, key.public))
        log = AuditLog.open(engine, origin, pinned)
        store = open_store(archive or str(state / ARCHIVE))
        return TrailFiles(engine, log, Archive(engine, store, SealingKeys(state / SEALING)), key)
    except BaseException:
        engine.dispose()
        raise


def _require_trail(state: Path, database: str | None) -> None:
    """Whoever only reads makes nothing."""
    for path in (state / KEY, *(() if database else (state / DATABASE,))):
        if not path.is_file():
            raise LogUnavailableError(f"no audit trail: {path} is not there")


def _stored_origin(engine: Engine) -> str:
    try:
        with engine.connect() as connection:
            origin = connection.execute(select(heads.c.origin)).scalar_one_or_none()
    except SQLAlchemyError as error:
        raise LogUnavailableError("no audit trail in this database") from error
    if origin is None:
        raise LogUnavailableError("no audit trail in this database")
    return str(origin)


def _pinned(checkpoint: Path | None, key: NoteKey) -> Head | None:
    if checkpoint is None:
        return None
    pinned, _ = verify_checkpoint(read_bounded(checkpoint, MAX_NOTE_BYTES), key)
    return Head(pinned.size, pinned.root)
