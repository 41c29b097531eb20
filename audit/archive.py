"""What the log's receipts are about, kept beside it: bytes in a store, and rows that name them.

The bytes are durable before the row, and the row commits together with the receipt: whoever is
killed in between leaves an object without a row, which `audit.retention` removes, and never a row
without an object.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, Row, select
from sqlalchemy.orm import Session

from audit.database import inserting, translated_errors
from audit.errors import LogStateError, ObjectMissingError
from audit.object_store import ObjectStore
from audit.schema import objects
from audit.sealing import SealingKeys

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql, sqlite

MAX_NAME_BYTES = 32


class ObjectKind(StrEnum):
    """What an object is, and by what it is named."""

    REQUEST = "request"
    """A request as it was sent, by the id of its receipt."""
    RESPONSE = "response"
    """An answer as it was released, by the id of its receipt."""
    MODEL = "model"
    """A model's card and the proof of its registration, by the card's digest."""
    ENROLMENT = "enrolment"
    """A client's enrolled key and its proof, by the key's digest."""


@dataclass(frozen=True)
class KeptObject:
    """One object of the archive, as its row says.

    Attributes:
        kind, name: by which it is found.
        address: of the stored bytes, 32 bytes.
        size: of the stored bytes.
        stored_ns: when, in nanoseconds since 1970.
        sealed: whether the stored bytes are sealed under the tenant's key.
        tenant: whose it is.
        removed_ns: when a retention rule removed the bytes, None if it did not.
    """

    kind: ObjectKind
    name: bytes
    address: bytes
    size: int
    stored_ns: int
    sealed: bool
    tenant: str
    removed_ns: int | None = None


class Archive:
    """The objects of a log.

    Attributes:
        engine: the database of the log, which was opened by `AuditLog.open`.
        store: where the bytes are.
    """

    def __init__(self, engine: Engine, store: ObjectStore, sealing_keys: SealingKeys) -> None:
        self.engine = engine
        self.store = store
        self._sealing_keys = sealing_keys

    def keep(
        self, kind: ObjectKind, name: bytes, data: bytes, *, tenant: str, seal: bool = False
    ) -> KeptObject:
        """Make the bytes of an object durable; `record_within` gives them their row.

        Args:
            kind: what it is.
            name: by which it will be found, 1 to 32 bytes.
            data: its bytes.
            tenant: whose it is.
            seal: under the tenant's key.

        Raises:
            ArchiveUnavailableError: the store or the key cannot be used; nothing is visible.
        """
        if not 0 < len(name) <= MAX_NAME_BYTES:
            raise ValueError(f"a name has 1 to {MAX_NAME_BYTES} bytes, found {len(name)}")
        stored = self._sealing_keys.seal(tenant, kind, name, data) if seal else data
        address = self.store.put(stored)
        # Taken after the object was written: retention removes what is not newer than its row.
        return KeptObject(kind, name, address, len(stored), time.time_ns(), seal, tenant)

    def record_within(self, session: Session, kept: Sequence[KeptObject]) -> None:
        """Write the rows of objects in the caller's transaction.

        An object that has a row keeps the row it has, unless a rule had removed the bytes.

        Args:
            session: from `audit.database.writing_sessions`, of the same database.
            kept: from `keep`.

        Raises:
            LogStateError, LogUnavailableError: the database failed; the caller's transaction must
                then be rolled back.
        """
        if not kept:
            return
        with translated_errors():
            _insert(session.connection(), kept)

    def find(self, kind: ObjectKind, name: bytes) -> KeptObject | None:
        """The row of an object, None if it was never kept.

        Raises:
            LogUnavailableError: the database failed.
        """
        chosen = select(objects).where(objects.c.kind == str(kind), objects.c.name == name)
        with translated_errors(), self.engine.begin() as connection:
            row = connection.execute(chosen).one_or_none()
        return None if row is None else kept_object(row)

    def read(self, kind: ObjectKind, name: bytes) -> bytes:
        """What was given to `keep`.

        Raises:
            ObjectMissingError: never kept, removed by a rule, or lost.
            ObjectDamagedError: not what was kept.
            ObjectErasedError: sealed under a key that was erased.
            ArchiveUnavailableError, LogUnavailableError: store or database cannot be read now.
        """
        kept = self.find(kind, name)
        if kept is None:
            raise ObjectMissingError(f"the archive has no {kind} {name.hex()}")
        return self.read_kept(kept)

    def read_kept(self, kept: KeptObject) -> bytes:
        """What was given to `keep`, for a row that was found already.

        Raises:
            ObjectMissingError, ObjectDamagedError, ObjectErasedError, ArchiveUnavailableError: as
                `read`.
        """
        if kept.removed_ns is not None:
            raise ObjectMissingError(f"{kept.kind} {kept.name.hex()} was removed by a rule")
        data = self.store.get(kept.address)
        if not kept.sealed:
            return data
        return self._sealing_keys.unseal(kept.tenant, kept.kind, kept.name, data)


def kept_object(row: Row[Any]) -> KeptObject:
    """The object of a row of `audit.schema.objects`.

    Raises:
        LogStateError: a kind that there is not.
    """
    try:
        kind = ObjectKind(row.kind)
    except ValueError as error:
        raise LogStateError(f"the archive has an object of an unknown kind: {row.kind}") from error
    return KeptObject(
        kind,
        row.name,
        row.address,
        row.size,
        row.stored_ns,
        row.sealed,
        row.tenant,
        row.removed_ns,
    )


def _insert(connection: Connection, kept: Sequence[KeptObject]) -> None:
    rows = [{**vars(one), "kind": str(one.kind)} for one in kept]
    connection.execute(_insertion(connection.dialect.name), rows)


@lru_cache
def _insertion(dialect: str) -> postgresql.Insert | sqlite.Insert:
    """An object's row, in the place of one whose bytes a rule had removed."""
    inserted = inserting(dialect, objects)
    return inserted.on_conflict_do_update(
        index_elements=[objects.c.kind, objects.c.name],
        set_={column.name: inserted.excluded[column.name] for column in objects.c},
        where=objects.c.removed_ns.is_not(None),
    )
