"""The checkpoints that a log keeps of itself, one for each size at which it signed."""

from __future__ import annotations

from sqlalchemy import Connection, insert, select, update

from audit.checkpoint import Checkpoint
from audit.errors import LogStateError, NoteError
from audit.schema import checkpoints
from audit.signed_note import SignedNote


def latest_note(connection: Connection) -> SignedNote | None:
    """The kept checkpoint of the largest size, None if there is none.

    Raises:
        LogStateError: what is kept is no signed note.
    """
    newest = select(checkpoints.c.note).order_by(checkpoints.c.size.desc()).limit(1)
    data = connection.execute(newest).scalar_one_or_none()
    return None if data is None else _stored_note(data)


def keep_note(connection: Connection, size: int, note: SignedNote) -> SignedNote:
    """Keep the checkpoint of a size, or add its signatures to the one of the same text.

    Returns:
        What is kept now.

    Raises:
        LogStateError: a checkpoint of that size with another text is kept.
    """
    at = checkpoints.c.size == size
    data = connection.execute(select(checkpoints.c.note).where(at)).scalar_one_or_none()
    if data is None:
        connection.execute(insert(checkpoints).values(size=size, note=note.encoded()))
        return note
    kept = _stored_note(data)
    if kept.text != note.text:
        raise LogStateError(f"the log has signed two checkpoints of {size} entries")
    merged = kept.with_signatures(note.signatures)
    connection.execute(update(checkpoints).where(at).values(note=merged.encoded()))
    return merged


def stored_checkpoint(note: SignedNote) -> Checkpoint:
    """The checkpoint in a kept note.

    Raises:
        LogStateError: it holds something else.
    """
    try:
        return Checkpoint.from_text(note.text)
    except NoteError as error:
        raise LogStateError(f"a kept checkpoint is damaged: {error}") from error


def _stored_note(data: bytes) -> SignedNote:
    try:
        return SignedNote.decoded(data)
    except NoteError as error:
        raise LogStateError(f"a kept checkpoint is damaged: {error}") from error
