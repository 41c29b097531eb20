"""The server's side of the audit trail: what a call keeps, records and may then release.

An answer goes one way.  Its request is written to the archive while it is computed, its messages
when they are there; the receipt and the rows of both commit in one transaction; then the first byte
is sent.  If any of this fails nothing is sent, and the next call tries again.
"""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import structlog

from audit.archive import KeptObject, ObjectKind
from audit.checkpoint import Checkpoint, sign_checkpoint
from audit.errors import (
    DuplicateReceiptError,
    LogStateError,
    LogUnavailableError,
    ObjectErasedError,
    ObjectMissingError,
    UnknownEntryError,
)
from audit.facts import AnsweredFacts
from audit.head import Head
from audit.receipt import Action, Digests, Receipt, TimeSource
from audit.recorder import CommitStep, Observer, Recorded, Recorder
from audit.signed_note import NoteKey, SignedNote
from audit.signed_receipt import SignedReceipt, sign_receipt
from protocol.accountability import idempotency_digest
from protocol.errors import EncodingError
from server.bundles import ModelBundle
from server.events import Event
from server.refusals import Refusal
from server.telemetry import Telemetry, silent
from server.threads import in_thread
from server.trail_files import TrailFiles, default_origin, open_trail_files
from wire.archived import (
    ArchivedModel,
    decode_archived_model,
    decode_archived_request,
    decode_archived_response,
    encode_archived_enrolment,
    encode_archived_model,
    encode_archived_request,
    encode_archived_response,
)
from wire.audit import ReceiptMessage
from wire.inference import InferenceHeader
from wire.rpc import Reason
from wire.stored_key import Enrolment

__all__ = ["Answered", "Trail", "TrailFiles", "default_origin", "open_trail_files"]

ARCHIVE_THREADS = 4
_COPIES_OF_STORED = 2
"""As one object, and as its messages."""
_GONE = "this request was answered, and its answer is no longer kept: ask again under a new id"

Result = TypeVar("Result")
_log = structlog.get_logger("blindproof.server")


@dataclass(frozen=True)
class Answered:
    """A request whose answer is recorded.

    Attributes:
        signed: its receipt.
        index: of the entry.
        head: a state of the log that has it, checked.
    """

    signed: SignedReceipt
    index: int
    head: Head


