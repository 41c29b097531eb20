"""The options which the commands about a trail have in common."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias, TypeVar

import typer

from protocol.errors import EncodingError

if TYPE_CHECKING:
    from audit.search import Query
    from server.trail_files import TrailFiles

_TIMES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]
_SECOND_NS = 1_000_000_000
_Code = TypeVar("_Code", bound=StrEnum)

State: TypeAlias = Annotated[
    Path, typer.Option(envvar="BLINDPROOF_STATE", help="The server's state directory.")
]
Database: TypeAlias = Annotated[
    str | None,
    typer.Option(
        envvar="BLINDPROOF_AUDIT_DATABASE",
        help="URL of the log's database.",
        show_default="audit.db in the state directory",
    ),
]
ArchivePlace: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--archive",
        envvar="BLINDPROOF_AUDIT_ARCHIVE",
        help="Directory or URL of the archive.",
        show_default="archive in the state directory",
    ),
]
Tenant: TypeAlias = Annotated[
    str | None, typer.Option(help="Only receipts of this tenant.", show_default=False)
]
Actor: TypeAlias = Annotated[
    str | None, typer.Option(help="Only receipts of this actor.", show_default=False)
]
PurposeCode: TypeAlias = Annotated[
    str | None,
    typer.Option("--purpose", help="Only this purpose of use, such as TREAT.", show_default=False),
]
Subject: TypeAlias = Annotated[
    str | None,
    typer.Option(help="Only this subject: a pseudonym, hexadecimal.", show_default=False),
]
ActionCode: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--action",
        help="Only this action: predict, enrol-key, publish-model, withdraw-model, or of denied "
        "readers read-model, read-trail.",
        show_default=False,
    ),
]
OutcomeCode: TypeAlias = Annotated[
    str | None,
    typer.Option("--outcome", help="Only answered, denied or failed.", show_default=False),
]
Reason: TypeAlias = Annotated[
    str | None,
    typer.Option(help="Only what was denied or failed for this reason.", show_default=False),
]
ModelDigest: TypeAlias = Annotated[
    str | None,
    typer.Option("--model", help="Only this model's: its digest, hexadecimal.", show_default=False),
]
Since: TypeAlias = Annotated[
    datetime | None,
    typer.Option(formats=_TIMES, help="Only from this time on, UTC.", show_default=False),
]
Until: TypeAlias = Annotated[
    datetime | None,
    typer.Option(formats=_TIMES, help="Only before this time, UTC.", show_default=False),
]


@contextmanager
def opened_trail(
    state: Path, database: str | None = None, archive: str | None = None
) -> Iterator[TrailFiles]:
    """The trail of a server, which may be running; nothing is made where there is none.

    Raises:
        LogUnavailableError: there is no trail, or it cannot be read.
        ArchiveUnavailableError: the archive named is not there.
        AuditError: the trail is damaged.
    """
    from audit.errors import ArchiveUnavailableError, LogUnavailableError
    from server.trail_files import open_trail_files

    file = None if database is None else sqlite_file(database)
    if file is not None and not file.is_file():
        raise LogUnavailableError(f"no audit trail: {file} is not there")
    if archive is not None and "://" not in archive and not Path(archive).is_dir():
        raise ArchiveUnavailableError(f"no archive: {archive} is not a directory")
    trail = open_trail_files(state, database, archive)
    try:
        yield trail
    finally:
        trail.close()


def sqlite_file(database: str) -> Path | None:
    """The file of a URL of SQLite's, None of another database."""
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    from audit.errors import LogUnavailableError

    try:
        url = make_url(database)
    except ArgumentError:
        raise LogUnavailableError("not the URL of a database") from None
    return Path(url.database or "") if url.get_backend_name() == "sqlite" else None


def query_of(
    *,
    tenant: str | None = None,
    actor: str | None = None,
    purpose: str | None = None,
    subject: str | None = None,
    action: str | None = None,
    outcome: str | None = None,
    reason: str | None = None,
    model: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Query:
    """What the filters ask for.

    Raises:
        ReceiptError: a code that there is not.
        EncodingError: not hexadecimal.
    """
    from audit.receipt import Action, Outcome, Purpose
    from audit.search import Query

    return Query(
        tenant=tenant,
        actor=actor,
        purpose=None if purpose is None else Purpose.of(purpose),
        subject=None if subject is None else hexadecimal(subject, "a subject"),
        action=None if action is None else _code(Action, action, "action"),
        outcome=None if outcome is None else _code(Outcome, outcome, "outcome"),
        reason=reason,
        model=None if model is None else hexadecimal(model, "a model's digest"),
        since_ns=_nanoseconds(since),
        until_ns=_nanoseconds(until),
    )


def kept_checkpoints(paths: list[Path] | None) -> tuple[bytes, ...]:
    """Checkpoints that somebody kept: well-formed, not verified.

    Raises:
        EncodingError: a file that holds none.
        OSError: one that cannot be read.
    """
    from audit.errors import NoteError
    from audit.signed_note import MAX_NOTE_BYTES, SignedNote
    from wire.files import read_regular

    kept = []
    for path in paths or ():
        data = read_regular(path, MAX_NOTE_BYTES)
        try:
            SignedNote.decoded(data)
        except NoteError as error:
            raise EncodingError(f"{path} is not a checkpoint: {error}") from error
        kept.append(data)
    return tuple(kept)


def hexadecimal(text: str, what: str, size: int = 32) -> bytes:
    """Bytes given as hexadecimal digits.

    Raises:
        EncodingError: something else, or another number of them.
    """
    try:
        data = bytes.fromhex(text)
    except ValueError:
        data = b""
    if len(data) != size:
        raise EncodingError(f"{what} has {2 * size} hexadecimal digits")
    return data


def _code(kind: type[_Code], text: str, what: str) -> _Code:
    try:
        return kind(text)
    except ValueError:
        raise EncodingError(f"no {what} '{text[:40]}': there are {', '.join(kind)}") from None


def _nanoseconds(time: datetime | None) -> int | None:
    # Options have no fractions of a second.
    return None if time is None else int(time.replace(tzinfo=UTC).timestamp()) * _SECOND_NS
