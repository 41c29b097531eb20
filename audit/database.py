"""Where the log is kept: SQLite as a file by default, PostgreSQL by URL.

A committed transaction is on the disk: SQLite's write-ahead log with synchronous=FULL, PostgreSQL's
with synchronous_commit.  Those who read see the database as it was when their transaction began.
Those who will write take SQLite's write lock when theirs begins, and PostgreSQL's of the head's row
in their first statement, so that what they read cannot change before they write.  Errors do not
show the values of statements.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import URL, Connection, Engine, QueuePool, Table, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DisconnectionError, IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import ConnectionPoolEntry

from audit.errors import LogStateError, LogUnavailableError

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql, sqlite

BUSY_SECONDS = 30.0
CONNECT_SECONDS = 10
_PAUSE_SECONDS = 0.01
_WRITER = "audit_writer"
_FILE = "audit_file"


def open_engine(url: str) -> Engine:
    """Connect to a database, for `AuditLog` and for the results that commit together with it.

    Args:
        url: `sqlite:///relative.db`, `sqlite:////absolute.db` or `postgresql://...`.

    Raises:
        LogUnavailableError: another database, one in memory, a file that cannot be made, or a
            driver that is not installed.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise LogUnavailableError("not the URL of a database") from error
    backend = parsed.get_backend_name()
    if backend == "postgresql":
        return _postgresql(parsed)
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
    if engine.dialect.name == "postgresql":
        # The lock of the head is waited for: what was committed meanwhile must be seen then.
        return engine.execution_options(isolation_level="READ COMMITTED")
    return engine.execution_options(**{_WRITER: True})


def writing_sessions(engine: Engine) -> sessionmaker[Session]:
    """Sessions that may be given to `AuditLog.append_within`."""
    return sessionmaker(writing(engine))


def inserting(dialect: str, table: Table) -> postgresql.Insert | sqlite.Insert:
    """An INSERT that can say what happens ON CONFLICT: both dialects do, in the same words."""
    # The dialect that is in use is loaded already; loading the other one takes a while.
    if dialect == "postgresql":
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(table)
    from sqlalchemy.dialects import sqlite

    return sqlite.insert(table)


@contextmanager
def translated_errors() -> Iterator[None]:
    """Errors of the database as errors of the log, without the values of its statements."""
    try:
        yield
    except IntegrityError as error:
        raise LogStateError("rows which the log's head does not know are in the way") from error
    except SQLAlchemyError as error:
        raise LogUnavailableError(f"the database failed: {type(error).__name__}") from error


def _postgresql(url: URL) -> Engine:
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    # Without limits a dead network would be waited for: by the recorder, and so by every call.
    query = {
        "connect_timeout": str(CONNECT_SECONDS),
        "tcp_user_timeout": f"{BUSY_SECONDS * 1000:.0f}",
        **url.query,
    }
    # The last setting wins: also over a server that trades durability for speed.
    query["options"] = " ".join(
        (
            *_texts(url.query.get("options", ())),
            "-c synchronous_commit=on",
            f"-c lock_timeout={BUSY_SECONDS:.0f}s",
        )
    )
    try:
        return create_engine(
            url.set(query=query),
            isolation_level="REPEATABLE READ",
            pool_pre_ping=True,
            hide_parameters=True,
        )
    except ModuleNotFoundError as error:
        raise LogUnavailableError(
            "PostgreSQL needs a driver: pip install 'blindproof[postgresql]'"
        ) from error


def _texts(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value


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
    _write_ahead(connection)
    for pragma in ("synchronous=FULL", "trusted_schema=OFF"):
        connection.execute(f"PRAGMA {pragma}").close()
    record.info[_FILE] = _identity(path)


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Choose the journal, as patiently as statements wait: SQLite itself does not wait here.

    Others who open or leave the file at the same moment hold all of it for an instant.
    """
    end = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL").close()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
            time.sleep(_PAUSE_SECONDS)
        else:
            return


def _require_same_file(
    path: Path, _connection: sqlite3.Connection, record: ConnectionPoolEntry, _proxy: object
) -> None:
    """Drop a connection whose file was removed or replaced: it would write where nobody reads."""
    if (found := _identity(path)) is None or record.info[_FILE] != found:
        raise DisconnectionError("the file of the database is another one")


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:  # gone, or behind a disk or a directory that cannot be read
        return None
    return status.st_dev, status.st_ino


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITER, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
