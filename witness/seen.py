"""What a witness has seen: of each log the largest tree it has cosigned, in SQLite.

`advance` reads, checks and writes in one transaction that holds the database's write lock, so that
of two requests which extend one tree differently the second finds the first one's tree.  When it
returns, the tree is on the disk (synchronous=FULL): a signature made afterwards is never forgotten.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    LargeBinary,
    MetaData,
    String,
    Table,
    insert,
    select,
    update,
)
from sqlalchemy.exc import SQLAlchemyError

from audit.checkpoint import Checkpoint
from audit.database import open_engine, writing
from audit.errors import ConsistencyError, LogUnavailableError
from audit.head import Head
from audit.merkle import EMPTY_ROOT, verify_consistency
from audit.signed_note import MAX_NAME
from witness.add_checkpoint import AddCheckpoint
from witness.errors import RefusedError, WitnessServiceError, conflict

NOTHING = Head(0, EMPTY_ROOT)

_metadata = MetaData()
_heads = Table(
    "witness_heads",
    _metadata,
    Column("origin", String(MAX_NAME), primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("root", LargeBinary(32), nullable=False),
)


class SeenHeads:
    """The memory of a witness.  May be used by several threads, and by several processes.

    Args:
        path: of the database.
        create: make a new one; otherwise it must be there, since a witness that starts with an
            empty memory would sign whatever it is shown.

    Raises:
        WitnessServiceError: it is not there, is there already, or is no such database.
    """

    def __init__(self, path: Path, *, create: bool = False) -> None:
        if create == path.exists():
            raise WitnessServiceError(
                f"{path}: there is a database already"
                if create
                else f"{path}: the memory of this witness is gone.  Put no old copy back: make a "
                "new witness with `blindproof witness keys`, and replace this one in every policy"
            )
        self._path = path
        self._largest: dict[str, Head] = {}
        self._remembering = threading.Lock()
        with _translated(path):
            self._reader = open_engine(f"sqlite:///{path.absolute()}")
            self._writer = writing(self._reader)
            if create:
                with self._writer.begin() as connection:
                    _metadata.create_all(connection)
            self._largest.update(self.all())

    def all(self) -> dict[str, Head]:
        """The largest trees, by the log's origin."""
        with self._reader.begin() as connection:
            rows = connection.execute(select(_heads).order_by(_heads.c.origin))
            return {row.origin: Head(row.size, row.root) for row in rows}

    def advance(self, request: AddCheckpoint) -> None:
        """Check that a checkpoint extends what was seen, and remember it durably.

        Raises:
            RefusedError: the request starts from another size than what was seen, shows another
                tree of that size, or its proof is none.
            WitnessServiceError: the database failed, or an older copy of it was put in its place;
                nothing may be signed.
        """
        new = request.checkpoint
        # Taken before the database is read: another thread may be ahead of what is read here.
        largest = self._largest.get(new.origin, NOTHING)
        with _translated(self._path), self._writer.begin() as connection:
            seen = _seen(connection, new.origin)
            if seen.size < largest.size or (seen.size == largest.size and seen != largest):
                raise WitnessServiceError(
                    f"{self._path}: has seen {seen.size} entries of '{new.origin}', this process "
                    f"{largest.size}: an old copy.  Retire this witness"
                )
            if request.old_size != seen.size:
                raise conflict(seen.size)
            _require_extends(seen, request)
            _remember(connection, new)
        with self._remembering:
            if new.size > self._largest.get(new.origin, NOTHING).size:
                self._largest[new.origin] = Head(new.size, new.root)

    def close(self) -> None:
        """Close connections."""
        self._reader.dispose()


def _seen(connection: Connection, origin: str) -> Head:
    row = connection.execute(select(_heads).where(_heads.c.origin == origin)).one_or_none()
    return NOTHING if row is None else Head(row.size, row.root)


def _require_extends(seen: Head, request: AddCheckpoint) -> None:
    new = request.checkpoint
    if new.size == seen.size and new.root != seen.root:
        raise conflict(seen.size, evidence=True)
    try:
        if seen.size:
            verify_consistency(seen.size, seen.root, new.size, new.root, request.proof)
        elif request.proof:
            raise ConsistencyError("everything extends an empty log, and its proof is empty")
    except ConsistencyError as error:
        raise RefusedError(HTTPStatus.UNPROCESSABLE_ENTITY, f"{error}\n", evidence=True) from error


def _remember(connection: Connection, new: Checkpoint) -> None:
    values = {"size": new.size, "root": new.root}
    changed = connection.execute(
        update(_heads).where(_heads.c.origin == new.origin).values(**values)
    )
    if changed.rowcount == 0:
        connection.execute(insert(_heads).values(origin=new.origin, **values))


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except LogUnavailableError as error:
        raise WitnessServiceError(f"{path}: {error}") from error
    except SQLAlchemyError as error:
        raise WitnessServiceError(f"{path}: the database failed: {type(error).__name__}") from error
