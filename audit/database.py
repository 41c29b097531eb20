"""Where the log is kept: SQLite as a file by default, PostgreSQL by URL.

A committed SQLite transaction is on the disk: write-ahead log with synchronous=FULL.  Those who
will write take the database's write lock when their transaction begins, so that what they read
cannot change before they write.  Errors do not show the values of statements.
"""

from __future__ import annotations

import os
import sqlite3
from functools import partial
from pathlib import Path

from sqlalchemy import Connection, Engine, QueuePool, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DisconnectionError
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import ConnectionPoolEntry

from audit.errors import LogUnavailableError

BUSY_SECONDS = 30.0
_WRITER = "audit_writer"
_FILE = "audit_file"


def open_engine(url: str) -> Engine:
    """Connect to a database, for `AuditLog` and for the results that commit together with it.

    Args:
        url: `sqlite:///relative.db`, `sqlite:////absolute.db` or `postgresql+driver://...`.

    Raises:
        LogUnavailableError: another database, one in memory, or a file that cannot be made.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise LogUnavailableError("not the URL of a database") from error
    backend = parsed.get_backend_name()
    if backend == "postgresql":
        return create_engine(parsed, pool_pre_ping=True, hide_parameters=True)
    if backend != "sqlite" or parsed.query:
        raise LogUnavailableError("the log is kept in SQLite, without options, or in PostgreSQL")
    if parsed.database in {None, "", ":memory:"}:
        raise LogUnavailableError("a log in memory would not outlive its process")
    path = Path(str(parsed.database)).absolute()
    _make_private(path)
    engine = create_engine(
        "sqlite://", creator=lambda: _connect(path), poolclass=QueuePool, hide_parameters=True
    )
    event.listen(engine, "connect", partial(_configure, path))
    event.listen(engine, "checkout", partial(_require_same_file, path))
    event.listen(engine, "begin", _begin)
    return engine


def writing(engine: Engine) -> Engine:
    """The same database, for transactions that will write."""
    return engine.execution_options(**{_WRITER: True})


def writing_sessions(engine: Engine) -> sessionmaker[Session]:
    """Sessions that may be given to `AuditLog.append_within`."""
    return sessionmaker(writing(engine))


def _make_private(path: Path) -> None:
    """Make the file before SQLite does: readable by its owner only, and so are its journals."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise LogUnavailableError(f"no database can be written there: {error.strerror}") from error


def _connect(path: Path) -> sqlite3.Connection:
    """Open the file that is there; one that has gone is not replaced by an empty one."""
    return sqlite3.connect(
        f"{path.as_uri()}?mode=rw",
        uri=True,
        timeout=BUSY_SECONDS,
        check_same_thread=False,
        isolation_level=None,  # transactions begin where `_begin` says
    )


def _configure(path: Path, connection: sqlite3.Connection, record: ConnectionPoolEntry) -> None:
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "trusted_schema=OFF"):
        connection.execute(f"PRAGMA {pragma}").close()
    record.info[_FILE] = _identity(path)


def _require_same_file(
    path: Path, _connection: sqlite3.Connection, record: ConnectionPoolEntry, _proxy: object
) -> None:
    """Drop a connection whose file was removed or replaced: it would write where nobody reads."""
    if record.info[_FILE] != _identity(path):
        raise DisconnectionError("the file of the database is another one")


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITER, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
