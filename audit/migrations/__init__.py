"""Older schemas brought to the one of `audit.schema`, with the operations of alembic.

The version of a log is in its head's row, where every append compares it, so that a process which
was started before a migration stops writing.  Alembic's own table of versions would be a second
answer to the same question: its script directory orders the revisions here, and its operations are
run in the transaction of whoever opens the log.

Revisions are named by the version that they lead to.  They never import the rest of the package,
which moves on: what they know of receipts and tables is what was true when they were written.
"""

from __future__ import annotations

import threading
from pathlib import Path

from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from audit.errors import LogStateError

_MIGRATING = threading.Lock()
"""Revisions reach alembic's operations by a name of their module, one for the whole process."""


def migrate(connection: Connection, version: int, target: int) -> None:
    """Bring a log from one version of its schema to another, in the caller's transaction.

    Args:
        connection: in a transaction that excludes other writers.
        version: what the log is.
        target: what it is to be, larger.

    Raises:
        LogStateError: a version that no revision leaves from, or entries that are damaged.
        SQLAlchemyError: the database failed.
    """
    script = ScriptDirectory(str(Path(__file__).parent))
    if str(version) not in {one.revision for one in script.walk_revisions()}:
        raise LogStateError(f"schema {version} is unknown, this is made for {target}")
    revisions = list(script.iterate_revisions(str(target), str(version)))
    with _MIGRATING, Operations.context(MigrationContext.configure(connection)):
        for revision in reversed(revisions):
            revision.module.upgrade()
