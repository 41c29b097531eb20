"""Receipts found by what they say.

The columns that are searched repeat what the entries say.  Each row that is found is compared with
its entry, so that nothing is shown which the log does not say; that nothing is left out, is what
`audit.log_check` finds out, which compares all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, func, select

from audit.database import translated_errors
from audit.entry import Entry, checked_entry, require_filed
from audit.errors import LogStateError, ReceiptError
from audit.log import READ_ROWS, AuditLog
from audit.receipt import Action, Outcome, Purpose
from audit.schema import entries


@dataclass(frozen=True)
class Query:
    """What receipts must say to be found; None for what does not matter.

    Attributes:
        tenant, actor, purpose, subject, action, outcome, reason: as in the receipt.
        model: digest of the model's card.
        since_ns: the earliest time.
        until_ns: the first time that is too late.
        start: the first index.
        stop: the first index that is too large.
        newest_first: from the end of the log to its beginning.
        limit: how many at most.
    """

    tenant: str | None = None
    actor: str | None = None
    purpose: Purpose | None = None
    subject: bytes | None = None
    action: Action | None = None
    outcome: Outcome | None = None
    reason: str | None = None
    model: bytes | None = None
    since_ns: int | None = None
    until_ns: int | None = None
    start: int = 0
    stop: int | None = None
    newest_first: bool = False
    limit: int | None = None


def search(log: AuditLog, query: Query) -> Iterator[Entry]:
    """Entries whose receipts say what is asked for, in the order of the log or the opposite one.

    What is appended meanwhile may be found or not.

    Raises:
        LogStateError: an entry is not what was recorded, or its columns say something else.
        LogUnavailableError: the database failed.
    """
    start, stop = _bounds(log, query)
    left = query.limit
    while left is None or left > 0:
        count = READ_ROWS if left is None else min(READ_ROWS, left)
        with translated_errors(), log.engine.begin() as connection:
            rows = connection.execute(_selected(query, start, stop).limit(count)).all()
        for row in rows:
            entry = checked_entry(row)
            try:
                require_filed(entry.index, entry.receipt().receipt, row)
            except ReceiptError as error:
                raise LogStateError(f"entry {entry.index} holds no receipt: {error}") from error
            yield entry
        if len(rows) < count:
            return
        left = None if left is None else left - count
        if query.newest_first:
            stop = rows[-1].position
        else:
            start = rows[-1].position + 1


def _bounds(log: AuditLog, query: Query) -> tuple[int, int | None]:
    """Between which indices the search goes.

    Entries follow each other nearly by time, but clocks may be set back: the index of times says
    where the first and the last one of a period are, and the order is that of the log.
    """
    if query.since_ns is None and query.until_ns is None:
        return query.start, query.stop
    position = entries.c.position
    chosen = select(func.min(position), func.max(position)).where(*_period(query))
    with translated_errors(), log.engine.begin() as connection:
        first, last = connection.execute(chosen).one()
    if first is None:
        return 0, 0
    stop = last + 1 if query.stop is None else min(query.stop, last + 1)
    return max(query.start, first), stop


def _period(query: Query) -> Iterator[ColumnElement[bool]]:
    if query.since_ns is not None:
        yield entries.c.time_ns >= query.since_ns
    if query.until_ns is not None:
        yield entries.c.time_ns < query.until_ns


def _selected(query: Query, start: int, stop: int | None) -> Select[*tuple[Any, ...]]:
    position = entries.c.position
    chosen = select(entries).where(*_period(query))
    if start > 0:
        chosen = chosen.where(position >= start)
    if stop is not None:
        chosen = chosen.where(position < stop)
    for name in ("tenant", "actor", "subject", "reason", "model"):
        value = getattr(query, name)
        if value is not None:
            chosen = chosen.where(entries.c[name] == value)
    for name in ("purpose", "action", "outcome"):
        code = getattr(query, name)
        if code is not None:
            chosen = chosen.where(entries.c[name] == str(code))
    return chosen.order_by(position.desc() if query.newest_first else position)
