"""The archive compared with the rows of its objects, byte for byte.

Nothing that is found stops the check: whoever repairs an archive wants to know all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, Row, and_, exists, or_, select, tuple_

from audit.archive import KeptObject, ObjectKind, kept_object
from audit.database import translated_errors
from audit.errors import ObjectDamagedError, ObjectMissingError
from audit.object_store import ObjectStore, address_batches
from audit.receipt import Action, Outcome
from audit.schema import entries, objects

_ROWS = 1 << 9


@dataclass(frozen=True)
class StoreCheck:
    """What was found.

    Attributes:
        rows: of objects.
        removed: rows whose bytes a rule has removed.
        objects: in the store.
        size: of them all, in bytes.
        missing: rows whose bytes are not there.
        damaged: rows whose bytes are others, or more or less than the row says.
        orphans: objects which no row names; `audit.retention.sweep` removes them.
        unarchived: receipts of answers whose request, response or model has no row, by id.
        strays: rows of requests or responses without a receipt, or of another tenant than its
            receipt says, under whose key it would be looked for in vain.
    """

    rows: int
    removed: int
    objects: int
    size: int
    missing: tuple[KeptObject, ...]
    damaged: tuple[KeptObject, ...]
    orphans: int
    unarchived: tuple[bytes, ...]
    strays: tuple[KeptObject, ...]

    @property
    def whole(self) -> bool:
        """True if nothing is lost: orphans are no loss."""
        return not (self.missing or self.damaged or self.unarchived or self.strays)


def check_store(
    engine: Engine, store: ObjectStore, progress: Callable[[int], None] | None = None
) -> StoreCheck:
    """Read every object, and every row of one.

    Args:
        engine: the database of a log.
        store: where its objects are.
        progress: told how many objects and rows are done.

    Raises:
        LogUnavailableError, ArchiveUnavailableError: database or store cannot be read.
        LogStateError: a row is not one of an object.
    """
    done = 0
    found: dict[bytes, int | None] = {}
    orphans = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        if progress is not None:
            progress(done)

    for addresses in address_batches(store, _ROWS):
        # Read after they were listed: what was recorded meanwhile is no orphan.
        known = _known(engine, addresses)
        orphans += sum(address not in known for address in addresses)
        for address in addresses:
            found[address] = _size(store, address)
            advance(1)
    rows = removed = 0
    missing, damaged = [], []
    for row in _rows(engine):
        kept = kept_object(row)
        rows += 1
        advance(1)
        if kept.removed_ns is not None:
            removed += 1
            continue
        if kept.address not in found:  # recorded meanwhile, or lost
            try:
                found[kept.address] = len(store.get(kept.address))
            except ObjectMissingError:
                missing.append(kept)
                continue
            except ObjectDamagedError:
                found[kept.address] = None
        if found[kept.address] != kept.size:
            damaged.append(kept)
    return StoreCheck(
        rows=rows,
        removed=removed,
        objects=len(found),
        size=sum(size or 0 for size in found.values()),
        missing=tuple(missing),
        damaged=tuple(damaged),
        orphans=orphans,
        unarchived=_unarchived(engine),
        strays=_strays(engine),
    )


def _size(store: ObjectStore, address: bytes) -> int | None:
    """The size of an object; None if it is damaged, or was removed since it was listed."""
    try:
        return len(store.get(address))
    except (ObjectDamagedError, ObjectMissingError):
        return None


def _known(engine: Engine, addresses: list[bytes]) -> set[bytes]:
    """Those addresses which a row names whose bytes are kept."""
    named = select(objects.c.address).where(
        objects.c.address.in_(addresses), objects.c.removed_ns.is_(None)
    )
    with translated_errors(), engine.begin() as connection:
        return set(connection.execute(named).scalars())


def _rows(engine: Engine) -> Iterator[Row[*tuple[Any, ...]]]:
    """All rows of objects, in the order of their key."""
    key = tuple_(objects.c.kind, objects.c.name)
    chosen = select(objects).order_by(objects.c.kind, objects.c.name).limit(_ROWS)
    last = ("", b"")
    while True:
        with translated_errors(), engine.begin() as connection:
            rows = connection.execute(chosen.where(key > last)).all()
        if not rows:
            return
        yield from rows
        last = (rows[-1].kind, rows[-1].name)


def _unarchived(engine: Engine) -> tuple[bytes, ...]:
    named = {
        ObjectKind.REQUEST: entries.c.receipt_id,
        ObjectKind.RESPONSE: entries.c.receipt_id,
        ObjectKind.MODEL: entries.c.model,
    }
    lacking = [
        ~exists().where(and_(objects.c.kind == str(kind), objects.c.name == name))
        for kind, name in named.items()
    ]
    chosen = (
        select(entries.c.receipt_id)
        .where(
            entries.c.action == str(Action.PREDICT),
            entries.c.outcome == str(Outcome.ANSWERED),
            or_(*lacking),
        )
        .order_by(entries.c.position)
    )
    with translated_errors(), engine.begin() as connection:
        return tuple(connection.execute(chosen).scalars())


def _strays(engine: Engine) -> tuple[KeptObject, ...]:
    chosen = (
        select(objects)
        .outerjoin(entries, objects.c.name == entries.c.receipt_id)
        .where(
            objects.c.kind.in_((str(ObjectKind.REQUEST), str(ObjectKind.RESPONSE))),
            or_(entries.c.receipt_id.is_(None), entries.c.tenant != objects.c.tenant),
        )
        .order_by(objects.c.kind, objects.c.name)
    )
    with translated_errors(), engine.begin() as connection:
        return tuple(map(kept_object, connection.execute(chosen)))
