"""A database made ready for this version: its tables created, or migrated, or refused."""

from __future__ import annotations

from sqlalchemy import Connection, inspect, select, text

from audit.errors import LogStateError
from audit.schema import SCHEMA_VERSION, heads, metadata

_OPENING = 0x626C696E6470726F  # "blindpro": the number of a lock which nobody else should use


def prepare_tables(connection: Connection) -> None:
    """Create the tables of a log, or bring older ones to this version.

    Of several who open a database at once, one does the work and the others find it done.

    Args:
        connection: in a transaction that will write; nothing is done before it commits.

    Raises:
        LogStateError: a version which this cannot use, or damaged entries in an older one.
        SQLAlchemyError: the database failed.
    """
    if connection.dialect.name == "postgresql":  # SQLite's writers hold the whole database
        connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _OPENING})
    version = _version(connection)
    if version is not None and version != SCHEMA_VERSION:
        if not isinstance(version, int):  # SQLite would not mind
            raise LogStateError("the database holds a log of no version")
        if version > SCHEMA_VERSION:
            raise LogStateError(
                f"schema {version} is newer than this version, which is made for {SCHEMA_VERSION}"
            )
        # Alembic takes longer to import than a log to open: only where there is work for it.
        from audit.migrations import migrate

        migrate(connection, version, SCHEMA_VERSION)
    metadata.create_all(connection)


def _version(connection: Connection) -> int | None:
    """The version of the log that is there, None if there is none."""
    if not inspect(connection).has_table(heads.name):
        return None
    # Locked, as those who append lock it, before any table is: in the same order as they.
    return connection.execute(select(heads.c.schema_version).with_for_update()).scalar()
