"""Objects that are kept no longer than a rule says.

A rule removes the bytes of a request or of an answer, never its receipt: what was asked and
answered remains proven by its digests.  The row stays and says when, so that nobody takes for lost
what was removed by a rule.  Objects without a row, left by whoever was killed before the receipt
committed, are removed once they are too old for anybody to be about to name them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection, func, select, update

from audit.archive import Archive, ObjectKind
from audit.database import translated_errors, writing
from audit.object_store import address_batches
from audit.schema import objects

NANOSECONDS = 10**9
ORPHAN_SECONDS = 24 * 3600
_ROWS = 1 << 9


@dataclass(frozen=True)
class RetentionRules:
    """How long the bytes of each kind are kept, in seconds; None for as long as the log.

    Models and enrolled keys are kept always: few, and needed to verify every request of theirs.

    Raises:
        ValueError: a time below zero.
    """

    requests_seconds: float | None = None
    responses_seconds: float | None = None

    def __post_init__(self) -> None:
        for seconds in (self.requests_seconds, self.responses_seconds):
            if seconds is not None and not seconds >= 0:
                raise ValueError(f"objects cannot be kept for {seconds} seconds")

    def newest_removed_ns(self, now_ns: int) -> Iterator[tuple[ObjectKind, int]]:
        """For each kind that has a rule, the latest time of storing that is too long ago."""
        for kind, seconds in (
            (ObjectKind.REQUEST, self.requests_seconds),
            (ObjectKind.RESPONSE, self.responses_seconds),
        ):
            if seconds is not None:
                yield kind, now_ns - round(seconds * NANOSECONDS)


@dataclass(frozen=True)
class Swept:
    """What one sweep did.

    Attributes:
        requests, responses: rows whose bytes a rule has removed.
        orphans: objects without a row that were removed.
        drafts: pieces of objects that were removed.
    """

    requests: int
    responses: int
    orphans: int
    drafts: int


def sweep(archive: Archive, rules: RetentionRules, now_ns: int) -> Swept:
    """Remove what the rules say, and what nobody will ever name.

    May be run while objects are kept and recorded, and by several at once.  Killed in the middle,
    it has left rows that say their bytes are removed, and bytes that the next sweep removes.

    Args:
        archive: which.
        rules: how long to keep.
        now_ns: the time, in nanoseconds since 1970.

    Raises:
        LogUnavailableError, ArchiveUnavailableError: database or store failed; what was removed
            until then is removed.
    """
    removed = dict.fromkeys(ObjectKind, 0)
    for kind, newest_ns in rules.newest_removed_ns(now_ns):
        while count := _remove_expired(archive, kind, newest_ns, now_ns):
            removed[kind] += count
    oldest_ns = now_ns - ORPHAN_SECONDS * NANOSECONDS
    return Swept(
        removed[ObjectKind.REQUEST],
        removed[ObjectKind.RESPONSE],
        _remove_orphans(archive, oldest_ns),
        archive.store.discard_drafts(oldest_ns),
    )


def _remove_expired(archive: Archive, kind: ObjectKind, newest_ns: int, now_ns: int) -> int:
    """Remove some objects that are too old; the number of their rows."""
    expired = (
        select(objects.c.name, objects.c.address)
        .where(
            objects.c.kind == str(kind),
            objects.c.stored_ns <= newest_ns,
            objects.c.removed_ns.is_(None),
        )
        .order_by(objects.c.stored_ns)
        .limit(_ROWS)
    )
    with translated_errors(), writing(archive.engine).begin() as connection:
        rows = connection.execute(expired).all()
        names = [row.name for row in rows]
        of_these = (objects.c.kind == str(kind)) & objects.c.name.in_(names)
        connection.execute(update(objects).where(of_these).values(removed_ns=now_ns))
        unnamed = _unnamed(connection, {row.address for row in rows})
        stored = _last_stored(connection, unnamed)
    for address, stored_ns in stored.items():
        # What was put again after its last row is about to get another one.
        archive.store.delete_older(address, stored_ns)
    return len(rows)


def _remove_orphans(archive: Archive, oldest_ns: int) -> int:
    removed = 0
    for addresses in address_batches(archive.store, _ROWS):
        with translated_errors(), archive.engine.begin() as connection:
            unnamed = _unnamed(connection, set(addresses))
        removed += sum(archive.store.delete_older(address, oldest_ns) for address in unnamed)
    return removed


def _unnamed(connection: Connection, addresses: set[bytes]) -> set[bytes]:
    """Those addresses which no row names whose bytes are kept."""
    named = select(objects.c.address).where(
        objects.c.address.in_(addresses), objects.c.removed_ns.is_(None)
    )
    return addresses - set(connection.execute(named).scalars())


def _last_stored(connection: Connection, addresses: set[bytes]) -> dict[bytes, int]:
    """When the last row of each address was stored."""
    found = (
        select(objects.c.address, func.max(objects.c.stored_ns))
        .where(objects.c.address.in_(addresses))
        .group_by(objects.c.address)
    )
    return {row[0]: row[1] for row in connection.execute(found)}
