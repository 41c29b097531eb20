"""The log: receipts in the order in which they were recorded, and the tree over them.

A batch of receipts, their nodes and the new head commit in one transaction, and with whatever else
the caller's transaction holds.  Before anything is written the log is compared with what it was:
with the head in its own rows, and with the largest head this process has seen or was told of, so
that an older copy that was put back, or another history, is refused instead of being extended.

Entries that were rewritten *together with* all rows above them look whole from inside: what finds
them is a checkpoint that was kept elsewhere, given to `AuditLog.open` or to `audit.log_check`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, Select, bindparam, func, insert, select, update
from sqlalchemy.orm import Session

from audit.checkpoint import Checkpoint, sign_checkpoint, verify_checkpoint
from audit.database import translated_errors, writing
from audit.entry import Entry, checked_entry, entry_row, require_filed
from audit.errors import (
    DuplicateReceiptError,
    InclusionError,
    LogStateError,
    NoteError,
    ReceiptError,
    UnknownEntryError,
)
from audit.head import Head, InclusionProof, require_extends
from audit.kept_checkpoints import keep_note, latest_note, stored_checkpoint
from audit.keys import SigningKey
from audit.merkle import EMPTY_ROOT, verify_inclusion
from audit.schema import SCHEMA_VERSION, entries, heads
from audit.schema_upgrade import prepare_tables
from audit.signed_note import NoteKey, SignedNote, require_name
from audit.signed_receipt import SignedReceipt
from audit.sql_nodes import SqlNodes
from audit.tree import Tree

MAX_BATCH = 1 << 12
"""Receipts of one append: bounds the parameters of one SQL statement."""
READ_ROWS = 1 << 10
_HEAD_ROW = 1

# Made once: SQLAlchemy takes longer to make a statement than SQLite to execute it.
_HEADS = select(heads)
_LOCKED_HEADS = _HEADS.with_for_update()
_LAST_POSITION = select(func.max(entries.c.position))
_BY_RECEIPT = select(entries).where(entries.c.receipt_id == bindparam("wanted"))
_BY_REQUEST = select(entries).where(
    entries.c.idempotency_digest == bindparam("wanted"), entries.c.tenant == bindparam("asking")
)
_BY_RECEIPTS = select(entries.c.position, entries.c.receipt_id).where(
    entries.c.receipt_id.in_(bindparam("wanted", expanding=True))
)
_BY_REQUESTS = select(entries.c.position, entries.c.idempotency_digest, entries.c.tenant).where(
    entries.c.idempotency_digest.in_(bindparam("wanted", expanding=True))
)


class AuditLog:
    """A log in a database.  May be used by several threads, and by several processes.

    Attributes:
        origin: the log's name, as in its checkpoints.
        engine: the database.
    """

    def __init__(self, engine: Engine, origin: str, pinned: Head | None) -> None:
        self.origin = origin
        self.engine = engine
        self._writer = writing(engine)
        self._pinned = pinned
        self._pinning = threading.Lock()

    @classmethod
    def open(cls, engine: Engine, origin: str, pinned: Head | None = None) -> AuditLog:
        """Open a log; a database without one gets an empty one, unless something is pinned.

        A log of an older schema is migrated, in one transaction.

        Args:
            engine: from `audit.database.open_engine`.
            origin: the log's name.
            pinned: what the log is known to have been, from a checkpoint kept elsewhere.

        Raises:
            NoteError: not a name for a log.
            LogStateError: the log is another's, of an unknown or a newer schema, damaged, or does
                not extend what is pinned.
            LogUnavailableError: the database cannot be read or written.
        """
        require_name(origin)
        log = cls(engine, origin, pinned)
        with translated_errors(), log._writer.begin() as connection:
            prepare_tables(connection)
            if connection.execute(select(heads.c.id)).first() is None:
                connection.execute(
                    insert(heads).values(
                        id=_HEAD_ROW,
                        schema_version=SCHEMA_VERSION,
                        origin=origin,
                        size=0,
                        root=EMPTY_ROOT,
                    )
                )
            head = log._checked_head(connection, lock=True)
        log.acknowledge(head)
        return log

    def head(self) -> Head:
        """The log as it is now, checked like before an append.

        Raises:
            LogStateError, LogUnavailableError: as `open`.
        """
        with self._reading() as connection:
            return self._checked_head(connection)

    @property
    def acknowledged_size(self) -> int:
        """Entries that this process knows the log to have: without a look at the database."""
        with self._pinning:
            return 0 if self._pinned is None else self._pinned.size

    def acknowledge(self, head: Head) -> None:
        """Remember that the log had this head, and refuse every log that does not extend it.

        Called by `append` itself; after `append_within`, by the caller once it has committed.
        """
        with self._pinning:
            if self._pinned is None or head.size > self._pinned.size:
                self._pinned = head

    def append(self, receipts: Sequence[SignedReceipt]) -> Head:
        """Record receipts durably: when this returns, they are on the disk.

        Args:
            receipts: at most `MAX_BATCH`; they get the indices up to the size that is returned.

        Raises:
            ReceiptError: more than `MAX_BATCH`.
            DuplicateReceiptError: a receipt or its request is recorded already.
            LogStateError: the log is not what it was.
            LogUnavailableError: the database failed.  Nothing was recorded, whatever the error.
        """
        with translated_errors(), self._writer.begin() as connection:
            head = self._append(connection, receipts)
        self.acknowledge(head)
        return head

    def append_within(self, session: Session, receipts: Sequence[SignedReceipt]) -> Head:
        """Record receipts in the caller's transaction, together with the result they are about.

        Nothing is recorded before the caller commits; afterwards it calls `acknowledge`.

        Args:
            session: from `audit.database.writing_sessions`, of the same database.
            receipts: as `append`.

        Raises:
            ReceiptError, DuplicateReceiptError, LogStateError, LogUnavailableError: as `append`;
                the caller's transaction must then be rolled back.
        """
        with translated_errors():
            return self._append(session.connection(), receipts)

    def entry(self, index: int) -> Entry:
        """The entry at an index.

        Raises:
            UnknownEntryError: there is none.
            LogStateError: it is not the entry whose leaf is in the tree.
        """
        return self._one(select(entries).where(entries.c.position == index), f"index {index}")

    def find_receipt(self, receipt_id: bytes) -> Entry:
        """The entry of a receipt.

        Raises:
            UnknownEntryError, LogStateError: as `entry`.
        """
        return self._one(_BY_RECEIPT, f"receipt {receipt_id.hex()}", wanted=receipt_id)

    def find_request(self, tenant: str, idempotency_digest: bytes) -> Entry:
        """The entry of a request that may have been sent before.

        Raises:
            UnknownEntryError, LogStateError: as `entry`.
        """
        what = f"request {idempotency_digest.hex()}"
        return self._one(_BY_REQUEST, what, wanted=idempotency_digest, asking=tenant)

    def entries(self, start: int = 0, stop: int | None = None) -> Iterator[Entry]:
        """Entries in order, from an index up to another, or to the end of the log as it is.

        Raises:
            LogStateError: one is missing or altered.
            LogUnavailableError: the database failed.
        """
        with self._reading() as connection:
            stop = self._stored_head(connection).size if stop is None else stop
        while start < stop:
            end = min(start + READ_ROWS, stop)
            rows = select(entries).where(entries.c.position >= start, entries.c.position < end)
            with self._reading() as connection:
                found = connection.execute(rows.order_by(entries.c.position)).all()
            if [row.position for row in found] != list(range(start, end)):
                raise LogStateError(f"entries between {start} and {end} are missing")
            yield from map(checked_entry, found)
            start = end

    def inclusion_proof(self, index: int, size: int | None = None) -> InclusionProof:
        """What shows that an entry is in the log as it is, or as it was at a smaller size.

        Raises:
            UnknownEntryError: no such entry at that size.
            LogStateError: the stored nodes prove nothing.
            LogUnavailableError: the database failed.
        """
        return self.proofs(index, size)[0]

    def proofs(
        self, index: int, size: int | None = None, old_size: int = 0
    ) -> tuple[InclusionProof, tuple[bytes, ...]]:
        """What shows that an entry is in the log, and that the log extends what it once was.

        Args:
            index: of the entry.
            size: of the log; as it is if None.
            old_size: which the log had before; nothing is shown of 0.

        Raises:
            UnknownEntryError: no such entry at that size, or sizes that the log did not have.
            LogStateError: the stored nodes prove nothing.
            LogUnavailableError: the database failed.
        """
        with self._reading() as connection:
            nodes = SqlNodes(connection)
            tree = Tree(nodes, self._stored_head(connection).size)
            size = tree.size if size is None else size
            head = Head(size, tree.root(size))
            hashes = tree.inclusion_proof(index, size)
            leaf = nodes.read([(0, index)])[(0, index)]
            extension = tuple(tree.consistency_proof(old_size, size)) if old_size else ()
        try:
            verify_inclusion(head.root, size, index, leaf, hashes)
        except InclusionError as error:
            raise LogStateError(f"the log cannot prove entry {index}: {error}") from error
        return InclusionProof(index, head, tuple(hashes)), extension

    def head_at(self, size: int) -> Head:
        """The log as it was at a size.

        Raises:
            UnknownEntryError: it never had that size yet.
            LogStateError: nodes are missing.
            LogUnavailableError: the database failed.
        """
        with self._reading() as connection:
            return Head(size, self._tree(connection).root(size))

    def consistency_proof(self, old_size: int, new_size: int | None = None) -> tuple[bytes, ...]:
        """What shows that the log at one size extends the log at another.

        Raises:
            UnknownEntryError: sizes which the log did not have, or in the wrong order.
            LogStateError: nodes are missing.
            LogUnavailableError: the database failed.
        """
        with self._reading() as connection:
            return tuple(self._tree(connection).consistency_proof(old_size, new_size))

    def checkpoint(self, key: SigningKey) -> SignedNote:
        """Sign the log as it is, and keep the checkpoint.

        Raises:
            LogStateError: the log is not what it was, or does not extend its last checkpoint.
            LogUnavailableError: the database failed.
        """
        with translated_errors(), self._writer.begin() as connection:
            head = self._checked_head(connection, lock=True)
            last = latest_note(connection)
            if last is not None:
                signed = stored_checkpoint(last)
                require_extends(self._tree(connection), Head(signed.size, signed.root))
            note = sign_checkpoint(Checkpoint(self.origin, head.size, head.root), key)
            return keep_note(connection, head.size, note)

    def keep_checkpoint(self, data: bytes, key: NoteKey) -> SignedNote:
        """Keep a checkpoint of this log with the witnesses' signatures it has collected.

        Args:
            data: the note.
            key: the log's.

        Returns:
            The note with all signatures for its size that are known.

        Raises:
            NoteError, SignatureError: not a checkpoint of this log.
            LogStateError: signed by this log's key, and yet not what the log is: a split view.
            LogUnavailableError: the database failed.
        """
        checkpoint, note = verify_checkpoint(data, key)
        if checkpoint.origin != self.origin:
            raise NoteError(f"checkpoint of '{checkpoint.origin}', this log is '{self.origin}'")
        with translated_errors(), self._writer.begin() as connection:
            tree = Tree(SqlNodes(connection), self._stored_head(connection, lock=True).size)
            require_extends(tree, Head(checkpoint.size, checkpoint.root))
            return keep_note(connection, checkpoint.size, note)

    def latest_checkpoint(self) -> SignedNote | None:
        """The kept checkpoint of the largest size, None if there is none.

        Raises:
            LogUnavailableError: the database failed.
        """
        with self._reading() as connection:
            return latest_note(connection)

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with translated_errors(), self.engine.begin() as connection:
            yield connection

    def _append(self, connection: Connection, receipts: Sequence[SignedReceipt]) -> Head:
        if len(receipts) > MAX_BATCH:
            raise ReceiptError(f"{len(receipts)} receipts, at most {MAX_BATCH} at once")
        nodes = SqlNodes(connection)
        head = self._checked_head(connection, lock=True, nodes=nodes)
        _require_new(connection, receipts)
        rows = [entry_row(index, signed) for index, signed in enumerate(receipts, start=head.size)]
        if not rows:
            return head
        connection.execute(insert(entries), rows)
        tree = Tree(nodes, head.size)
        root = tree.append([row["leaf"] for row in rows])
        connection.execute(update(heads).values(size=tree.size, root=root))
        return Head(tree.size, root)

    def _stored_head(self, connection: Connection, lock: bool = False) -> Head:
        """The head's row; with `lock`, nobody else appends before this transaction ends."""
        # SQLite has no such lock and needs none: its writers hold the whole database.
        rows = connection.execute(_LOCKED_HEADS if lock else _HEADS).all()
        if len(rows) != 1:
            raise LogStateError("the database holds no log")
        row = rows[0]
        if row.schema_version != SCHEMA_VERSION:
            raise LogStateError(f"schema {row.schema_version}, this is made for {SCHEMA_VERSION}")
        if row.origin != self.origin:
            raise LogStateError(f"the log of '{row.origin}', expected '{self.origin}'")
        if not (isinstance(row.size, int) and isinstance(row.root, bytes)):  # SQLite would not mind
            raise LogStateError("the head of the log is damaged")
        return Head(row.size, row.root)

    def _tree(self, connection: Connection) -> Tree:
        return Tree(SqlNodes(connection), self._stored_head(connection).size)

    def _checked_head(
        self, connection: Connection, lock: bool = False, nodes: SqlNodes | None = None
    ) -> Head:
        """The stored head, after comparing it with the rows and with what is pinned."""
        # Taken before anything is read: what another thread adds meanwhile may not be visible here.
        pinned = self._pinned
        head = self._stored_head(connection, lock)
        last = connection.execute(_LAST_POSITION).scalar_one()
        stored = 0 if last is None else last + 1
        if stored != head.size:
            raise LogStateError(f"the log has {stored} entries, its head says {head.size}")
        tree = Tree(nodes or SqlNodes(connection), head.size)
        if tree.root() != head.root:
            raise LogStateError(f"the nodes of the log do not lead to its head {head.root.hex()}")
        if pinned is not None:
            require_extends(tree, pinned)
        return head

    def _one(self, found: Select[tuple[Any, ...]], what: str, **values: object) -> Entry:
        with self._reading() as connection:
            row = connection.execute(found, values).one_or_none()
        if row is None:
            raise UnknownEntryError(f"the log has no entry for {what}")
        entry = checked_entry(row)
        # It was found by its columns: another receipt must not answer for the one that was asked.
        try:
            require_filed(entry.index, entry.receipt().receipt, row)
        except ReceiptError as error:
            raise LogStateError(f"entry {entry.index} holds no receipt: {error}") from error
        return entry


def _require_new(connection: Connection, receipts: Sequence[SignedReceipt]) -> None:
    """Refuse receipts and requests which the log has, or which the batch has twice."""
    ids = [signed.receipt.receipt_id for signed in receipts]
    requests = [
        (signed.receipt.idempotency_digest, signed.receipt.tenant)
        for signed in receipts
        if signed.receipt.idempotency_digest is not None
    ]
    if len(set(ids)) < len(ids) or len(set(requests)) < len(requests):
        raise DuplicateReceiptError("the batch holds one receipt or request twice", None)
    digests = [digest for digest, _ in requests]
    for row in connection.execute(_BY_RECEIPTS, {"wanted": ids}):
        raise DuplicateReceiptError(f"receipt {row.receipt_id.hex()} is recorded", row.position)
    for found in connection.execute(_BY_REQUESTS, {"wanted": digests}) if digests else ():
        if (found.idempotency_digest, found.tenant) in requests:
            raise DuplicateReceiptError(
                f"request {found.idempotency_digest.hex()} is recorded", found.position
            )
