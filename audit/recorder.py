"""The one writer of a log: many receipts in one transaction, acknowledged once it is durable.

A commit waits for the disk, whatever it holds.  Receipts that come while one is under way wait for
the next, together, so that the disk bounds the commits a second and not the receipts.

The recorder outlives every failure: receipts that cannot be written fail their callers, and the
next ones are tried again.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum

from audit.archive import Archive, KeptObject
from audit.database import translated_errors, writing_sessions
from audit.errors import DuplicateReceiptError, LogUnavailableError, ReceiptError
from audit.head import Head
from audit.log import AuditLog
from audit.receipt import Receipt
from audit.signed_receipt import SignedReceipt

MAX_BATCH = 128
MAX_WAITING = 1024
"""Receipts of refusals in memory, behind which no further one is taken."""


class CommitStep(StrEnum):
    """What has just happened on the way of an answer, in this order; for tests of crashes."""

    REQUEST_WRITTEN = "the request is in the store"
    RESPONSE_WRITTEN = "the answer is in the store"
    OBJECTS_WRITTEN = "everything the receipt names is in the store"
    BATCH_TAKEN = "a transaction is about to begin"
    APPENDED = "the receipts are in the transaction"
    OBJECTS_RECORDED = "the rows of their objects are in the transaction"
    COMMITTED = "the transaction is durable"
    ACKNOWLEDGED = "those who wait for it are told"
    RELEASING = "the first byte is about to be sent"
    RELEASED = "the last byte was sent"


Observer = Callable[[CommitStep], None]
CommitListener = Callable[[Sequence[Receipt], float], None]
"""Told which receipts became durable in one commit, and how many seconds it took."""


@dataclass(frozen=True)
class Recorded:
    """Where a receipt is.

    Attributes:
        index: of its entry.
        head: the log after the transaction it was in.
    """

    index: int
    head: Head


@dataclass(frozen=True, eq=False)
class _Waiting:
    signed: SignedReceipt
    objects: tuple[KeptObject, ...]
    future: Future[Recorded] = field(default_factory=Future)


class Recorder:
    """Writes receipts and the rows of their objects from a thread of its own."""

    def __init__(
        self,
        log: AuditLog,
        archive: Archive,
        observer: Observer | None = None,
        *,
        max_batch: int = MAX_BATCH,
        max_waiting: int = MAX_WAITING,
        listener: CommitListener | None = None,
    ) -> None:
        """Start.

        Args:
            log: what is written to.
            archive: whose objects the receipts name, in the same database.
            observer: called at each step of a commit, from the recorder's thread.
            max_batch: receipts of one transaction.
            max_waiting: receipts that `offer` lets wait.
            listener: called after each commit, from the recorder's thread.
        """
        self._log = log
        self._archive = archive
        self._sessions = writing_sessions(archive.engine)
        self._observe = observer or _unobserved
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._listener = listener
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._closing = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="blindproof-recorder", daemon=True)
        self._thread.start()

    def record(self, signed: SignedReceipt, objects: Sequence[KeptObject] = ()) -> Future[Recorded]:
        """Record a receipt, however many wait; whoever calls bounds their number.

        Args:
            signed: the receipt.
            objects: what it names, in the store already.

        Returns:
            A future that nobody can cancel.  Once it has a result the receipt is durable; else it
            raises DuplicateReceiptError, ReceiptError, LogStateError or LogUnavailableError, and
            nothing was recorded.
        """
        waiting = _Waiting(signed, tuple(objects))
        waiting.future.set_running_or_notify_cancel()
        with self._closing:
            if not self._closed:
                self._queue.put(waiting)
                return waiting.future
        waiting.future.set_exception(LogUnavailableError("the recorder is closed"))
        return waiting.future

    @property
    def waiting(self) -> int:
        """Receipts that wait for the next commit, about."""
        return self._queue.qsize()

    def offer(self, signed: SignedReceipt) -> Future[Recorded] | None:
        """Record a receipt unless too many wait already; None if so."""
        return None if self.waiting >= self._max_waiting else self.record(signed)

    def close(self) -> None:
        """Record all that waits, then stop.  May be called twice."""
        with self._closing:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        open_ = True
        while open_:
            batch, open_ = self._take()
            if not batch:
                continue
            try:
                self._observe(CommitStep.BATCH_TAKEN)
                self._commit(batch)
            except Exception as error:  # noqa: BLE001 -- without this thread every caller waits for ever
                for item in batch:
                    if not item.future.done():
                        item.future.set_exception(error)

    def _take(self) -> tuple[list[_Waiting], bool]:
        """Whatever waits, at least one; and whether more may come."""
        batch: list[_Waiting] = []
        item = self._queue.get()
        while item is not None:
            batch.append(item)
            if len(batch) == self._max_batch:
                return batch, True
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                return batch, True
        return batch, False

    def _commit(self, batch: list[_Waiting]) -> None:
        """Record a batch, in halves if one of them spoils it for the others."""
        start = time.perf_counter()
        try:
            head = self._transaction(batch)
        except (DuplicateReceiptError, ReceiptError) as error:
            if len(batch) > 1:
                middle = len(batch) // 2
                self._commit(batch[:middle])
                self._commit(batch[middle:])
            else:
                batch[0].future.set_exception(error)
        except Exception as error:  # noqa: BLE001 -- the callers', and the next batch is tried again
            for item in batch:
                item.future.set_exception(error)
        else:
            seconds = time.perf_counter() - start
            for index, item in enumerate(batch, head.size - len(batch)):
                item.future.set_result(Recorded(index, head))
            self._observe(CommitStep.ACKNOWLEDGED)
            if self._listener is not None:
                self._listener([item.signed.receipt for item in batch], seconds)

    def _transaction(self, batch: list[_Waiting]) -> Head:
        """Raises AuditError: nothing was recorded."""
        with _translated_errors(), self._sessions.begin() as session:
            head = self._log.append_within(session, [item.signed for item in batch])
            self._observe(CommitStep.APPENDED)
            self._archive.record_within(session, [kept for item in batch for kept in item.objects])
            self._observe(CommitStep.OBJECTS_RECORDED)
        self._observe(CommitStep.COMMITTED)
        self._log.acknowledge(head)
        return head


@contextmanager
def _translated_errors() -> Iterator[None]:
    """Failures of the database, and of the disk below it, as the log's."""
    try:
        with translated_errors():
            yield
    except OSError as error:
        raise LogUnavailableError(f"the database failed: {error.strerror}") from error


def _unobserved(step: CommitStep) -> None:
    """Nobody watches."""