class Trail:
    """Receipts of one server's calls.  Used from one event loop; what waits for a disk has threads.

    Attributes:
        files: where it is kept.
        log_key: what verifies receipts and checkpoints.
        tenant: whose calls they are.
    """

    def __init__(
        self,
        files: TrailFiles,
        tenant: str,
        time_source: TimeSource = TimeSource.SYSTEM,
        observer: Observer | None = None,
        *,
        clock: Callable[[], int] = time.time_ns,
        telemetry: Telemetry | None = None,
    ) -> None:
        """Start recording.

        Args:
            files: an open trail.
            tenant: of every receipt.
            time_source: where the clock's time is from, as the operator states.
            observer: called at each step of a commit, from any thread.
            clock: nanoseconds since 1970.
            telemetry: told what is recorded.
        """
        self.files = files
        self.log_key: NoteKey = files.log_key
        self.tenant = tenant
        self._source = time_source
        self._clock = clock
        self._observer = observer
        self._telemetry = telemetry or silent()
        self._recorder = Recorder(
            files.log, files.archive, observer, listener=self._telemetry.committed
        )
        self._unwatch = self._telemetry.serves(tenant, files.log, self._recorder)
        self._threads = ThreadPoolExecutor(ARCHIVE_THREADS, "blindproof-archive")
        self._models: set[bytes] = set()
        self._unfinished: set[asyncio.Task[tuple[Refusal, bytes | None]]] = set()
        self._missed = 0

    def event(self, action: Action) -> Event:
        """A call that has begun."""
        return Event(action, self.tenant)

    def observe(self, step: CommitStep) -> None:
        """Tell who watches."""
        if self._observer is not None:
            self._observer(step)

    async def close(self) -> None:
        """Record whatever is left, then stop."""
        while self._unfinished:
            await asyncio.gather(*self._unfinished, return_exceptions=True)
        await asyncio.to_thread(self.stop)

    def stop(self) -> None:
        """Stop once all that waits is recorded.  Blocks."""
        self._recorder.close()
        self._unwatch()
        self._threads.shutdown()

    async def find_answer(self, header: InferenceHeader) -> tuple[Answered, int] | None:
        """The answer that a request has had, if it has, and the bytes which repeating it takes.

        Raises:
            Refusal: the client names a state that this log never had (receipt-unknown), or the
                answer is no longer kept (request-refused).
            LogStateError, LogUnavailableError: the log cannot be read.
        """
        return await self._in_thread(lambda: self._find_answer(header))

    def _find_answer(self, header: InferenceHeader) -> tuple[Answered, int] | None:
        log = self.files.log
        if header.log_size:
            try:
                seen = log.head_at(header.log_size)
            except UnknownEntryError:
                seen = None
            if seen is None or seen.digest != header.log_head:
                raise Refusal(
                    Reason.RECEIPT_UNKNOWN,
                    f"this log was never what the request says it was at {header.log_size} entries",
                )
        digest = idempotency_digest(header.client_id, header.request_id)
        try:
            entry = log.find_request(self.tenant, digest)
        except UnknownEntryError:
            return None
        signed = entry.receipt()
        stored = [
            self.files.archive.find(kind, signed.receipt.receipt_id)
            for kind in (ObjectKind.REQUEST, ObjectKind.RESPONSE)
        ]
        size = 0
        for kept in stored:
            if kept is None or kept.removed_ns is not None:
                raise Refusal(Reason.REQUEST_REFUSED, _GONE)
            size += kept.size
        return Answered(signed, entry.index, log.head()), _COPIES_OF_STORED * size

    async def repeat_answer(self, event: Event, answered: Answered, first: bytes) -> list[bytes]:
        """The messages that were sent when a request was answered; no receipt is added for this.

        Args:
            event: the repetition.
            answered: what `find_answer` found.
            first: the repetition's first message, which must be the request's byte for byte.

        Raises:
            Refusal: another request under the same id, or an answer that is no longer kept.
            AuditError: the archive cannot be read, or is damaged.
        """
        messages = await self._in_thread(lambda: self._stored_answer(answered, first))
        event.repeats(answered.signed.receipt.receipt_id, Recorded(answered.index, answered.head))
        return messages

    def _stored_answer(self, answered: Answered, first: bytes) -> list[bytes]:
        archive, name = self.files.archive, answered.signed.receipt.receipt_id
        try:
            header = decode_archived_request(archive.read(ObjectKind.REQUEST, name))[0]
            if not hmac.compare_digest(header, first):
                raise Refusal(
                    Reason.REQUEST_REFUSED,
                    "another request was answered under this id: draw a new one for each request",
                )
            return list(decode_archived_response(archive.read(ObjectKind.RESPONSE, name)))
        except (ObjectMissingError, ObjectErasedError) as error:
            raise Refusal(Reason.REQUEST_REFUSED, _GONE) from error
        except EncodingError as error:  # not the peer's: what was kept can be parsed
            raise LogStateError(f"the archive holds something else for {name.hex()}") from error

    async def keep_request(self, event: Event, messages: list[bytes], *, seal: bool) -> KeptObject:
        """Write a request to the archive.

        Args:
            event: whose receipt will name it.
            messages: as they came, the header first; emptied as soon as they are joined.
            seal: whether the model has columns in clear, which never rest so.

        Raises:
            ArchiveUnavailableError: it cannot be written.
        """

        def keep() -> KeptObject:
            data = encode_archived_request(messages)
            messages.clear()
            kept = self.files.archive.keep(
                ObjectKind.REQUEST, event.receipt_id, data, tenant=self.tenant, seal=seal
            )
            self.observe(CommitStep.REQUEST_WRITTEN)
            return kept

        return await self._in_thread(keep)

    async def keep_response(
        self, event: Event, bundle: ModelBundle, messages: list[bytes]
    ) -> list[KeptObject]:
        """Write an answer to the archive, and its model if none of its answers was recorded yet.

        Args:
            event: whose receipt will name it.
            bundle: the model.
            messages: of the answer, without the receipt's.

        Raises:
            ArchiveUnavailableError: they cannot be written.
        """

        def keep() -> list[KeptObject]:
            archive = self.files.archive
            data = encode_archived_response(messages)
            kept = [
                archive.keep(ObjectKind.RESPONSE, event.receipt_id, data, tenant=self.tenant),
                *self._keep_model(bundle),
            ]
            self.observe(CommitStep.RESPONSE_WRITTEN)
            return kept

        return await self._in_thread(keep)

    def _keep_model(self, bundle: ModelBundle) -> list[KeptObject]:
        archive, digest = self.files.archive, bundle.digest
        if digest in self._models:
            return []
        found = archive.find(ObjectKind.MODEL, digest)
        if found is not None and found.removed_ns is None:
            return []
        model = ArchivedModel(bundle.card.encoded(), bundle.registration_proof)
        return [
            archive.keep(ObjectKind.MODEL, digest, encode_archived_model(model), tenant=self.tenant)
        ]

    def _require_same_registration(self, bundle: ModelBundle) -> None:
        """Answers name the registration they were given under, and the archive has one of a model.

        Under another one they could not be verified from it any more.  Raises Refusal, AuditError.
        """
        found = self.files.archive.find(ObjectKind.MODEL, bundle.digest)
        if found is None or found.removed_ns is not None:
            return
        archived = decode_archived_model(self.files.archive.read_kept(found))
        if archived.registration_proof != bundle.registration_proof:
            raise Refusal(
                Reason.REQUEST_REFUSED,
                "this model was served with another registration: publish the same bundle again",
            )

    async def record_answer(
        self, event: Event, facts: AnsweredFacts, model: bytes, objects: list[KeptObject]
    ) -> Answered:
        """Record an answer; when this returns it may be sent.

        Args:
            event: the call.
            facts: what the receipt says.
            model: digest of the model, in the archive or among the objects.
            objects: in the store already.

        Raises:
            DuplicateReceiptError: the same request was answered meanwhile.
            LogStateError, LogUnavailableError: the log cannot be written.
        """
        self.observe(CommitStep.OBJECTS_WRITTEN)
        signed = self._signed(event.answered(facts, self._clock(), self._source))
        event.recording = self._recorder.record(signed, objects)
        recorded = await asyncio.wrap_future(event.recording)
        self._models.add(model)
        return Answered(signed, recorded.index, recorded.head)

    def record_enrolment(self, event: Event, enrolment: Enrolment) -> None:
        """Archive a verified key and record it, in the calling thread; then it may be used.

        Raises:
            AuditError: it cannot be recorded.
        """
        digest = enrolment.key.digest
        event.digests = Digests(key=digest)
        kept = self.files.archive.keep(
            ObjectKind.ENROLMENT, digest, encode_archived_enrolment(enrolment), tenant=self.tenant
        )
        self.observe(CommitStep.OBJECTS_WRITTEN)
        signed = self._signed(event.done(self._clock(), self._source))
        event.recording = self._recorder.record(signed, [kept])
        event.recording.result()

    def record_model(self, event: Event, bundle: ModelBundle | None = None) -> Answered:
        """Record that a model is published or withdrawn, in the calling thread; then it may be.

        Args:
            event: which names it.
            bundle: what is published, which the archive gets; None for a withdrawal.

        Raises:
            Refusal: it was served with another registration before (request-refused).
            AuditError: it cannot be recorded.
        """
        objects = []
        if bundle is not None:
            self._require_same_registration(bundle)
            objects = self._keep_model(bundle)
        self.observe(CommitStep.OBJECTS_WRITTEN)
        signed = self._signed(event.done(self._clock(), self._source))
        event.recording = self._recorder.record(signed, objects)
        recorded = event.recording.result()
        return Answered(signed, recorded.index, recorded.head)

    async def record_refusal(self, event: Event, refusal: Refusal) -> tuple[Refusal, bytes | None]:
        """Record that a call is refused, unless what it asked for is recorded already.

        Receipts of refusals wait for the disk in bounded number.  Behind that many a call is
        refused without: a line of the server's log counts it as missed.  It is recorded even if
        whoever waits for that is cancelled; `close` waits for it.

        Returns:
            The refusal that may be sent, audit-unavailable if it cannot be recorded; and the id of
            the receipt that stands for the call, if there is one.
        """
        return await asyncio.shield(self._recording_refusal(event, refusal))

    def record_cancelled(self, event: Event) -> None:
        """Record in the background that a call's peer has gone; `close` waits for it."""
        self._recording_refusal(event, Refusal(Reason.CANCELLED, "the call was cancelled"))

    def _recording_refusal(
        self, event: Event, refusal: Refusal
    ) -> asyncio.Task[tuple[Refusal, bytes | None]]:
        task = asyncio.get_running_loop().create_task(self._record_refusal(event, refusal))
        self._unfinished.add(task)
        task.add_done_callback(self._unfinished.discard)
        return task

    async def _record_refusal(self, event: Event, refusal: Refusal) -> tuple[Refusal, bytes | None]:
        if event.recording is not None:
            try:
                await asyncio.wrap_future(event.recording)
            except Exception as error:  # noqa: BLE001 -- its receipt says why it is refused
                _log.debug("receipt not recorded", error=str(error))
            else:
                return refusal, event.receipt_id
        signed = self._signed(event.refused(refusal.reason, self._clock(), self._source))
        waiting = self._recorder.offer(signed)
        if waiting is None:
            self._missed += 1
            self._telemetry.missed(self.tenant)
            _log.error("receipt missed", reason=str(refusal.reason), missed=self._missed)
            return refusal, None
        try:
            await asyncio.wrap_future(waiting)
        except DuplicateReceiptError:
            # Its receipt is there: of a commit that was reported as failed and was none.
            return refusal, event.receipt_id
        except Exception as error:  # noqa: BLE001 -- whatever it is, nothing goes without a receipt
            _log.error("receipt not recorded", exc_info=error)
            return Refusal(Reason.AUDIT_UNAVAILABLE, "the audit trail cannot be written now"), None
        return refusal, event.receipt_id

    async def proven(self, answered: Answered, old_size: int) -> ReceiptMessage:
        """A receipt with what proves it.

        Args:
            answered: where it is.
            old_size: the size of the log from which its growth is shown; 0 for none.

        Raises:
            UnknownEntryError: the log never had that size.
            LogStateError, LogUnavailableError: the log cannot be read, or is not what it was.
        """
        return await self._in_thread(lambda: self._proven(answered, old_size))

    def _proven(self, answered: Answered, old_size: int) -> ReceiptMessage:
        head, log = answered.head, self.files.log
        proof, extension = log.proofs(answered.index, head.size, old_size)
        if proof.head != head:
            raise LogStateError(f"the log at {head.size} entries is not what it was")
        return ReceiptMessage(
            entry=answered.signed.entry(),
            index=answered.index,
            inclusion=proof.hashes,
            checkpoint=self.checkpoint(head).encoded(),
            consistency=extension,
        )

    def checkpoint(self, head: Head) -> SignedNote:
        """A checkpoint of a state of the log that was checked; the same for the same state."""
        origin, key = self.files.log.origin, self.files.key
        return sign_checkpoint(Checkpoint(origin, head.size, head.root), key)

    def consistency(self, old_size: int, head: Head) -> tuple[bytes, ...]:
        """Hashes from an older size to a state of the log; none from 0.

        Raises:
            UnknownEntryError, LogStateError, LogUnavailableError: as `proven`.
        """
        return self.files.log.consistency_proof(old_size, head.size) if old_size else ()

    def _signed(self, receipt: Receipt) -> SignedReceipt:
        return sign_receipt(receipt, self.files.key)

    async def _in_thread(self, work: Callable[[], Result]) -> Result:
        """Run what waits for a disk.  Raises what it raises, and LogUnavailableError."""
        try:
            return await in_thread(self._threads, work)
        except OSError as error:
            raise LogUnavailableError(f"the audit trail failed: {error.strerror}") from error
